"""Losses and metrics of each kind of head."""

import numpy as np
import pytest

from trainables.model.backend import keras, tf
from trainables.spec.heads import HeadSpec
from trainables.spec.losses import sample_losses
from trainables.training.heads import (
    _logits_of,
    _loss,
    batch_totals,
    figures,
    totals_length,
    training_losses,
)

pytestmark = pytest.mark.slow


def head(kind: str, units: int, loss: str = "") -> HeadSpec:
    return HeadSpec(name="out", kind=kind, units=units, loss=loss)


HEADS = [
    pytest.param(head("classification", 5), id="cross_entropy"),
    pytest.param(head("classification", 2, "binary_cross_entropy"), id="recorded_cross_entropy"),
    pytest.param(head("regression", 1), id="mse_single"),
    pytest.param(head("regression", 3, "huber"), id="recorded_mse"),
    pytest.param(head("box", 4), id="box_mse"),
    pytest.param(head("box", 4, "huber"), id="box_huber"),
    pytest.param(head("box", 4, "giou"), id="box_giou"),
    pytest.param(head("box", 4, "ciou"), id="box_ciou"),
]


def batch(head: HeadSpec, rows: int = 40) -> tuple:
    """Return outputs (a softmax where it is one) and labels."""
    rng = np.random.default_rng(0)
    raw = tf.constant(rng.normal(0, 3, (rows, head.units)).astype("float32"))
    if head.kind == "classification":
        return keras.activations.softmax(raw), rng.integers(0, head.units, rows, "int32")
    return raw, rng.uniform(0, 1, (rows, head.units)).astype("float32")


@pytest.mark.parametrize("head", HEADS)
def test_recorded_losses_equal_their_numpy_definition(head):
    outputs, labels = batch(head)

    result = _loss(head.recorded_loss, outputs, labels).numpy()

    expected = sample_losses(head, outputs.numpy(), labels)
    np.testing.assert_allclose(result, expected, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("head", HEADS)
def test_totals_of_two_batches_add_up_to_the_figures_of_all_rows(head):
    outputs, labels = batch(head)

    parts = [
        batch_totals(head, outputs[rows], labels[rows]).numpy()
        for rows in (slice(0, 33), slice(33, 40))
    ]
    loss, metrics = figures(head, sum(parts), 40)

    whole_loss, whole_metrics = figures(head, batch_totals(head, outputs, labels).numpy(), 40)
    assert parts[0].shape == (totals_length(head),)
    assert loss == pytest.approx(whole_loss, rel=1e-6)
    assert metrics == pytest.approx(whole_metrics, rel=1e-6)


def test_balanced_accuracy_is_the_mean_recall_of_the_classes_that_have_rows():
    classes = head("classification", 4)
    outputs = tf.one_hot([0, 0, 0, 1, 2, 3], 4)
    labels = np.array([0, 0, 1, 1, 2, 2], "int32")

    _, metrics = figures(classes, batch_totals(classes, outputs, labels).numpy(), 6)

    assert metrics == {
        "accuracy": pytest.approx(4 / 6),
        "balanced_accuracy": pytest.approx((1.0 + 0.5 + 0.5) / 3),
    }


def test_mean_absolute_error_is_over_rows_and_units():
    numbers = head("regression", 2)
    totals = batch_totals(numbers, tf.constant([[1.0, 2.0], [3.0, 4.0]]), np.zeros((2, 2), "f"))

    assert figures(numbers, totals.numpy(), 2) == (7.5, {"mae": 2.5})


def test_a_wrong_answer_of_certainty_has_a_finite_loss_from_its_logits():
    outputs = keras.activations.softmax(tf.constant([[0.0, 500.0]]))

    loss = _loss("cross_entropy", outputs, np.array([0], "int32"))

    assert loss.numpy().tolist() == [500.0]
    assert outputs.numpy().tolist() == [[0.0, 1.0]]


@pytest.mark.parametrize(
    ("make", "is_known"),
    [
        pytest.param(keras.activations.softmax, True, id="keras_softmax"),
        pytest.param(lambda x: tf.cast(keras.activations.softmax(x), "float16"), False, id="cast"),
        pytest.param(tf.nn.relu, False, id="no_softmax"),
    ],
)
def test_logits_are_found_only_right_behind_a_softmax(make, is_known):
    assert (_logits_of(make(tf.constant([[1.0, 2.0]]))) is not None) == is_known


def test_logits_of_a_plain_tensorflow_softmax_are_found_in_a_graph():
    function = tf.function(lambda x: _logits_of(tf.nn.softmax(x)), autograph=False)

    assert function(tf.constant([[1.0, 2.0]])).numpy().tolist() == [[1.0, 2.0]]


def test_huber_training_loss_is_keras_huber():
    numbers = head("regression", 3, "huber")
    outputs, labels = batch(numbers)

    result = training_losses(numbers, outputs, labels).numpy()

    np.testing.assert_allclose(result, keras.losses.huber(labels, outputs).numpy(), rtol=1e-6)


def test_binary_cross_entropy_is_what_keras_compile_makes_of_it():
    classes = head("classification", 5, "binary_cross_entropy")
    outputs, labels = batch(classes)
    logits = outputs._keras_logits.numpy().astype("float64")
    wanted = np.eye(5)[labels]

    result = training_losses(classes, outputs, labels).numpy()

    from_logits = np.logaddexp(0, logits) - wanted * logits
    np.testing.assert_allclose(result, from_logits.mean(axis=1), rtol=1e-5)
