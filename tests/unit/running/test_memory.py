"""What the sampler is told of the trials."""

import math
import random

import pytest

from search.record.history import Trial
from search.running.conductor import Memory
from search.study.objective import every_head
from trainables.trial.attempt import Step
from trainables.trial.measurement import Measurement

BASELINES = {"c_output": 2.0, "r_output": 8.0}
HALF = {"c_output": 1.0, "r_output": 4.0}
QUARTER = {"c_output": 0.5, "r_output": 2.0}


def memory():
    return Memory(BASELINES, every_head(tuple(BASELINES)))


def step(epoch, losses):
    return Step(epoch=epoch, losses=losses)


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
    return Trial(
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
    (told,) = memory().recorded({0: history(QUARTER, HALF, state="stopped")}, {})

    assert rounded(told.curve) == [[0.25, 0.25], [0.5, 0.5]]
    assert rounded([told.log_skills]) == [[0.25, 0.25]]
    assert (told.number, told.state, told.epoch) == (0, "stopped", 1)
    assert told.config == {"learning_rate": 0.1}
    assert told.system_attrs == {"asked": 0}
    assert told.may_continue


def test_what_a_trial_in_flight_has_shown_since_it_was_logged_is_told():
    (told,) = memory().recorded({0: history(HALF)}, {0: {2: step(2, QUARTER)}})

    assert rounded(told.curve) == [[0.5, 0.5], [0.25, 0.25]]
    assert told.state == "running"
    assert not told.may_continue


def test_a_curve_ends_before_its_first_gap_and_before_what_is_not_finite():
    nan = {"c_output": math.nan, "r_output": 1.0}

    (broken,) = memory().recorded({0: history(HALF, nan, QUARTER)}, {})

    assert rounded(broken.curve) == [[0.5, 0.5]]


def test_a_trial_that_has_shown_nothing_has_no_curve():
    (told,) = memory().recorded({0: history()}, {})

    assert (told.curve, told.log_skills, told.epoch) == ((), None, 0)
    assert told.is_pending


def test_a_trial_is_worked_out_once_until_it_changes():
    remembered = memory()
    trials = {0: history(HALF), 1: history(HALF, number=1)}
    first = list(remembered.recorded(trials, {}))

    same = list(remembered.recorded(trials, {}))
    grown = list(remembered.recorded(trials, {1: {2: step(2, QUARTER)}}))
    now = {**trials, 0: history(HALF, state="stopped")}
    ended = list(remembered.recorded(now, {1: {2: step(2, QUARTER)}}))

    assert [one is other for one, other in zip(first, same, strict=True)] == [True, True]
    assert [one is other for one, other in zip(first, grown, strict=True)] == [True, False]
    assert rounded(grown[1].curve) == [[0.5, 0.5], [0.25, 0.25]]
    assert [one is other for one, other in zip(grown, ended, strict=True)] == [False, True]
    assert ended[0].state == "stopped"


def test_a_trial_that_was_taken_up_again_is_running_with_all_that_it_has_shown():
    remembered = memory()
    remembered.recorded({0: history(HALF, state="stopped")}, {})

    (told,) = remembered.recorded({0: history(HALF)}, {0: {2: step(2, QUARTER)}})

    assert told.state == "running"
    assert rounded(told.curve) == [[0.5, 0.5], [0.25, 0.25]]


@pytest.mark.parametrize("unit", [1e-3, 7.3, 1e4])
def test_the_unit_of_a_heads_loss_changes_nothing_that_is_told(unit):
    def scaled(losses):
        return {**losses, "r_output": losses["r_output"] * unit}

    other = Memory(scaled(BASELINES), every_head(tuple(BASELINES)))

    (one,) = memory().recorded({0: history(HALF, QUARTER)}, {0: {3: step(3, HALF)}})
    (same,) = other.recorded(
        {0: history(scaled(HALF), scaled(QUARTER))}, {0: {3: step(3, scaled(HALF))}}
    )

    assert same == one


@pytest.mark.parametrize("seed", range(10))
def test_what_is_kept_from_question_to_question_equals_what_is_made_anew(seed):
    draw = random.Random(seed)
    kept, told, trials, live, changes = memory(), memory(), {}, {}, []

    for _ in range(40):
        number = draw.randint(0, len(trials))
        losses = [draw.choice([HALF, QUARTER]) for _ in range(draw.randint(0, 3))]
        if number == len(trials) or draw.random() < 0.4:
            state = draw.choice(["running", "stopped", "complete"])
            trials[number] = history(*losses, number=number, state=state)
            live.pop(number, None)
        else:
            epoch = len(live.get(number, ())) + 4
            live.setdefault(number, {})[epoch] = step(epoch, HALF)

        anew = list(memory().recorded(trials, live))
        assert list(kept.recorded(trials, live)) == anew
        changes.append(number)
        if draw.random() < 0.5:
            assert list(told.recorded(trials, live, changes)) == anew
