"""By how much a config is expected to enlarge the front's volume."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import search.sampling.ehvi
from search.results.pareto import SKILL_FLOOR
from search.sampling.ehvi import _expected_improvement
from tests.support.hypervolume import hypervolume

RNG = np.random.default_rng
DEEPEST = np.log(SKILL_FLOOR)


def improvement(mean, front, *, variance=0.0, reference=None, seed=0):
    mean = np.array(mean, dtype=float)
    num_heads = mean.shape[1]
    return _expected_improvement(
        mean,
        np.broadcast_to(np.asarray(variance, dtype=float), mean.shape),
        front=np.array(front, dtype=float).reshape(-1, num_heads),
        reference=np.zeros(num_heads) if reference is None else np.array(reference),
        rng=RNG(seed),
    )


@settings(deadline=None)
@given(seed=st.integers(0, 10**6), num_heads=st.integers(1, 4))
def test_what_the_front_beats_adds_nothing_and_what_beats_it_does(seed, num_heads):
    front = -1 - RNG(seed).random((5, num_heads))
    beaten, better = front[0] + 0.1, front.min(axis=0) - 0.1

    worse, good = improvement([beaten, better], front, seed=seed)

    assert worse == 0.0
    assert good > 0.0


def test_a_point_of_the_front_adds_nothing():
    assert improvement([[-1.0, -2.0]], [[-1.0, -2.0], [-2.0, -1.0]]).tolist() == [0.0]


def test_what_is_not_better_than_the_reference_on_every_head_adds_nothing():
    candidates = [[0.0, -5.0], [0.3, -5.0], [-5.0, 0.0], [0.1, 0.1]]

    assert improvement(candidates, []).tolist() == [0.0] * 4


def test_nothing_is_better_than_the_reference_and_all_is_finite():
    found = improvement([[1.0, 1.0], [2.0, 0.5]], [[3.0, 3.0]])

    assert found.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("num_heads", [1, 2, 3, 4])
@pytest.mark.parametrize("num_points", [0, 1, 6])
def test_without_doubt_it_is_what_the_hypervolume_grows_by(num_heads, num_points, monkeypatch):
    monkeypatch.setattr(search.sampling.ehvi, "DIRECTIONS", 10_000)
    rng = RNG(num_heads)
    front = DEEPEST * rng.uniform(0.1, 0.6, (num_points, num_heads))
    candidates = DEEPEST * rng.uniform(0.1, 0.9, (10, num_heads))

    found = improvement(candidates, front)

    volume = hypervolume(front) if num_points else 0.0
    grown = [hypervolume(np.vstack([front, one])) - volume for one in candidates]
    expected = np.array(grown) / max(grown)
    assert found / found.max() == pytest.approx(expected, abs=0.05)


def test_the_more_uncertain_of_two_beaten_candidates_promises_more():
    front = [[-1.0, -1.0]]

    sure, unsure = improvement(
        [[-0.9, -0.9], [-0.9, -0.9]], front, variance=[[1e-6, 1e-6], [1.0, 1.0]]
    )

    assert sure == 0.0
    assert unsure > 0.0


def test_the_expectation_on_one_head_is_that_of_the_normal_distribution(monkeypatch):
    monkeypatch.setattr(search.sampling.ehvi, "SAMPLES", 200_000)

    at_front, certain = improvement([[-1.0], [-2.0]], [[-1.0]], variance=[[1.0], [0.0]])

    # E[max(z, 0)] of a standard normal z is 1 / sqrt(2 pi); the sure candidate gains 1.
    assert at_front / certain == pytest.approx(0.3989, abs=0.01)


def test_equal_candidates_promise_the_same_since_they_share_the_draws():
    found = improvement([[-1.0, -2.0], [-1.0, -2.0]], [[-1.0, -1.0]], variance=0.5)

    assert found[0] == found[1] > 0
    assert improvement([[-1.0, -2.0]], [[-1.0, -1.0]], variance=0.5)[0] == found[0]


@settings(deadline=None)
@given(
    seed=st.integers(0, 10**6),
    units=st.lists(st.sampled_from([1e-3, 0.5, 1.0, 7.3, 1e4]), min_size=2, max_size=2),
)
def test_the_spread_of_a_heads_values_is_no_matter(seed, units):
    rng, units = RNG(seed), np.array(units)
    front, mean, variance = -rng.random((4, 2)), -rng.random((6, 2)), rng.random((6, 2))

    found = improvement(mean * units, front * units, variance=variance * units**2, seed=seed)

    # The smallest reach that the scale is kept away from 0 by has a unit: hence not exactly.
    assert found == pytest.approx(improvement(mean, front, variance=variance, seed=seed), rel=1e-6)


def test_the_order_of_heads_makes_no_difference_but_for_the_draws(monkeypatch):
    monkeypatch.setattr(search.sampling.ehvi, "DIRECTIONS", 2000)
    monkeypatch.setattr(search.sampling.ehvi, "SAMPLES", 1000)
    front = -RNG(0).random((4, 3))
    mean, variance = -RNG(1).random((8, 3)), 0.1 * RNG(2).random((8, 3))
    order = [2, 0, 1]

    found = improvement(mean, front, variance=variance)
    turned = improvement(mean[:, order], front[:, order], variance=variance[:, order])

    assert turned == pytest.approx(found, rel=0.15, abs=0.05 * found.max())


def test_there_may_be_no_candidate():
    assert improvement(np.zeros((0, 2)), [[-1.0, -1.0]]).shape == (0,)
