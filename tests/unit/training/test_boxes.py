"""TensorFlow's box losses against the NumPy definition."""

import numpy as np
import pytest

from trainables.model.backend import tf
from trainables.spec import losses
from trainables.training.heads import _ciou_loss, _giou_loss, _overlap, _reversal

pytestmark = pytest.mark.slow


def iou(outputs, labels):
    return _overlap(outputs, labels).iou


PAIRS = [
    (iou, losses.iou),
    (_giou_loss, losses._giou_loss),
    (_ciou_loss, losses._ciou_loss),
]
NAMES = ["iou", "giou", "ciou"]


def boxes(kind: str, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    points = rng.uniform(-0.3, 1.3, (500, 2, 2))
    if kind == "proper":
        points = np.sort(points, axis=1)
    if kind == "point":
        points[:, 1] = points[:, 0]
    return points.reshape(500, 4).astype(np.float32)


@pytest.mark.parametrize(("ours", "oracle"), PAIRS, ids=NAMES)
@pytest.mark.parametrize("kind", ["proper", "any_order", "point"])
def test_box_formulas_equal_their_numpy_definition(ours, oracle, kind):
    outputs, labels = boxes(kind, 0), boxes("proper", 1)

    result = ours(tf.constant(outputs), tf.constant(labels)).numpy()

    np.testing.assert_allclose(result, oracle(outputs, labels), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize(("ours", "_"), PAIRS, ids=NAMES)
def test_box_formulas_know_the_overlap_of_two_shifted_squares(ours, _):
    first, second = [[0.0, 0.0, 0.5, 0.5]], [[0.25, 0.25, 0.75, 0.75]]
    # Intersection 1/16, union 7/16, enclosing square 9/16, centres 1/4 apart on each axis.
    expected = {"iou": 1 / 7, "_giou_loss": 1 - (1 / 7 - 2 / 9), "_ciou_loss": 1 - 1 / 7 + 1 / 9}

    result = ours(tf.constant(first), tf.constant(second)).numpy()

    assert result == pytest.approx([expected[ours.__name__]], rel=1e-6)


@pytest.mark.parametrize("loss", [_giou_loss, _ciou_loss], ids=["giou", "ciou"])
@pytest.mark.parametrize("kind", ["proper", "any_order", "point"])
def test_gradients_of_box_losses_are_finite_for_any_output(loss, kind):
    outputs = tf.Variable(boxes(kind, 2))

    with tf.GradientTape() as tape:
        values = loss(outputs, tf.constant(boxes("proper", 3)))
    gradient = tape.gradient(values, outputs).numpy()

    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("loss", [_giou_loss, _ciou_loss], ids=["giou", "ciou"])
def test_a_reversed_box_is_pulled_towards_its_label(loss):
    outputs = tf.Variable([[0.9, 0.9, 0.8, 0.8]])
    labels = tf.constant([[0.1, 0.1, 0.3, 0.3]])

    def step():
        with tf.GradientTape() as tape:
            value = tf.reduce_mean(loss(outputs, labels) + _reversal(outputs))
        outputs.assign_sub(0.003 * tape.gradient(value, outputs))

    compiled = tf.function(step)
    for _ in range(2700):
        compiled()

    assert float(iou(outputs, labels)[0]) > 0.5


def test_only_reversed_sides_count_as_reversal():
    boxes = tf.constant([[0.1, 0.2, 0.3, 0.4], [0.5, 0.2, 0.25, 0.4], [0.5, 0.5, 0.5, 0.0]])

    assert _reversal(boxes).numpy().tolist() == [0.0, 0.25, 0.5]
