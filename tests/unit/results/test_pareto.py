import itertools
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from search.results.pareto import SKILL_FLOOR, front_mask, front_ranks, log_skill
from tests.support.hypervolume import hypervolume

FLOOR = np.log(SKILL_FLOOR)
LOSS = st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0, np.nan, np.inf])
SHARE = st.sampled_from([0.0, 0.125, 0.25, 0.5, 0.75, 1.0, 1.5, -0.5])


@st.composite
def tables(draw, elements, max_points=12, max_heads=4):
    shape = draw(st.integers(0, max_points)), draw(st.integers(1, max_heads))
    return draw(arrays(np.float64, shape, elements=elements))


def beats(one, other):
    return all(a <= b for a, b in zip(one, other, strict=True)) and list(one) != list(other)


@settings(deadline=None)
@given(losses=tables(LOSS))
def test_the_front_is_what_no_finite_point_beats(losses):
    finite = [row for row in losses.tolist() if np.isfinite(row).all()]
    expected = [
        bool(np.isfinite(row).all()) and not any(beats(other, row) for other in finite)
        for row in losses.tolist()
    ]

    assert front_mask(losses).tolist() == expected


@settings(deadline=None)
@given(losses=tables(LOSS), power=st.integers(-30, 30))
def test_the_front_is_the_same_in_any_unit_and_order(losses, power):
    mask = front_mask(losses)

    assert (front_mask(losses * 2.0**power) == mask).all()
    assert (front_mask(losses[:, ::-1]) == mask).all()
    assert (front_mask(losses[::-1]) == mask[::-1]).all()


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        pytest.param([[1.0, 2.0], [2.0, 1.0], [2.0, 2.0]], [True, True, False], id="two_heads"),
        pytest.param([[1.0, 1.0], [1.0, 1.0]], [True, True], id="equal_points_are_kept"),
        pytest.param([[np.nan, 0.0], [1.0, 1.0]], [False, True], id="nan"),
        pytest.param([[-np.inf, 0.0], [1.0, 1.0]], [False, True], id="minus_infinity"),
        pytest.param([[np.nan], [np.inf]], [False, False], id="nothing_finite"),
        pytest.param([[3.0], [1.0], [1.0]], [False, True, True], id="one_head"),
        pytest.param([[0.0, 1.0], [-0.0, 1.0]], [True, True], id="signed_zeros"),
    ],
)
def test_the_front_of_a_few_points(losses, expected):
    assert front_mask(np.array(losses)).tolist() == expected


@pytest.mark.parametrize(
    ("losses", "baselines", "expected"),
    [
        pytest.param([2.0, 0.5], [2.0, 0.5], [0.0, 0.0], id="baseline_is_zero"),
        pytest.param([0.2, 5.0], [2.0, 0.5], [np.log(0.1), np.log(10.0)], id="both_sides"),
        pytest.param([0.0, 1e-9], [2.0, 0.5], [FLOOR, FLOOR], id="never_below_the_floor"),
        pytest.param([np.nan, np.inf], [2.0, 0.5], [np.nan, np.inf], id="not_finite"),
        pytest.param([1e308, 1.0], [1e-12, 1.0], [np.inf, 0.0], id="beyond_any_float"),
    ],
)
def test_log_skill_measures_against_the_baseline(losses, baselines, expected):
    found = log_skill(np.array([losses]), np.array(baselines))

    np.testing.assert_allclose(found, [expected], rtol=1e-12)


@pytest.mark.parametrize("baseline", [0.0, -1.0, np.nan, np.inf])
def test_log_skill_needs_a_baseline_that_can_be_a_yardstick(baseline):
    message = f"log_skill needs finite baselines > 0, got [1.0, {baseline}]"

    with pytest.raises(ValueError, match=re.escape(message)):
        log_skill(np.ones((1, 2)), np.array([1.0, baseline]))


@settings(deadline=None)
@given(
    losses=tables(st.floats(1e-6, 1e6)),
    factors=st.lists(st.floats(1e-6, 1e6), min_size=4, max_size=4),
)
def test_log_skill_has_no_unit(losses, factors):
    baselines, units = np.arange(1.0, losses.shape[1] + 1), np.array(factors[: losses.shape[1]])

    found = log_skill(losses * units, baselines * units)

    np.testing.assert_allclose(found, log_skill(losses, baselines), atol=1e-12)


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        pytest.param([[0.3], [0.7], [0.5]], 0.7, id="one_head"),
        pytest.param([[0.5, 0.5]], 0.25, id="one_point"),
        pytest.param([[0.5, 1.0], [1.0, 0.5]], 0.75, id="two_points"),
        pytest.param([[0.5, 1.0], [1.0, 0.5], [0.5, 0.5]], 0.75, id="a_beaten_one_adds_nothing"),
        pytest.param([[2.0, 0.5]], 0.5, id="below_the_floor_counts_as_the_floor"),
        pytest.param([[-1.0, 0.9]], 0.0, id="worse_than_a_baseline"),
        pytest.param([[0.0, 0.9]], 0.0, id="at_a_baseline"),
        pytest.param([[np.nan, 0.9], [np.inf, 0.5], [-np.inf, 1.0]], 0.0, id="not_finite"),
        pytest.param(np.empty((0, 2)), 0.0, id="no_point"),
        pytest.param([[1.0, 1.0, 1.0]], 1.0, id="everything"),
    ],
)
def test_hypervolume_is_the_share_covered(shares, expected):
    assert hypervolume(np.asarray(shares) * FLOOR) == pytest.approx(expected, abs=1e-12)


def volume_by_cells(shares):
    """Count the cells of a grid of eighths that lie below a point."""
    inside = [row for row in shares.tolist() if min(row) > 0]
    cells = list(itertools.product(range(8), repeat=shares.shape[1]))
    covered = [
        cell
        for cell in cells
        if any(all(c < 8 * s for c, s in zip(cell, p, strict=True)) for p in inside)
    ]
    return len(covered) / len(cells)


@settings(deadline=None, max_examples=60)
@given(shares=tables(SHARE, max_points=7, max_heads=4))
def test_hypervolume_equals_the_counted_cells(shares):
    assert hypervolume(shares * FLOOR) == pytest.approx(volume_by_cells(shares), abs=1e-9)


def test_a_front_of_thousands_of_points_among_as_many_beaten_ones_is_found():
    place = np.linspace(0.0, 1.0, 3000)
    front = np.stack([place, 1 - place], axis=1)
    losses = np.vstack([front, front + 0.5, np.full((3000, 2), 2.0)])

    mask = front_mask(losses)

    assert mask[:3000].all()
    assert not mask[3000:].any()


def peeled(losses):
    """Rank by peeling off one front after the other."""
    ranks, left = np.zeros(len(losses), dtype=np.int64), np.arange(len(losses))
    for rank in range(len(losses)):
        on_front = front_mask(losses[left])
        ranks[left[on_front]] = rank
        left = left[~on_front]
        if not len(left):
            break
    return ranks


@given(num_heads=st.integers(1, 4), num_points=st.integers(0, 25), seed=st.integers(0, 10**6))
def test_ranks_are_those_of_peeling_off_one_front_after_the_other(num_heads, num_points, seed):
    losses = np.random.default_rng(seed).integers(0, 6, (num_points, num_heads)).astype(float)

    ranks = front_ranks(losses)

    assert ranks.tolist() == peeled(losses).tolist()
