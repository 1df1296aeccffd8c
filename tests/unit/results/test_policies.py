import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from search.errors import InputError
from search.results.policies import POLICIES, choose

HEADS = ("c", "r")
ONE = {"c": 1.0, "r": 1.0}
#          good at r     balanced      good at c     worse than the baseline of r
FRONT = [[0.60, 0.02], [0.20, 0.10], [0.05, 0.90], [0.001, 1.5]]


def pick(policy, losses, baselines=ONE, heads=HEADS, **options):
    return choose(policy, np.array(losses), heads=heads, baselines=baselines, **options)


@pytest.mark.parametrize(
    ("policy", "options", "expected"),
    [
        pytest.param("geometric_mean", {}, 0, id="geometric_mean"),
        pytest.param("geometric_mean", {"exponents": {"c": 2.0}}, 2, id="exponents"),
        pytest.param("geometric_mean", {"exponents": {"r": 0}}, 2, id="a_head_left_out"),
        pytest.param("ideal_point", {}, 1, id="ideal_point"),
        pytest.param("lexicographic", {}, 2, id="lexicographic_in_the_order_of_the_heads"),
        pytest.param("lexicographic", {"order": ("r", "c")}, 0, id="lexicographic_order"),
        pytest.param("lexicographic", {"tolerance_percent": 300.0}, 1, id="tolerance"),
        pytest.param("head", {"head": "r"}, 0, id="head"),
        pytest.param("head", {}, 2, id="the_first_head"),
    ],
)
def test_each_policy_picks_by_its_own_rule(policy, options, expected):
    assert pick(policy, FRONT, **options) == expected


@pytest.mark.parametrize("policy", POLICIES)
def test_a_point_worse_than_a_baseline_ranks_last(policy):
    assert pick(policy, [[1e-6, 1.001], [0.99, 0.99]]) == 1


@pytest.mark.parametrize("policy", POLICIES)
def test_a_point_worse_than_a_baseline_does_not_shift_the_ideal_of_the_others(policy):
    good = [[0.60, 0.02], [0.20, 0.20], [0.05, 0.90]]
    misleading = [[1e-9, 2.0], [2.0, 1e-9]]

    assert pick(policy, good + misleading) == pick(policy, good)


@pytest.mark.parametrize("policy", POLICIES)
def test_among_points_that_are_all_worse_than_a_baseline_one_is_picked(policy):
    assert pick(policy, [[2.0, 2.0], [1.5, 1.2]]) == 1


@pytest.mark.parametrize("policy", POLICIES)
def test_equal_points_are_told_apart_by_their_order(policy):
    assert pick(policy, [[0.9, 0.9], [0.5, 0.5], [0.5, 0.5]]) == 1


@pytest.mark.parametrize(
    ("policy", "losses", "expected"),
    [
        # 0.1 * 0.4 = 0.2 * 0.2: the geometric means are equal; the ideal (0.1, 0.2) decides.
        pytest.param("geometric_mean", [[0.1, 0.4], [0.2, 0.2]], 0, id="equal_distances"),
        pytest.param("geometric_mean", [[0.1, 0.8], [0.2, 0.4], [0.8, 0.1]], 1, id="ideal_point"),
        pytest.param("head", [[0.2, 0.9], [0.2, 0.1]], 1, id="geometric_mean"),
        # Within 5 % on c, equal on r.
        pytest.param("lexicographic", [[0.204, 0.1], [0.2, 0.1]], 1, id="the_dominating_one"),
    ],
)
def test_ties_are_broken_by_the_next_policy(policy, losses, expected):
    assert pick(policy, losses) == expected


@pytest.mark.parametrize("policy", ["geometric_mean", "ideal_point"])
def test_of_points_that_mirror_each_other_the_order_of_the_heads_prefers_none(policy):
    mirrored = np.array([[0.4, 0.1], [0.1, 0.4]])

    assert pick(policy, mirrored) == pick(policy, mirrored, heads=("r", "c")) == 0


def test_lexicographic_takes_points_at_exactly_the_tolerance_for_equal():
    assert pick("lexicographic", [[0.2, 0.5], [0.21, 0.1]]) == 1
    assert pick("lexicographic", [[0.2, 0.5], [0.2101, 0.1]]) == 0


def test_no_head_wins_outright_by_going_to_zero():
    losses = [[0.0, 0.99], [0.01, 0.09]]

    assert pick("geometric_mean", losses) == 1


def test_a_loss_at_its_baseline_is_not_worse_than_it_in_any_unit():
    assert pick("head", [[0.1 * 3, 0.5], [0.1, 0.6]], {"c": 0.3, "r": 1.0}, head="r") == 0


@st.composite
def several_heads(draw):
    """Draw losses of one to four heads, near ties among them, and the baselines."""
    num_heads = draw(st.integers(1, 4))
    shape = (draw(st.integers(1, 8)), num_heads)
    values = st.sampled_from([0.0, 1e-5, 0.1, 0.2, 0.4, 0.7, 1.0, 2.0]) | st.floats(1e-6, 1e3)
    losses = draw(arrays(np.float64, shape, elements=values))
    baselines = st.just(1.0) | st.floats(1e-3, 1e3)
    return losses, draw(arrays(np.float64, num_heads, elements=baselines))


def named(baselines, order=None):
    heads = [f"h{index}" for index in range(len(baselines))]
    order = range(len(heads)) if order is None else order
    return tuple(heads[i] for i in order), {heads[i]: float(baselines[i]) for i in order}


@settings(deadline=None)
@given(
    drawn=several_heads(),
    factor=st.floats(1e-9, 1e9),
    which=st.integers(0, 3),
    policy=st.sampled_from(list(POLICIES)),
)
def test_multiplying_one_heads_losses_and_baseline_changes_no_choice(drawn, factor, which, policy):
    losses, baselines = drawn
    units = np.ones(len(baselines))
    units[which % len(units)] = factor
    heads, before = named(baselines)
    _, after = named(baselines * units)

    assert pick(policy, losses * units, after, heads) == pick(policy, losses, before, heads)


@settings(deadline=None)
@given(
    drawn=several_heads(),
    seed=st.integers(0, 99),
    policy=st.sampled_from(list(POLICIES)),
)
def test_swapping_heads_changes_no_choice(drawn, seed, policy):
    losses, baselines = drawn
    order = np.random.default_rng(seed).permutation(len(baselines)).tolist()
    heads, before = named(baselines)
    swapped, after = named(baselines, order)
    # Which head comes first is what these two are told, by default the first.
    told = {"head": {"head": heads[0]}, "lexicographic": {"order": heads}}.get(policy, {})

    expected = pick(policy, losses, before, heads, **told)

    assert pick(policy, losses[:, order], after, swapped, **told) == expected


@settings(deadline=None)
@given(
    losses=arrays(
        np.float64,
        st.tuples(st.integers(1, 8), st.integers(1, 4)),
        elements=st.floats(2e-3, 0.999),
    ),
    policy=st.sampled_from(list(POLICIES)),
)
def test_no_policy_picks_a_point_that_another_clearly_beats(losses, policy):
    heads = tuple("abcd"[: losses.shape[1]])

    picked = losses[pick(policy, losses, dict.fromkeys(heads, 1.0), heads)]

    assert not (losses < picked * (1 - 1e-9)).all(axis=1).any()


def test_three_heads_and_losses_beyond_any_float_of_their_baseline_are_compared():
    losses = [[1e308, 1e308, 1e308], [0.5, 0.5, 1e308], [0.5, 1e308, 1e308]]
    baselines = {"a": 1e-12, "b": 1e-12, "c": 1e-12}

    picked = {name: pick(name, losses, baselines, ("a", "b", "c")) for name in POLICIES}

    assert set(picked.values()) == {1}


@pytest.mark.parametrize(
    ("policy", "options", "message"),
    [
        pytest.param("sum", {}, "policy needs to be one of ['geometric_mean'", id="policy"),
        pytest.param(
            "ideal_point",
            {"exponents": {"c": 2.0}},
            "policy 'ideal_point' has no option ['exponents']; it takes none",
            id="of_another_policy",
        ),
        pytest.param(
            "head", {"haed": "c"}, "has no option ['haed']; it takes ['head']", id="unknown"
        ),
        pytest.param(
            "head", {"head": "x"}, "policy needs heads among ['c', 'r'], got ['x']", id="head"
        ),
        pytest.param("head", {"head": ""}, "among ['c', 'r'], got ['']", id="no_head"),
        pytest.param(
            "geometric_mean", {"exponents": {"x": 1.0}}, "got ['x']", id="head_of_an_exponent"
        ),
        pytest.param(
            "geometric_mean", {"exponents": {"c": -1.0}}, "got {'c': -1.0}", id="negative_exponent"
        ),
        pytest.param(
            "geometric_mean", {"exponents": {"c": "2"}}, "got {'c': '2'}", id="exponent_as_text"
        ),
        pytest.param(
            "geometric_mean",
            {"exponents": {"c": 0, "r": 0.0}},
            "at least one of them > 0",
            id="only_zeros",
        ),
        pytest.param(
            "geometric_mean", {"exponents": {"c": float("nan")}}, "got {'c': nan}", id="nan"
        ),
        pytest.param(
            "geometric_mean", {"exponents": [1, 2]}, "numbers by head, got [1, 2]", id="list"
        ),
        pytest.param("lexicographic", {"order": "c"}, "a list of heads, got 'c'", id="order_text"),
        pytest.param(
            "lexicographic", {"order": ("c", "c")}, "heads that differ", id="order_twice"
        ),
        pytest.param(
            "lexicographic", {"tolerance_percent": -1}, ">= 0, got -1", id="negative_tolerance"
        ),
    ],
)
def test_unknown_policies_and_options_are_refused(policy, options, message):
    with pytest.raises(InputError, match=re.escape(message)):
        pick(policy, FRONT, **options)


@pytest.mark.parametrize(
    "losses",
    [
        pytest.param(np.empty((0, 2)), id="none"),
        pytest.param([[np.nan, 0.1]], id="nan"),
        pytest.param([[0.1, 0.1], [np.inf, 0.1]], id="infinite"),
    ],
)
def test_only_finite_points_can_be_chosen_from(losses):
    with pytest.raises(ValueError, match="at least one point, all finite, got"):
        pick("geometric_mean", losses)
