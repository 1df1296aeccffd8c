"""Gaussian processes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.sampling.gaussian import FIT_POINTS, Kernel, Observations, Process, _likelihood, fit

RNG = np.random.default_rng


def observed(num=30, num_parameters=3, noise=0.0, seed=0, of=None):
    """Return values of a function at random places, standardised."""
    rng = RNG(seed)
    places = rng.random((num, num_parameters))
    of = of or (lambda places: np.sin(6 * places[:, 0]))
    values = of(places) + noise * rng.standard_normal(num)
    values = (values - values.mean()) / (values.std() + 1e-9)
    return Observations(places=places, values=values, variances=np.zeros(num))


def test_the_kernel_is_one_at_a_distance_of_none_and_falls_with_it():
    kernel = Kernel(lengths=np.array([1.0]), noise=0.0, trend=0.0)
    places = np.array([[0.0], [1.0], [3.0]])

    # (1 + sqrt(5) r + 5/3 r^2) exp(-sqrt(5) r) at r = 0, 1, 3.
    assert kernel.between(places[:1], places)[0].tolist() == pytest.approx(
        [1.0, 0.523994, 0.0277234], abs=1e-6
    )


def test_a_parameter_with_a_long_scale_hardly_counts():
    kernel = Kernel(lengths=np.array([0.1, 100.0]), noise=0.0, trend=0.0)
    origin = np.zeros((1, 2))

    along, across = kernel.between(origin, np.array([[1.0, 0.0], [0.0, 1.0]]))[0]

    assert along < 1e-6
    assert across > 0.999


def test_a_trend_goes_on_where_nothing_was_seen():
    places = np.linspace(0.3, 0.7, 9)[:, None]
    seen = Observations(places=places, values=4 * places[:, 0] - 2, variances=np.zeros(9))
    ends = np.array([[0.0], [1.0]])

    with_trend = Process(Kernel(lengths=np.full(1, 0.05), noise=1e-4), seen).mean(ends)
    without = Process(Kernel(lengths=np.full(1, 0.05), noise=1e-4, trend=0.0), seen).mean(ends)

    assert with_trend[1] - with_trend[0] > 0.3
    assert without == pytest.approx([0.0, 0.0], abs=0.01)


def test_a_process_without_noise_interpolates():
    seen = observed()
    process = Process(Kernel(lengths=np.full(3, 0.5), noise=1e-9), seen)

    mean, variance = process.predict(seen.places)

    assert mean == pytest.approx(seen.values, abs=1e-4)
    assert variance.max() < 1e-5
    assert process.mean(seen.places) == pytest.approx(mean)


def test_far_from_what_was_seen_a_process_knows_nothing():
    process = Process(Kernel(lengths=np.full(3, 0.1), noise=0.01, trend=0.0), observed())

    mean, variance = process.predict(np.full((1, 3), 50.0))

    assert mean[0] == pytest.approx(0.0, abs=1e-9)
    assert variance[0] == pytest.approx(1.0)


def test_one_point_is_trusted_as_its_noise_says():
    seen = Observations(
        places=np.array([[0.5]]), values=np.array([2.0]), variances=np.array([0.25])
    )

    kernel = Kernel(lengths=np.ones(1), noise=0.25, trend=0.0)
    mean, variance = Process(kernel, seen).predict(seen.places)

    # 2 / (1 + 0.25 + 0.25), and 1 - 1 / 1.5.
    assert mean[0] == pytest.approx(4 / 3)
    assert variance[0] == pytest.approx(1 / 3)


def test_an_uncertain_value_pulls_less_than_a_certain_one():
    places = np.array([[0.2], [0.8]])
    seen = Observations(
        places=places, values=np.array([1.0, -1.0]), variances=np.array([10.0, 0.0])
    )

    kernel = Kernel(lengths=np.ones(1) * 0.1, noise=0.01, trend=0.0)
    mean, variance = Process(kernel, seen).predict(places)

    assert abs(mean[0]) < 0.2 < 0.9 < abs(mean[1])
    assert variance[0] > variance[1]


@settings(max_examples=30, deadline=None)
@given(num=st.integers(2, 25), num_parameters=st.integers(1, 4), seed=st.integers(0, 10**6))
def test_the_gradient_of_the_likelihood_is_that_of_finite_differences(num, num_parameters, seed):
    rng = RNG(seed)
    seen = observed(num, num_parameters, noise=0.3, seed=seed)
    known = np.diag(rng.random(num) * 0.1)
    squares = (seen.places.T[:, :, None] - seen.places.T[:, None, :]) ** 2
    squares = squares.reshape(num_parameters, -1)
    at = np.append(rng.normal(size=num_parameters) * 0.5, -2.0)

    def height(at):
        return _likelihood(at, squares, seen.values, known)[0]

    _, slope = _likelihood(at, squares, seen.values, known)

    steps = np.eye(len(at)) * 1e-5
    expected = [(height(at + step) - height(at - step)) / 2e-5 for step in steps]
    assert slope == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_the_likelihood_is_that_of_a_normal_distribution():
    # One point: -log N(1; 0, 1 + 0.5), but for the constant log(2 pi) / 2.
    height, _ = _likelihood(
        np.array([0.0, np.log(0.5)]), np.zeros((1, 1)), np.array([1.0]), np.zeros((1, 1))
    )

    assert height == pytest.approx(0.5 * (1 / 1.5 + np.log(1.5)))


def test_a_parameter_that_does_nothing_gets_a_longer_scale():
    kernel = fit(observed(num=50), RNG(0))

    assert kernel.lengths[0] < 0.5 * kernel.lengths[1:].min()


def test_noise_is_told_from_what_depends_on_the_config():
    quiet = fit(observed(num=60), RNG(0))
    loud = fit(observed(num=60, noise=1.0), RNG(0))

    assert loud.noise > 5 * quiet.noise


def test_a_fitted_process_predicts_what_it_has_not_seen():
    seen, unseen = observed(num=60, seed=0), observed(num=60, seed=1)

    mean, _ = Process(fit(seen, RNG(0)), seen).predict(unseen.places)

    assert np.corrcoef(mean, unseen.values)[0, 1] > 0.95


def test_a_fit_depends_on_its_arguments_alone():
    seen = observed(num=2 * FIT_POINTS, noise=0.1)

    one, same, other = fit(seen, RNG(1)), fit(seen, RNG(1)), fit(seen, RNG(2))

    assert (one.lengths.tolist(), one.noise) == (same.lengths.tolist(), same.noise)
    assert one.lengths.tolist() != other.lengths.tolist()  # other points were picked


@pytest.mark.parametrize(
    "seen",
    [
        pytest.param(observed(num=1), id="one_point"),
        pytest.param(observed(of=lambda places: np.zeros(len(places))), id="equal_values"),
        pytest.param(
            Observations(
                places=np.full((20, 2), 0.5), values=RNG(0).random(20), variances=np.zeros(20)
            ),
            id="equal_places",
        ),
        pytest.param(observed(num=5, num_parameters=20), id="more_parameters_than_points"),
        pytest.param(
            Observations(
                places=RNG(0).random((5, 2)), values=RNG(0).random(5), variances=np.full(5, 1e6)
            ),
            id="nothing_certain",
        ),
        pytest.param(observed(of=lambda places: 1e6 * (places[:, 0] > 0.97)), id="one_outlier"),
    ],
)
def test_whatever_was_seen_the_process_is_finite(seen):
    kernel = fit(seen, RNG(0))

    places = RNG(1).random((50, seen.places.shape[1]))
    mean, variance = Process(kernel, seen).predict(places)

    assert np.isfinite([*kernel.lengths, kernel.noise, *mean, *variance]).all()
    assert ((variance > 0) & (variance <= kernel.at(places) + 1e-9)).all()
