"""Box labels of every declared format and scale become yxyx fractions of the image."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

TOLERANCE = 1e-6
"""How far outside [0, 1] a fraction may lie, as dust of floats; it is clipped."""

FORMAT_FIELDS = {
    "yxyx": "[y_min, x_min, y_max, x_max]",
    "xyxy": "[x_min, y_min, x_max, y_max]",
    "xywh": "[x_min, y_min, width, height]",
    "cxcywh": "[x_center, y_center, width, height]",
}
"""What the four numbers of each format are."""


def to_yxyx(boxes: FloatArray, form: str) -> FloatArray:
    """Return boxes of a declared format as yxyx; nothing is scaled or checked.

    Args:
        boxes: Shape ``(n, 4)``.
        form: One of ``FORMAT_FIELDS``.

    Example:
        >>> to_yxyx(np.array([[1.0, 2.0, 10.0, 20.0]]), "xywh").tolist()
        [[2.0, 1.0, 22.0, 11.0]]
    """
    return _CONVERSIONS[form](boxes)


def to_fractions(
    boxes: FloatArray, heights: NDArray[np.int64], widths: NDArray[np.int64]
) -> FloatArray:
    """Divide yxyx pixel boxes ``(n, 4)`` by the size of each row's own image."""
    return boxes / np.stack([heights, widths, heights, widths], axis=1)


def is_ordered(boxes: FloatArray) -> NDArray[np.bool_]:
    """Tell which yxyx boxes have both sides longer than 0, ``(n,)``."""
    return np.asarray((boxes[:, 2:] > boxes[:, :2]).all(axis=1))


def is_inside(boxes: FloatArray) -> NDArray[np.bool_]:
    """Tell which boxes lie in [0, 1] up to ``TOLERANCE``, ``(n,)``."""
    return np.asarray(((boxes >= -TOLERANCE) & (boxes <= 1.0 + TOLERANCE)).all(axis=1))


def _from_xyxy(boxes: FloatArray) -> FloatArray:
    return boxes[:, [1, 0, 3, 2]]


def _from_xywh(boxes: FloatArray) -> FloatArray:
    start = boxes[:, [1, 0]]
    return np.concatenate([start, start + boxes[:, [3, 2]]], axis=1)


def _from_cxcywh(boxes: FloatArray) -> FloatArray:
    centre, half = boxes[:, [1, 0]], boxes[:, [3, 2]] / 2.0
    return np.concatenate([centre - half, centre + half], axis=1)


_CONVERSIONS: dict[str, Callable[[FloatArray], FloatArray]] = {
    "yxyx": lambda boxes: boxes,
    "xyxy": _from_xyxy,
    "xywh": _from_xywh,
    "cxcywh": _from_cxcywh,
}
