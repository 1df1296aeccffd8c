"""What trainings with fresh seeds say: means, spreads, ranks and the verdict in words."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.results.confirmation import _compare, spread_of
from search.results.policies import POLICIES
from search.study.objective import _weighted_total, every_head
from tests.support.confirmed_study import confirmed

LOSS = st.floats(1e-4, 1e4)
PAIR = st.tuples(LOSS, LOSS)
TRIAL = st.tuples(PAIR, st.lists(st.none() | PAIR, min_size=3, max_size=3))
TRIALS = st.lists(TRIAL, min_size=1, max_size=5)


def ranks(found):
    return [one.point.number for one in found.candidates]


def numbered(trials):
    return [(number, *trial) for number, trial in enumerate(trials)]


def test_the_mean_is_of_the_fresh_seeds_alone():
    found = confirmed((4, (0.01, 0.01), [(0.2, 0.4), (0.4, 0.8)]))
    losses = found.leader.losses

    assert losses["c"].mean == pytest.approx(0.3)
    assert losses["c"].deviation == pytest.approx(0.2 / math.sqrt(2))
    assert (losses["r"].least, losses["r"].most, losses["r"].num) == (0.4, 0.8, 2)


def test_the_skill_is_the_geometric_mean_over_heads_and_seeds():
    found = confirmed((4, (0.01, 0.01), [(0.1, 0.4), (0.4, 0.4)]))
    skill = found.skill(found.leader)

    assert skill.mean == pytest.approx(math.sqrt(0.2 * 0.4))
    assert (skill.least, skill.most) == pytest.approx((0.2, 0.4))
    assert skill.deviation == pytest.approx(math.exp(math.log(2) / math.sqrt(2)) - 1)
    assert found.study_skill(found.leader) == pytest.approx(0.01)


def test_the_skill_weighs_the_heads_as_the_policy_does():
    again = [(0.1, 0.4)]
    weighed = confirmed((4, (1.0, 1.0), again), exponents={"c": 3.0})
    alone = confirmed((4, (1.0, 1.0), again), policy="head", head="r")

    assert weighed.skill(weighed.leader).mean == pytest.approx((0.1**3 * 0.4) ** 0.25)
    assert alone.skill(alone.leader).mean == pytest.approx(0.4)


def test_the_ranks_are_by_what_the_study_minimises():
    trials = ((4, (0.1, 0.5), [(0.1, 0.5)]), (1, (0.3, 0.1), [(0.3, 0.1)]))

    assert ranks(confirmed(*trials, objective=every_head(("c",)))) == [4, 1]
    assert ranks(confirmed(*trials, objective=every_head(("r",)))) == [1, 4]
    assert ranks(confirmed(*trials, objective=_weighted_total({"c": 9.0, "r": 1.0}))) == [4, 1]
    assert ranks(confirmed(*trials, objective=_weighted_total({"c": 1.0, "r": 1.0}))) == [1, 4]


def test_the_skill_of_a_total_is_its_share_of_the_baselines_total():
    total = _weighted_total({"c": 1.0, "r": 3.0})
    found = confirmed(
        (4, (0.1, 0.1), [(0.2, 0.4)]),
        (0, (0.2, 0.2), [(0.8, 0.8)]),
        reference=0,
        objective=total,
    )

    assert found.skill(found.leader).mean == pytest.approx((0.2 + 3 * 0.4) / 4)
    assert "the reference trial in the loss total" in found.gain


def test_one_seed_has_no_spread():
    found = confirmed((4, (0.1, 0.1), [(0.2, 0.2)]))

    assert found.leader.losses["c"].deviation is None


def test_failed_seeds_are_counted_apart():
    found = confirmed((4, (0.1, 0.1), [(0.2, 0.2), None]))

    assert found.leader.losses["c"].num == 1
    assert [*found.leader.failed] == [2]


def test_a_candidate_that_failed_with_a_seed_comes_after_those_that_never_did():
    found = confirmed(
        (4, (0.1, 0.1), [None, None]),
        (1, (0.2, 0.2), [(0.1, 0.1), None]),
        (7, (0.3, 0.3), [(0.5, 0.5), (0.5, 0.5)]),
    )

    assert ranks(found) == [7, 1, 4]


@given(TRIALS, st.sampled_from(sorted(POLICIES)), st.randoms(use_true_random=False))
def test_the_ranks_do_not_depend_on_the_order_of_the_seeds(trials, policy, shuffler):
    found = confirmed(*numbered(trials), policy=policy)
    seeds = [0, 1, 2]
    shuffler.shuffle(seeds)
    swapped = [(point, [again[seed] for seed in seeds]) for point, again in trials]

    again = confirmed(*numbered(swapped), policy=policy)

    assert sorted(ranks(found)) == list(range(len(trials)))
    assert ranks(again) == ranks(found)


@given(TRIALS, st.sampled_from(sorted(POLICIES)))
def test_there_is_a_verdict_whatever_was_measured(trials, policy):
    found = confirmed(*numbered(trials), policy=policy, reference=0)

    assert found.verdict
    assert "nan" not in found.verdict.lower().replace("became nan", "")
    assert found.leader.trained or not any(one.trained for one in found.candidates)


@given(TRIALS)
def test_a_comparison_the_other_way_round_says_the_opposite(trials):
    found = confirmed(*numbered(trials))
    one, other = found.candidates[0], found.candidates[-1]

    there, back = _compare(found, one, other), _compare(found, other, one)

    assert there.num == back.num
    if there.num:
        assert there.ahead == pytest.approx(-back.ahead)
        assert there.spread == pytest.approx(back.spread)
    assert not (there.is_clear and back.is_clear)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=9))
def test_the_mean_lies_within_its_range(values):
    spread = spread_of(values)
    random.shuffle(values)

    assert spread.least - 1e-9 <= spread.mean <= spread.most + 1e-9
    assert spread_of(values).mean == pytest.approx(spread.mean)


def same(loss, *factors):
    return [(loss * factor, loss * factor) for factor in factors]


@pytest.mark.parametrize(
    ("trials", "verdict"),
    [
        pytest.param(
            [(12, (0.1, 0.1), same(0.1, 1.0, 1.02)), (7, (0.2, 0.2), same(0.2, 1.0, 1.0))],
            "trial 12 keeps its lead: 50 % ahead of trial 7 (spread 1.4 %, 2 seeds)",
            id="kept",
        ),
        pytest.param(
            [(12, (0.1, 0.1), same(0.1, 1.0, 1.2)), (7, (0.1, 0.1), same(0.11, 1.0, 1.0))],
            "trial 12 is first again, 0.4 % ahead of trial 7, which is less than the spread of "
            "14 % over 2 seeds: they cannot be told apart; --seeds 5 tells more",
            id="kept_within_the_spread",
        ),
        pytest.param(
            [(12, (0.1, 0.1), same(0.2, 1.0, 1.02)), (7, (0.2, 0.2), same(0.1, 1.0, 1.0))],
            "trial 7 leads after confirmation, 50 % ahead of trial 12 (spread 1.4 %, 2 seeds): "
            "trial 12's lead was luck",
            id="luck",
        ),
        pytest.param(
            [(12, (0.1, 0.1), same(0.11, 1.0, 1.0)), (7, (0.2, 0.2), same(0.1, 1.0, 1.2))],
            "trial 12's lead is not confirmed: trial 7 is now 0.4 % ahead of it, which is less "
            "than the spread of 14 % over 2 seeds: they cannot be told apart; --seeds 5 tells "
            "more",
            id="changed_within_the_spread",
        ),
        pytest.param(
            [(12, (0.1, 0.1), same(0.1, 1.0)), (7, (0.2, 0.2), same(0.2, 1.0))],
            "trial 12 is first again, 50 % ahead of trial 7, but one seed tells no spread: "
            "--seeds 5 tells more",
            id="one_seed",
        ),
        pytest.param(
            [(12, (0.1, 0.1), same(0.125, 1.0, 1.0))],
            "trial 12 has no rival here: with fresh seeds it is 25 % behind its figures in the "
            "study (2 seeds)",
            id="alone",
        ),
        pytest.param(
            [(12, (0.1, 0.1), [None, (0.1, 0.1)]), (7, (0.2, 0.2), same(0.2, 1.0, 1.0))],
            "trial 7 leads after confirmation: trial 12 failed with 1 of 2 seeds",
            id="the_first_failed",
        ),
        pytest.param(
            [(12, (0.1, 0.1), same(0.3, 1.0, 1.0)), (7, (0.2, 0.2), [None, (0.1, 0.1)])],
            "trial 12 keeps its lead: trial 7 failed with 1 of 2 seeds",
            id="the_rival_failed",
        ),
        pytest.param(
            [(12, (0.1, 0.1), [None, (0.1, 0.1)]), (7, (0.2, 0.2), [(0.1, 0.1), None])],
            "trial 12 is first again: no seed trained both it and trial 7",
            id="no_seed_in_common",
        ),
        pytest.param(
            [(12, (0.1, 0.1), [None, None])],
            "nothing is confirmed: 2 trainings failed (first: val_c_loss became NaN in epoch 2)",
            id="all_failed",
        ),
    ],
)
def test_the_verdict_says_what_the_seeds_can_tell(trials, verdict):
    assert confirmed(*trials).verdict == verdict


def test_a_policy_without_a_figure_counts_the_seeds():
    trials = [(12, (0.1, 0.1), same(0.1, 1.0, 1.0)), (7, (0.2, 0.2), same(0.2, 1.0, 0.4))]

    assert confirmed(*trials, policy="ideal_point").verdict == (
        "trial 12 is first again, which the seeds do not settle: the policy puts it before "
        "trial 7 with 1 of 2 seeds"
    )


def test_the_gain_over_the_reference_stands_beside_the_optimistic_one():
    found = confirmed(
        (12, (0.1, 0.1), same(0.2, 1.0, 1.0)),
        (0, (0.4, 0.4), same(0.4, 1.0, 1.0)),
        reference=0,
    )

    assert found.gain == (
        "trial 12 is 50 % ahead of the reference trial in the geometric mean of skills "
        "(spread 0 %, 2 seeds); in the study it was 75 % ahead of it"
    )


def test_the_reference_has_no_gain_over_itself():
    assert confirmed((0, (0.1, 0.1), same(0.1, 1.0)), reference=0).gain == ""
