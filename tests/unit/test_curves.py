"""Where learning curves will end."""

import numpy as np
import pytest

from search.curves import DECAY, SPREAD, at_end, steps

EPOCHS = 6
NOWHERE = np.zeros(1)


def falling(start, gain, epochs=EPOCHS):
    """Return a curve of one head that gains the same every epoch."""
    return (start - gain * np.arange(epochs))[:, None]


def learned(curves, places=None, epochs=EPOCHS, num_heads=1):
    places = np.zeros((len(curves), 1)) if places is None else places
    return steps(curves, places, epochs, num_heads)


def test_there_is_a_step_after_each_epoch_but_the_last():
    assert len(learned([falling(0.0, 0.1)])) == EPOCHS - 1
    assert learned([np.zeros((1, 1))], epochs=1) == ()


def test_before_anything_was_seen_a_curve_is_expected_to_flatten():
    known = learned([])

    value, variance = at_end(np.array([[-1.0]]), NOWHERE, known)

    # Two trials count for the expectation, but with none there is nothing else.
    epochs = np.arange(1, EPOCHS)
    assert value[0] == pytest.approx(-1.0 - (DECAY / epochs).sum())
    assert variance[0] == pytest.approx((SPREAD**2 / epochs).sum())


def test_a_step_that_is_the_same_in_every_curve_is_found():
    starts = np.linspace(-2.0, 0.0, 400)
    known = learned([falling(start, 0.3) for start in starts])

    value, variance = at_end(falling(-1.0, 0.3, epochs=2), NOWHERE, known)

    # The curve stands at -1.3 after two epochs and four are to come.
    assert value[0] == pytest.approx(-1.3 - 4 * 0.3, abs=0.02)
    assert variance[0] < 0.01


def test_a_step_that_depends_on_the_config_is_found():
    rng = np.random.default_rng(0)
    places = rng.random((400, 1))
    curves = [falling(-0.5 - rng.random(), 0.1 + 0.4 * place) for place in places[:, 0]]
    known = learned(curves, places)

    slow, _ = at_end(np.array([[-1.0]]), np.array([0.1]), known)
    quick, _ = at_end(np.array([[-1.0]]), np.array([0.9]), known)

    assert slow[0] == pytest.approx(-1.0 - 5 * 0.14, abs=0.1)
    assert quick[0] == pytest.approx(-1.0 - 5 * 0.46, abs=0.1)


def test_a_step_that_depends_on_the_level_is_found():
    # What lies above -2 comes nearer to it by a half with every epoch.
    starts = np.linspace(-1.5, 3.0, 300)
    curves = [(-2 + (start + 2) * 0.5 ** np.arange(EPOCHS))[:, None] for start in starts]

    high, _ = at_end(np.array([[2.0]]), NOWHERE, learned(curves))
    low, _ = at_end(np.array([[-1.0]]), NOWHERE, learned(curves))

    assert high[0] == pytest.approx(-2 + 4 * 0.5**5, abs=0.1)
    assert low[0] == pytest.approx(-2 + 1 * 0.5**5, abs=0.1)


def test_curves_that_were_stopped_early_teach_the_first_steps_and_no_others():
    stopped = [falling(0.0, 0.3, epochs=3)] * 50

    with_them, without = learned(stopped), learned([])

    assert with_them[0].gain[0] == pytest.approx(-0.3, abs=0.01)
    assert with_them[1].gain[0] == pytest.approx(-0.3, abs=0.01)
    assert [step.gain[0] for step in with_them[2:]] == [step.gain[0] for step in without[2:]]


def test_of_a_whole_curve_the_best_epoch_counts_and_is_certain():
    curve = np.array([[-0.1, -0.1], [-2.0, -0.3], [-1.0, -1.0], [-1.0, -0.9]])
    known = learned([curve], epochs=4, num_heads=2)

    value, variance = at_end(curve, NOWHERE, known)

    assert value.tolist() == [-2.0, -0.3]
    assert variance.tolist() == [0.0, 0.0]


def test_what_is_nearer_to_its_end_is_more_certain():
    rng = np.random.default_rng(0)
    curves = [np.cumsum(-0.2 * rng.random((EPOCHS, 1)), axis=0) for _ in range(30)]
    known = learned(curves)

    variances = [at_end(curves[0][:epochs], NOWHERE, known)[1][0] for epochs in range(1, 7)]

    assert variances == sorted(variances, reverse=True)
    assert variances[-1] == 0.0


def test_every_head_has_its_own_steps_and_their_order_is_no_matter():
    rng = np.random.default_rng(0)
    places = rng.random((20, 2))
    curves = [np.cumsum(-rng.random((4, 3)) * [0.1, 0.5, 1.0], axis=0) for _ in range(20)]
    order = [2, 0, 1]

    value, variance = at_end(curves[0][:2], places[0], learned(curves, places, 4, 3))
    turned, other = at_end(
        curves[0][:2, order],
        places[0],
        learned([curve[:, order] for curve in curves], places, 4, 3),
    )

    assert turned.tolist() == pytest.approx(value[order].tolist())
    assert other.tolist() == pytest.approx(variance[order].tolist())
    assert value[0] > value[1] > value[2]


def test_equal_curves_of_equal_configs_are_expected_to_go_on_as_they_did():
    known = learned([falling(-1.0, 0.0)] * 100)

    value, variance = at_end(np.array([[-1.0]]), NOWHERE, known)

    assert np.isfinite([*value, *variance]).all()
    assert value[0] == pytest.approx(-1.0, abs=0.05)


@pytest.mark.parametrize("extra", [0, 3])
def test_a_curve_longer_than_a_whole_training_is_taken_as_it_is(extra):
    curve = falling(-1.0, 0.1, epochs=EPOCHS + extra)

    value, variance = at_end(curve, NOWHERE, learned([curve]))

    assert value[0] == pytest.approx(-1.0 - 0.1 * (EPOCHS + extra - 1))
    assert variance[0] == 0.0
