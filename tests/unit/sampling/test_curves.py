"""Where learning curves will end."""

import numpy as np
import pytest

from search.sampling.gaussian import DECAY, SPREAD, at_end
from search.sampling.gaussian import _fit_step as fit

EPOCHS = 6


def falling(start, gain, epochs=EPOCHS):
    """Return a curve of one head that gains the same every epoch."""
    return (start - gain * np.arange(epochs))[:, None]


def ends(asked, known=(), places=None, epochs=EPOCHS):
    """Return mean and variance at the end of the asked curves, which the known ones teach."""
    curves = [*asked, *known]
    places = np.zeros((len(curves), 1)) if places is None else places
    values, variances = at_end(curves, places, epochs)
    return values[: len(asked)], variances[: len(asked)]


def test_before_anything_was_seen_a_curve_is_expected_to_flatten():
    values, variances = ends([np.array([[-1.0]])])

    # Two trials count for the expectation, but with none there is nothing else.
    epochs = np.arange(1, EPOCHS)
    assert values[0, 0] == pytest.approx(-1.0 - (DECAY / epochs).sum())
    assert variances[0, 0] == pytest.approx((SPREAD**2 / epochs).sum())


def test_a_training_of_one_epoch_is_at_its_end_after_it():
    values, variances = ends([np.array([[-1.0, 2.0]])], epochs=1)

    assert values.tolist() == [[-1.0, 2.0]]
    assert variances.tolist() == [[0.0, 0.0]]


def test_a_step_that_is_the_same_in_every_curve_is_found():
    known = [falling(start, 0.3) for start in np.linspace(-2.0, 0.0, 400)]

    values, variances = ends([falling(-1.0, 0.3, epochs=2)], known)

    # The curve stands at -1.3 after two epochs and four are to come.
    assert values[0, 0] == pytest.approx(-1.3 - 4 * 0.3, abs=0.02)
    assert variances[0, 0] < 0.01


def test_a_step_that_depends_on_the_config_is_found():
    rng = np.random.default_rng(0)
    places = rng.random((400, 1))
    known = [falling(-0.5 - rng.random(), 0.1 + 0.4 * place) for place in places[:, 0]]

    values, _ = ends([np.array([[-1.0]])] * 2, known, np.vstack([[[0.1], [0.9]], places]))

    assert values[0, 0] == pytest.approx(-1.0 - 5 * 0.14, abs=0.1)
    assert values[1, 0] == pytest.approx(-1.0 - 5 * 0.46, abs=0.1)


def test_a_step_that_depends_on_the_level_is_found():
    # What lies above -2 comes nearer to it by a half with every epoch.
    starts = np.linspace(-1.5, 3.0, 300)
    known = [(-2 + (start + 2) * 0.5 ** np.arange(EPOCHS))[:, None] for start in starts]

    values, _ = ends([np.array([[2.0]]), np.array([[-1.0]])], known)

    assert values[0, 0] == pytest.approx(-2 + 4 * 0.5**5, abs=0.1)
    assert values[1, 0] == pytest.approx(-2 + 1 * 0.5**5, abs=0.1)


def test_curves_that_were_stopped_early_teach_the_first_steps_and_no_others():
    stopped = [falling(0.0, 0.3, epochs=3)] * 50

    values, _ = ends([falling(0.0, 0.3, epochs=1)], stopped)

    # Two steps are known, of the other three what is expected before any was seen.
    later = DECAY / 3 + DECAY / 4 + DECAY / 5
    assert values[0, 0] == pytest.approx(-0.6 - later, abs=0.02)


def test_a_fitted_step_says_what_it_was_fitted_to():
    places = np.linspace(0, 1, 200)[:, None]
    before = np.full(200, -1.0)
    step = fit(np.column_stack([before, before - 0.1 - 0.4 * places[:, 0]]), places, 2)

    after = step(np.array([-1.0, -1.0]), np.array([[0.0], [1.0]]))

    assert after.tolist() == pytest.approx([-1.1, -1.5], abs=0.03)
    assert step.gain == pytest.approx(-0.3, abs=0.01)
    assert step.centre.tolist() == pytest.approx([-1.0, 0.5])


def test_a_step_that_nothing_is_known_of_is_the_same_from_every_level_and_place():
    step = fit(np.empty((0, 2)), np.empty((0, 2)), 2)

    after = step(np.array([-1.0, 3.0]), np.array([[0.0, 1.0], [1.0, 0.0]]))

    assert after.tolist() == pytest.approx([-1.0 - DECAY / 2, 3.0 - DECAY / 2])
    assert step.variance == pytest.approx(SPREAD**2 / 2)


def test_of_a_whole_curve_the_best_epoch_counts_and_is_certain():
    curve = np.array([[-0.1, -0.1], [-2.0, -0.3], [-1.0, -1.0], [-1.0, -0.9]])

    values, variances = ends([curve], epochs=4)

    assert values.tolist() == [[-2.0, -0.3]]
    assert variances.tolist() == [[0.0, 0.0]]


def test_what_is_nearer_to_its_end_is_more_certain():
    rng = np.random.default_rng(0)
    known = [np.cumsum(-0.2 * rng.random((EPOCHS, 1)), axis=0) for _ in range(30)]

    _, variances = ends([known[0][:epochs] for epochs in range(1, 7)], known)

    found = variances[:, 0].tolist()
    assert found == sorted(found, reverse=True)
    assert found[-1] == 0.0


def test_every_head_has_its_own_steps_and_their_order_is_no_matter():
    rng = np.random.default_rng(0)
    places = rng.random((21, 2))
    curves = [np.cumsum(-rng.random((4, 3)) * [0.1, 0.5, 1.0], axis=0) for _ in range(21)]
    curves[0] = curves[0][:2]
    order = [2, 0, 1]

    values, variances = at_end(curves, places, 4)
    turned, other = at_end([curve[:, order] for curve in curves], places, 4)

    assert turned == pytest.approx(values[:, order])
    assert other == pytest.approx(variances[:, order])
    assert values[0, 0] > values[0, 1] > values[0, 2]


def test_the_order_of_trials_is_no_matter():
    rng = np.random.default_rng(0)
    places = rng.random((20, 2))
    curves = [np.cumsum(-rng.random((1 + n % 5, 2)), axis=0) for n in range(20)]
    order = rng.permutation(20)

    values, variances = at_end(curves, places, 5)
    turned, other = at_end([curves[row] for row in order], places[order], 5)

    assert turned == pytest.approx(values[order])
    assert other == pytest.approx(variances[order])


def test_equal_curves_of_equal_configs_are_expected_to_go_on_as_they_did():
    values, variances = ends([np.array([[-1.0]])], [falling(-1.0, 0.0)] * 100)

    assert np.isfinite([values, variances]).all()
    assert values[0, 0] == pytest.approx(-1.0, abs=0.05)


@pytest.mark.parametrize("extra", [0, 3])
def test_a_curve_longer_than_a_whole_training_is_taken_as_it_is(extra):
    curve = falling(-1.0, 0.1, epochs=EPOCHS + extra)

    values, variances = ends([curve])

    assert values[0, 0] == pytest.approx(-1.0 - 0.1 * (EPOCHS + extra - 1))
    assert variances[0, 0] == 0.0
