"""What each kind of head means in training: its losses and its metrics, in TensorFlow.

The recorded loss of a sample is the one that ``trainables.spec.losses`` defines in NumPy; here it
is computed in float32 and summed in float64, so that a mean over a data set is exact
whatever the batches.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trainables.model.backend import Tensor, keras, tf
from trainables.spec.heads import HeadSpec
from trainables.spec.losses import EPSILON, HUBER_DELTA

Totals = NDArray[np.float64]
"""What `batch_totals` returns, summed over batches."""


def training_losses(head: HeadSpec, outputs: Tensor, labels: Tensor) -> Tensor:
    """Return the loss that a head is trained with, of every sample, ``(batch,)`` float32.

    It is the recorded loss, plus `_reversal` for ``giou`` and ``ciou``
    (0 for every proper box), except where the head names another: Huber instead of squared error,
    or ``binary_cross_entropy``. That is exactly what Keras' compile makes of
    ``binary_crossentropy`` on a softmax output with one-hot labels: it reads the softmax's
    *logits* and takes the mean over classes of each one's sigmoid cross-entropy. (From the
    probabilities that ``predict`` returns NumPy gets another number.)
    """
    if head.loss == "binary_cross_entropy":
        return keras.losses.binary_crossentropy(tf.one_hot(labels, head.units), outputs)
    losses = _loss(head.loss, outputs, labels)
    return losses + _reversal(tf.cast(outputs, tf.float32)) if head.loss in _OVERLAPS else losses


def totals_length(head: HeadSpec) -> int:
    """Return how many numbers `batch_totals` gives for a head."""
    return 1 + 2 * head.units if head.kind == "classification" else 2


def batch_totals(head: HeadSpec, outputs: Tensor, labels: Tensor) -> Tensor:
    """Return what a batch adds to the head's figures, ``(totals_length(head),)`` float64.

    First the sum of the recorded losses; then, for classification, each class's number of
    rows and of those predicted right; for numbers the sum of absolute errors (mean over
    units); for boxes the sum of IoUs.
    """
    losses = [_total(_loss(head.recorded_loss, outputs, labels))]
    if head.kind == "classification":
        rows = tf.one_hot(labels, head.units, dtype=tf.float64)
        is_right = tf.equal(tf.argmax(outputs, axis=1), tf.cast(labels, tf.int64))
        right = rows * tf.cast(is_right, tf.float64)[:, None]
        return tf.concat([losses, tf.reduce_sum(rows, 0), tf.reduce_sum(right, 0)], axis=0)
    values = tf.cast(outputs, tf.float32)
    if head.kind == "box":
        return tf.stack([*losses, _total(_overlap(values, labels).iou)])
    return tf.stack([*losses, _total(tf.reduce_mean(tf.abs(values - labels), axis=1))])


def figures(head: HeadSpec, totals: Totals, num_rows: int) -> tuple[float, dict[str, float]]:
    """Return a head's loss and its metrics by name.

    Metrics are ``accuracy`` and ``balanced_accuracy`` (the mean of the recalls of the classes
    that have rows), ``mae`` (mean over rows and units), or ``iou`` (mean over rows). ``totals``
    is the sum of `batch_totals` over all batches, which held ``num_rows``.
    """
    loss = float(totals[0]) / num_rows
    if head.kind != "classification":
        return loss, {"iou" if head.kind == "box" else "mae": float(totals[1]) / num_rows}
    rows, right = totals[1 : 1 + head.units], totals[1 + head.units :]
    recalls = right[rows > 0] / rows[rows > 0]
    accuracy = float(right.sum()) / num_rows
    return loss, {"accuracy": accuracy, "balanced_accuracy": float(recalls.mean())}


def _logits_of(outputs: Tensor) -> Tensor | None:
    """Return what a softmax output was computed from, or None where that is not known.

    Keras leaves the logits on the tensor that its softmax returns; any operation after it,
    a cast included, loses them.
    """
    kept = getattr(outputs, "_keras_logits", None)
    if kept is not None:
        return kept
    operation = getattr(outputs, "op", None)
    return operation.inputs[0] if operation is not None and operation.type == "Softmax" else None


def _total(values: Tensor) -> Tensor:
    return tf.reduce_sum(tf.cast(values, tf.float64))


def _loss(name: str, outputs: Tensor, labels: Tensor) -> Tensor:
    if name == "cross_entropy":
        return _cross_entropy(outputs, labels)
    return _LOSSES[name](tf.cast(outputs, tf.float32), labels)


def _cross_entropy(outputs: Tensor, labels: Tensor) -> Tensor:
    logits = _logits_of(outputs)
    if logits is not None:
        return tf.nn.sparse_softmax_cross_entropy_with_logits(
            labels=labels, logits=tf.cast(logits, tf.float32)
        )
    chosen = tf.gather(tf.cast(outputs, tf.float32), labels, axis=1, batch_dims=1)
    return -tf.math.log(chosen)


def _squared_error(outputs: Tensor, labels: Tensor) -> Tensor:
    return tf.reduce_mean(tf.square(outputs - labels), axis=1)


def _huber(outputs: Tensor, labels: Tensor) -> Tensor:
    error = tf.abs(outputs - labels)
    linear = HUBER_DELTA * error - 0.5 * HUBER_DELTA**2
    return tf.reduce_mean(tf.where(error <= HUBER_DELTA, 0.5 * tf.square(error), linear), axis=1)


_OVERLAPS = ("giou", "ciou")


def _giou_loss(outputs: Tensor, labels: Tensor) -> Tensor:
    """Return ``1 - GIoU`` of boxes ``(batch, 4)``, in [0, 2], ``(batch,)``."""
    overlap = _overlap(outputs, labels)
    area = overlap.enclosing_height * overlap.enclosing_width
    return 1.0 - (overlap.iou - (area - overlap.union) / tf.maximum(area, EPSILON))


def _ciou_loss(outputs: Tensor, labels: Tensor) -> Tensor:
    """Return ``1 - CIoU`` of boxes ``(batch, 4)``, ``(batch,)``.

    The weight of the aspect term is a constant for the gradient, as its authors say.
    """
    overlap = _overlap(outputs, labels)
    shift = (outputs[:, :2] + outputs[:, 2:] - labels[:, :2] - labels[:, 2:]) / 2.0
    diagonal = tf.square(overlap.enclosing_height) + tf.square(overlap.enclosing_width)
    centre = tf.reduce_sum(tf.square(shift), axis=1) / tf.maximum(diagonal, EPSILON)
    aspect = 4.0 / math.pi**2 * tf.square(_angle(labels) - _angle(outputs))
    alpha = tf.stop_gradient(aspect / tf.maximum(1.0 - overlap.iou + aspect, EPSILON))
    return 1.0 - overlap.iou + centre + alpha * aspect


_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": _squared_error,
    "huber": _huber,
    "giou": _giou_loss,
    "ciou": _ciou_loss,
}


def _reversal(outputs: Tensor) -> Tensor:
    """Return by how much the sides of boxes ``(batch, 4)`` are reversed, >= 0, ``(batch,)``.

    It is 0 for every proper box. About half of an untrained network's boxes are reversed on
    some side, and with GIoU or CIoU alone they stay so.
    """
    return tf.reduce_sum(_sides(outputs[:, 2:], outputs[:, :2]), axis=1)


class _Overlap(NamedTuple):
    """What two lists of boxes have in common, each field ``(batch,)``."""

    iou: Tensor
    union: Tensor
    enclosing_height: Tensor
    enclosing_width: Tensor


def _sides(start: Tensor, end: Tensor) -> Tensor:
    # relu, not maximum: its gradient at exactly 0 is 0, also where a quotient by it explodes.
    return tf.nn.relu(end - start)


def _area(sides: Tensor) -> Tensor:
    return sides[:, 0] * sides[:, 1]


def _angle(boxes: Tensor) -> Tensor:
    sides = _sides(boxes[:, :2], boxes[:, 2:])
    return tf.atan(sides[:, 1] / tf.maximum(sides[:, 0], EPSILON))


def _overlap(first: Tensor, second: Tensor) -> _Overlap:
    starts, ends = (first[:, :2], second[:, :2]), (first[:, 2:], second[:, 2:])
    common = _area(_sides(tf.maximum(*starts), tf.minimum(*ends)))
    union = _area(_sides(starts[0], ends[0])) + _area(_sides(starts[1], ends[1])) - common
    enclosing = _sides(tf.minimum(*starts), tf.maximum(*ends))
    shared = common / tf.maximum(union, EPSILON)
    return _Overlap(shared, union, enclosing[:, 0], enclosing[:, 1])
