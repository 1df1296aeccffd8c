"""Which points are trained again, and with which seeds."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

import search
from search.errors import InputError, NoCandidate, StudyWarning
from search.record.decisions import Opened
from search.record.segments import encode_segments, segment_path
from search.results.load import load
from search.results.policies import POLICIES
from search.results.retrained import (
    Training,
    confirmed_point,
    fresh_seeds,
    leading_points,
    to_train,
    trainings_of,
)
from tests.support.confirmed_study import write_confirmation
from tests.support.finished_study import SPACE, TRIALS, Script, config_of, write_study
from trainables.spec.rules import LARGEST_SEED


@pytest.fixture(name="result", scope="module")
def finished(tmp_path_factory):
    return load(write_study(tmp_path_factory.mktemp("finished")).folder)


def leading(result, top=3, policy="geometric_mean", **options):
    return leading_points(result, top=top, policy=policy, options=options)


def numbers(points):
    return [(point.number, point.epoch) for point in points]


@given(st.integers(0, LARGEST_SEED), st.integers(1, 99))
def test_fresh_seeds_are_none_of_the_study_and_more_begin_with_the_fewer(seed, num):
    seeds = fresh_seeds(seed, num)

    assert len({seed, *seeds}) == num + 1
    assert all(0 <= one <= LARGEST_SEED for one in seeds)
    assert fresh_seeds(seed, num + 1)[:num] == seeds


@pytest.mark.parametrize("policy", POLICIES)
def test_the_first_is_the_studys_best_whatever_the_policy(result, policy):
    best = result.best(policy)

    assert numbers(leading(result, 1, policy))[:1] == numbers([best])


def test_each_trial_leads_with_one_point_and_the_reference_comes_last(result):
    assert numbers(leading(result, 2)) == [(4, 3), (1, 3), (0, 3)]


def test_the_reference_takes_one_place_if_it_leads(result):
    assert numbers(leading(result, 3)) == [(4, 3), (1, 3), (0, 3)]


def test_there_are_no_more_points_than_trials_that_did_not_fail(result):
    points = leading(result, 100)

    assert numbers(points) == [(4, 3), (1, 3), (0, 3), (5, 2), (2, 1)]


def test_the_policy_is_told_what_best_would_be_told(result):
    assert numbers(leading(result, 1, head="c_output")) == [(1, 3), (0, 3)]
    assert numbers(leading(result, 1, exponents={"c_output": 9.0})) == [(1, 3), (0, 3)]


CONSTANT = {**SPACE, "r_output_loss_weight": 1.0}


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        pytest.param(["c_output"], [(1, 3), (4, 3), (0, 3)], id="one_head"),
        pytest.param(["r_output"], [(4, 3), (1, 3), (0, 3)], id="other_head"),
        pytest.param("total", [(1, 3), (4, 3), (0, 3)], id="total"),
    ],
)
def test_what_leads_is_by_what_the_study_minimises(objective, expected, tmp_path):
    study = write_study(tmp_path, space=CONSTANT, objective=objective)
    result = load(study.folder)

    points = leading(result, 2)

    assert numbers(points) == expected
    assert numbers(points[:1]) == numbers([result.best()])


def test_any_head_can_lead_whatever_the_objective(tmp_path):
    study = write_study(tmp_path, space=CONSTANT, objective=["c_output"])

    assert numbers(leading(load(study.folder), 2, policy="head", head="r_output")) == [
        (4, 3),
        (1, 3),
        (0, 3),
    ]


def test_a_config_that_was_tried_twice_leads_once(tmp_path):
    twin = Script("complete", ((0.2, 0.002),), config=config_of(1))
    trials = (*TRIALS[:2], Script("complete", ((0.3, 0.003),)), twin)
    study = write_study(tmp_path, (trials[0], twin, twin, trials[2]), tested=())

    assert numbers(leading(load(study.folder), 2)) == [(1, 1), (3, 1), (0, 3)]


def test_a_study_without_a_point_has_nothing_to_confirm(tmp_path):
    trials = (Script("failed", ((0.1, 0.1),), "val_c_output_loss became NaN in epoch 2"),)
    study = write_study(tmp_path, trials, tested=())

    with pytest.raises(NoCandidate, match="has no point to choose: 1 failed"):
        leading(load(study.folder))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"policy": "sum"}, "policy needs to be one of", id="policy"),
        pytest.param({"exponents": {"x": 1}}, "policy needs heads among", id="exponents"),
    ],
)
def test_an_unknown_policy_or_option_is_refused(result, options, message):
    with pytest.raises(InputError, match=message):
        leading(result, **options)


@pytest.mark.parametrize(
    ("seeds", "top", "message"),
    [
        pytest.param(0, 3, "seeds needs a whole number from 1 to 100, got 0", id="no_seed"),
        pytest.param(101, 3, "seeds needs a whole number from 1 to 100, got 101", id="many"),
        pytest.param(2, 0, "top needs a whole number from 1 to 100, got 0", id="no_point"),
        pytest.param(2, 1.5, "top needs a whole number from 1 to 100, got 1.5", id="half"),
        pytest.param(True, 3, "seeds needs a whole number from 1 to 100, got True", id="bool"),
    ],
)
def test_numbers_out_of_range_are_refused(result, seeds, top, message):
    with pytest.raises(InputError, match=re.escape(message)):
        search.confirm(result, seeds=seeds, top=top, progress=False)


def test_each_point_is_trained_for_its_own_epochs_with_every_seed(result):
    trainings = trainings_of(leading(result, 4), (7, 8))

    assert [one.to_list() for one in trainings] == [
        [4, 3, 7],
        [1, 3, 7],
        [0, 3, 7],
        [5, 2, 7],
        [4, 3, 8],
        [1, 3, 8],
        [0, 3, 8],
        [5, 2, 8],
    ]
    assert [one.is_reference for one in trainings[:4]] == [False, False, True, False]


def training(number, seed, epoch=3, **config):
    return Training(number=number, epoch=epoch, seed=seed, is_reference=False, config=config)


def test_what_was_begun_keeps_its_number_and_only_the_rest_is_added():
    begun = (training(4, 1), training(1, 1))
    wanted = (training(4, 1), training(5, 1), training(4, 2))

    assert to_train(begun, wanted) == (*begun, training(5, 1), training(4, 2))


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(training(4, 2), id="seed"),
        pytest.param(training(4, 1, epoch=2), id="epoch"),
        pytest.param(training(4, 1, units=9), id="config"),
    ],
)
def test_a_training_with_another_seed_epoch_or_config_is_another(other):
    assert to_train((training(4, 1),), (other,)) == (training(4, 1), other)


def test_a_confirmation_that_does_not_say_what_was_trained_is_left_out(tmp_path):
    result = load(write_study(tmp_path).folder)
    best = result.best()
    write_confirmation(result, [best], {(best.number, 7): (0.4, 0.3)})
    store = result.store.confirmation
    store.put(segment_path(1, 0), encode_segments(1, 0, [[Opened(budget={})]]))

    with pytest.warns(StudyWarning, match="does not say what was trained; restore it"):
        assert confirmed_point(result, best) is None
