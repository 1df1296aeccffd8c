"""Box losses and intersection over union in TensorFlow, as ``trainables.losses`` defines them.

Boxes are yxyx: ``[y_min, x_min, y_max, x_max]``. A network may put out a reversed box: its
sides are then 0, so it has no area and meets nothing; and as none of the formulas has a
gradient that would turn it round, training adds `reversal` to them.

Sources:
    * Rezatofighi et al., "Generalized Intersection over Union", CVPR 2019 (GIoU).
    * Zheng et al., "Distance-IoU Loss", AAAI 2020 (CIoU).
"""

import math
from typing import NamedTuple

from trainables.backend import Tensor, tf
from trainables.losses import EPSILON


def iou(outputs: Tensor, labels: Tensor) -> Tensor:
    """Return the intersection over union of boxes ``(batch, 4)``, in [0, 1], ``(batch,)``."""
    return _overlap(outputs, labels).iou


def giou_loss(outputs: Tensor, labels: Tensor) -> Tensor:
    """Return ``1 - GIoU`` of boxes ``(batch, 4)``, in [0, 2], ``(batch,)``."""
    overlap = _overlap(outputs, labels)
    area = overlap.enclosing_height * overlap.enclosing_width
    return 1.0 - (overlap.iou - (area - overlap.union) / tf.maximum(area, EPSILON))


def ciou_loss(outputs: Tensor, labels: Tensor) -> Tensor:
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


def reversal(outputs: Tensor) -> Tensor:
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
