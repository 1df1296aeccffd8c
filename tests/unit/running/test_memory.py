"""What the sampler is told of the trials."""

import math

import pytest

from search.record.history import TrialRecord
from search.running.conductor import _recorded_trial
from search.study.objective import every_head
from trainables.trial.measurement import Measurement

BASELINES = {"c_output": 2.0, "r_output": 8.0}
HALF = {"c_output": 1.0, "r_output": 4.0}
QUARTER = {"c_output": 0.5, "r_output": 2.0}


def told_of(trial, live=(), baselines=BASELINES):
    return _recorded_trial(trial, dict(live), baselines, every_head(tuple(baselines)))


def measured(epoch, losses, attempt=1):
    return Measurement(
        number=0,
        attempt=attempt,
        epoch=epoch,
        generation=1,
        losses=losses,
        metrics={},
        loss=1.0,
        seconds={},
        checkpoint=None,
        checkpoint_sha256=None,
    )


def history(*losses, number=0, state="running"):
    return TrialRecord(
        number=number,
        config={"learning_rate": 0.1},
        is_reference=False,
        origin="sampler",
        system={"asked": number},
        state=state,
        attempts=(),
        measurements=tuple(measured(epoch, one) for epoch, one in enumerate(losses, 1)),
    )


def rounded(curve):
    return [[round(math.exp(skill), 6) for skill in row] for row in curve]


def test_a_trial_is_told_with_its_curve_and_its_best_point():
    told = told_of(history(QUARTER, HALF, state="stopped"))

    assert rounded(told.curve) == [[0.25, 0.25], [0.5, 0.5]]
    assert rounded([told.log_skills]) == [[0.25, 0.25]]
    assert (told.number, told.state, told.epoch) == (0, "stopped", 1)
    assert told.config == {"learning_rate": 0.1}
    assert told.system_attrs == {"asked": 0}
    assert told.may_continue


def test_what_a_trial_in_flight_has_shown_since_it_was_logged_is_told():
    told = told_of(history(HALF), {2: measured(2, QUARTER)})

    assert rounded(told.curve) == [[0.5, 0.5], [0.25, 0.25]]
    assert told.state == "running"
    assert not told.may_continue


def test_a_curve_ends_before_its_first_gap_and_before_what_is_not_finite():
    nan = {"c_output": math.nan, "r_output": 1.0}

    broken = told_of(history(HALF, nan, QUARTER))

    assert rounded(broken.curve) == [[0.5, 0.5]]


def test_a_trial_that_has_shown_nothing_has_no_curve():
    told = told_of(history())

    assert (told.curve, told.log_skills, told.epoch) == ((), None, 0)
    assert told.is_pending


@pytest.mark.parametrize("unit", [1e-3, 7.3, 1e4])
def test_the_unit_of_a_heads_loss_changes_nothing_that_is_told(unit):
    def scaled(losses):
        return {**losses, "r_output": losses["r_output"] * unit}

    one = told_of(history(HALF, QUARTER), {3: measured(3, HALF)})
    same = told_of(
        history(scaled(HALF), scaled(QUARTER)), {3: measured(3, scaled(HALF))}, scaled(BASELINES)
    )

    assert same == one
