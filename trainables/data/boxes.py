"""Boxes of every declared format and scale become yxyx fractions of the image, and back."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from trainables.spec.heads import BOX_SCALES
from trainables.spec.losses import FloatArray

TOLERANCE = 1e-6
"""How far outside [0, 1] a fraction may lie, as dust of floats; it is clipped."""

MEANT_SLACK, MEANT_SHARE = 0.02, 0.98
"""How far boxes may lie outside, and how many have to fit, where it is guessed what was meant."""


FORMAT_FIELDS = {
    "yxyx": "[y_min, x_min, y_max, x_max]",
    "xyxy": "[x_min, y_min, x_max, y_max]",
    "xywh": "[x_min, y_min, width, height]",
    "cxcywh": "[x_center, y_center, width, height]",
}
"""What the four numbers of each format are."""


def to_yxyx(boxes: FloatArray, form: str) -> FloatArray:
    """Return boxes of a declared format as yxyx; nothing is scaled or checked.

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


def from_yxyx(boxes: FloatArray, form: str) -> FloatArray:
    """Return yxyx boxes ``(n, 4)`` in a declared format: the inverse of `to_yxyx`.

    Example:
        >>> from_yxyx(np.array([[2.0, 1.0, 22.0, 11.0]]), "xywh").tolist()
        [[1.0, 2.0, 10.0, 20.0]]
    """
    return _INVERSES[form](boxes)


def to_pixels(
    boxes: FloatArray, heights: NDArray[np.int64], widths: NDArray[np.int64]
) -> FloatArray:
    """Multiply yxyx fractions ``(n, 4)`` by the size of each row's own image."""
    return boxes * np.stack([heights, widths, heights, widths], axis=1)


def without_reversal(boxes: FloatArray) -> FloatArray:
    """Return yxyx boxes ``(n, 4)`` in which a reversed side has length 0, at its middle.

    A network may put out a box that ends before it begins. Its side counts as 0 in every
    overlap (``trainables.spec.losses``), so this changes no IoU; exchanging the ends would.

    Example:
        >>> without_reversal(np.array([[0.75, 0.0, 0.25, 1.0]])).tolist()
        [[0.5, 0.0, 0.5, 1.0]]
    """
    starts, ends = boxes[:, :2], boxes[:, 2:]
    middles, is_reversed = (starts + ends) / 2.0, ends < starts
    return np.concatenate(
        [np.where(is_reversed, middles, starts), np.where(is_reversed, middles, ends)], axis=1
    )


def is_ordered(boxes: FloatArray) -> NDArray[np.bool_]:
    """Tell which yxyx boxes have both sides longer than 0, ``(n,)``."""
    return np.asarray((boxes[:, 2:] > boxes[:, :2]).all(axis=1))


def is_inside(boxes: FloatArray, slack: FloatArray | float = 0.0) -> NDArray[np.bool_]:
    """Tell which boxes lie in [0, 1] up to ``TOLERANCE`` and a slack ``(n, 4)``, ``(n,)``."""
    allowed = slack + TOLERANCE
    return np.asarray(((boxes >= -allowed) & (boxes <= 1.0 + allowed)).all(axis=1))


def meant(form: str, scale: str, numbers: FloatArray, sizes: NDArray[np.int64] | None) -> str:
    """Return how boxes that do not fit as declared may have been meant; empty if nothing fits.

    Args:
        form: The declared format.
        scale: The declared scale.
        numbers: The boxes as given, ``(rows, 4)``.
        sizes: Height and width of each row's image, ``(rows, 2)``.
    """
    for other_scale in sorted(BOX_SCALES, key=lambda one: one != scale):
        for other in (form, "xyxy", "xywh", "cxcywh", "yxyx"):  # the most common first
            is_centre = other == "cxcywh" and form in ("xyxy", "yxyx")
            if is_centre and _fits(numbers[:, [2, 3, 0, 1]], form, scale, sizes):
                return "the corners are in the other order: the smaller ones come first"
            if (other, other_scale) != (form, scale) and _fits(numbers, other, other_scale, sizes):
                changes = [f"format: {other}"] * (other != form)
                changes += [f"scale: {other_scale}"] * (other_scale != scale)
                return f"did you mean `{', '.join(changes)}`?"
    return _of_parts(form, numbers, sizes)


def _of_parts(form: str, numbers: FloatArray, sizes: NDArray[np.int64] | None) -> str:
    """Return words for numbers that may count hundredths or thousandths of the image."""
    parts = 100 if numbers.max() <= 100.0 else 1000
    if numbers.max() <= parts / 2 or not _fits(numbers / parts, form, "fraction", sizes):
        return ""
    return (
        f"if they count 1/{parts} of the image, divide by {parts} and set `scale: fraction`; if "
        "they are pixels of images of another size, convert them"
    )


def _fits(numbers: FloatArray, form: str, scale: str, sizes: NDArray[np.int64] | None) -> bool:
    """Tell whether nearly all boxes are boxes inside their images if they are read like that."""
    boxes = to_yxyx(numbers, form)
    if scale == "pixel":
        if sizes is None or np.median(numbers.max(axis=1)) <= 1.0:
            return False
        boxes = to_fractions(boxes, *np.maximum(sizes, 1).T)
    return bool((is_ordered(boxes) & is_inside(boxes, MEANT_SLACK)).mean() >= MEANT_SHARE)


def _from_xyxy(boxes: FloatArray) -> FloatArray:
    return boxes[:, [1, 0, 3, 2]]


def _from_xywh(boxes: FloatArray) -> FloatArray:
    start = boxes[:, [1, 0]]
    return np.concatenate([start, start + boxes[:, [3, 2]]], axis=1)


def _from_cxcywh(boxes: FloatArray) -> FloatArray:
    centre, half = boxes[:, [1, 0]], boxes[:, [3, 2]] / 2.0
    return np.concatenate([centre - half, centre + half], axis=1)


def _to_xywh(boxes: FloatArray) -> FloatArray:
    return np.concatenate([boxes[:, [1, 0]], boxes[:, [3, 2]] - boxes[:, [1, 0]]], axis=1)


def _to_cxcywh(boxes: FloatArray) -> FloatArray:
    starts, ends = boxes[:, [1, 0]], boxes[:, [3, 2]]
    return np.concatenate([(starts + ends) / 2.0, ends - starts], axis=1)


_CONVERSIONS: dict[str, Callable[[FloatArray], FloatArray]] = {
    "yxyx": lambda boxes: boxes,
    "xyxy": _from_xyxy,
    "xywh": _from_xywh,
    "cxcywh": _from_cxcywh,
}


_INVERSES: dict[str, Callable[[FloatArray], FloatArray]] = {
    "yxyx": lambda boxes: boxes,
    "xyxy": _from_xyxy,  # its own inverse
    "xywh": _to_xywh,
    "cxcywh": _to_cxcywh,
}
