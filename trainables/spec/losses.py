"""Recorded loss of each head in NumPy float64: what baselines and tests are measured with.

The same formulas stand in TensorFlow in ``trainables.training.heads``; this file is the reference.
Every division is by ``max(denominator, 1e-7)``, so all results are finite and those of
boxes that are not degenerate are exact.

Sources:
    * Huber, "Robust estimation of a location parameter", Ann. Math. Statist. 35 (1964).
    * Rezatofighi et al., "Generalized Intersection over Union", CVPR 2019 (GIoU).
    * Zheng et al., "Distance-IoU Loss", AAAI 2020 (CIoU).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trainables.spec.heads import HeadSpec

FloatArray = NDArray[np.float64]

EPSILON = 1e-7
"""Smallest denominator of the box formulas."""

HUBER_DELTA = 1.0
"""Error beyond which the Huber loss grows linearly (Keras' default)."""


def sample_losses(head: HeadSpec, outputs: ArrayLike, labels: ArrayLike) -> FloatArray:
    """Return the recorded loss of every sample; their mean is ``val_<head>_loss``.

    That is ``head.recorded_loss``, whatever it was trained with. Outputs are what ``predict``
    returns: probabilities or numbers ``(n, units)``, or boxes ``(n, 4)`` as yxyx fractions; labels
    are class ids ``(n,)``, numbers or boxes. A probability of exactly 0 gives infinity: nothing
    is clipped.

    Example:
        >>> from trainables.spec.trial import HeadSpec
        >>> head = HeadSpec(name="r", kind="regression", units=1, loss="mse", activation="linear")
        >>> sample_losses(head, [[1.0], [2.0]], [[1.0], [4.0]]).tolist()
        [0.0, 4.0]
    """
    predicted = np.asarray(outputs, dtype=np.float64)
    if head.recorded_loss == "cross_entropy":
        return cross_entropy(predicted, np.asarray(labels))
    predicted = predicted.reshape(len(predicted), -1)
    wanted = np.asarray(labels, dtype=np.float64).reshape(len(predicted), -1)
    if predicted.shape != wanted.shape:
        raise ValueError(
            f"head {head.name!r} needs outputs and labels of one shape, "
            f"got {predicted.shape} and {wanted.shape}"
        )
    return _LOSSES[head.recorded_loss](predicted, wanted)


def cross_entropy(probabilities: FloatArray, labels: NDArray[np.integer]) -> FloatArray:
    """Return ``-log p[label]`` of each row, ``(n,)``; ``p`` is ``(n, units)``, not clipped."""
    if probabilities.ndim != 2 or labels.shape != (len(probabilities),):
        raise ValueError(
            f"cross-entropy needs probabilities (n, units) and labels (n,), "
            f"got {probabilities.shape} and {labels.shape}"
        )
    chosen = probabilities[np.arange(len(labels)), labels]
    with np.errstate(divide="ignore"):
        return np.asarray(-np.log(chosen), dtype=np.float64)


def _squared_error(outputs: FloatArray, labels: FloatArray) -> FloatArray:
    """Return the mean over units of ``(output - label)**2``, ``(n,)``."""
    return np.asarray(np.square(outputs - labels).mean(axis=1), dtype=np.float64)


def huber(outputs: FloatArray, labels: FloatArray) -> FloatArray:
    """Return the mean over units of Keras' Huber loss with delta 1, ``(n,)``.

    With ``e = |output - label|``: ``e**2 / 2`` up to ``e = 1``, then ``e - 1/2``.
    """
    error = np.abs(outputs - labels)
    linear = HUBER_DELTA * error - 0.5 * HUBER_DELTA**2
    losses = np.where(error <= HUBER_DELTA, 0.5 * np.square(error), linear)
    return np.asarray(losses.mean(axis=1), dtype=np.float64)


def iou(outputs: ArrayLike, labels: ArrayLike) -> FloatArray:
    """Return the intersection over union of yxyx boxes ``(n, 4)``, in [0, 1], ``(n,)``.

    A side is ``max(0, end - start)``: a reversed box, which a network may put out, has
    area 0, meets nothing and has IoU 0. ``IoU = I / max(U, 1e-7)`` with
    ``U = area_a + area_b - I``.
    """
    return _overlap(_boxes(outputs), _boxes(labels)).iou


def _giou_loss(outputs: ArrayLike, labels: ArrayLike) -> FloatArray:
    """Return ``1 - GIoU``, in [0, 2], ``(n,)``; boxes ``(n, 4)`` yxyx.

    ``GIoU = IoU - (C - U) / max(C, 1e-7)``, where ``C`` is the area of the enclosing box
    ``[min y_min, min x_min, max y_max, max x_max]``, its sides also ``max(0, end - start)``.
    """
    overlap = _overlap(_boxes(outputs), _boxes(labels))
    area = overlap.enclosing_height * overlap.enclosing_width
    return 1.0 - (overlap.iou - (area - overlap.union) / np.maximum(area, EPSILON))


def _ciou_loss(outputs: ArrayLike, labels: ArrayLike) -> FloatArray:
    """Return ``1 - CIoU = 1 - IoU + d2 / max(c2, 1e-7) + alpha * v``, ``(n,)``; boxes yxyx.

    ``d2`` is the squared distance of the centres ``(start + end) / 2``; ``c2`` the squared
    diagonal of the enclosing box of ``_giou_loss``;
    ``v = 4 / pi**2 * (arctan(w_b / max(h_b, 1e-7)) - arctan(w_a / max(h_a, 1e-7)))**2`` with
    sides ``max(0, end - start)``; ``alpha = v / max(1 - IoU + v, 1e-7)``, which is a constant
    for the gradient.
    """
    first, second = _boxes(outputs), _boxes(labels)
    overlap = _overlap(first, second)
    distance = np.square((first[:, :2] + first[:, 2:] - second[:, :2] - second[:, 2:]) / 2.0)
    diagonal = np.square(overlap.enclosing_height) + np.square(overlap.enclosing_width)
    aspect = 4.0 / np.pi**2 * np.square(_angle(second) - _angle(first))
    alpha = aspect / np.maximum(1.0 - overlap.iou + aspect, EPSILON)
    centre = distance.sum(axis=1) / np.maximum(diagonal, EPSILON)
    return np.asarray(1.0 - overlap.iou + centre + alpha * aspect, dtype=np.float64)


class _BoxOverlap(NamedTuple):
    """What two lists of boxes have in common, each field ``(n,)``."""

    iou: FloatArray
    union: FloatArray
    enclosing_height: FloatArray
    enclosing_width: FloatArray


def _boxes(values: ArrayLike) -> FloatArray:
    boxes = np.asarray(values, dtype=np.float64)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"boxes need shape (n, 4), got {boxes.shape}")
    return boxes


def _sides(start: FloatArray, end: FloatArray) -> FloatArray:
    return np.maximum(end - start, 0.0)


def _angle(boxes: FloatArray) -> FloatArray:
    sides = _sides(boxes[:, :2], boxes[:, 2:])
    return np.asarray(np.arctan(sides[:, 1] / np.maximum(sides[:, 0], EPSILON)))


def _overlap(first: FloatArray, second: FloatArray) -> _BoxOverlap:
    common = _sides(
        np.maximum(first[:, :2], second[:, :2]), np.minimum(first[:, 2:], second[:, 2:])
    ).prod(axis=1)
    areas = [_sides(boxes[:, :2], boxes[:, 2:]).prod(axis=1) for boxes in (first, second)]
    union = areas[0] + areas[1] - common
    enclosing = _sides(
        np.minimum(first[:, :2], second[:, :2]), np.maximum(first[:, 2:], second[:, 2:])
    )
    shared = common / np.maximum(union, EPSILON)
    return _BoxOverlap(shared, union, enclosing[:, 0], enclosing[:, 1])


_LOSSES: dict[str, Callable[[FloatArray, FloatArray], FloatArray]] = {
    "mse": _squared_error,
    "huber": huber,
    "giou": _giou_loss,
    "ciou": _ciou_loss,
}
