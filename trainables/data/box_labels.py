"""Box labels become yxyx fractions; what does not fit as declared is told with what was meant."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainables.data.boxes import (
    FORMAT_FIELDS,
    is_inside,
    is_ordered,
    meant,
    to_fractions,
    to_yxyx,
)
from trainables.data.data_problems import DataProblems
from trainables.spec.heads import DeclaredHead
from trainables.spec.losses import FloatArray
from trainables.spec.problems import shown

ImageSizes = NDArray[np.int64] | None
"""Shape ``(rows, 2)``: height and width of every row's original image, 0 where unknown; None:
of all."""

FEW_ROWS = 20
"""Of fewer boxes nothing is suspected: their numbers may fit another format by chance."""
WHOLE_IMAGE = (0.0, 0.0, 1.0, 1.0)
"""The label of a row that is left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Boxes:
    """The boxes of a head as they were given, and as fractions."""

    numbers: FloatArray
    fractions: FloatArray
    clipped: FloatArray
    is_outside: NDArray[np.bool_]
    is_empty: NDArray[np.bool_]
    """Whether a side is not longer than 0."""


def read_boxes(
    head: DeclaredHead,
    numbers: FloatArray,
    sizes: ImageSizes,
    problems: DataProblems,
) -> NDArray[np.float32] | None:
    """Return boxes ``(rows, 4)`` as yxyx fractions; None if one is empty or outside its image.

    A box up to a pixel outside is clipped: that is what label tools round by.
    """
    if head.scale == "pixel" and sizes is None:
        return None  # there are no images
    boxes = _as_fractions(head, numbers, sizes, has_slack=problems.request.rules > 1)
    wrong = np.flatnonzero(boxes.is_outside | boxes.is_empty)
    _note_wrong(head, boxes, sizes, problems)
    if problems.stop(wrong):
        return None
    values = boxes.clipped.copy()
    values[wrong] = WHOLE_IMAGE
    if problems.request.rules > 1:
        _note_odd(head, boxes, sizes, problems)
    return values.astype(np.float32)


def _as_fractions(
    head: DeclaredHead, numbers: FloatArray, sizes: ImageSizes, *, has_slack: bool
) -> _Boxes:
    boxes = to_yxyx(numbers, head.format)
    is_known = np.ones(len(boxes), bool) if sizes is None else sizes.all(axis=1)
    sides = np.ones((len(boxes), 2), np.int64) if sizes is None else np.maximum(sizes, 1)
    fractions = boxes if head.scale == "fraction" else to_fractions(boxes, *sides.T)
    slack = np.tile(1.0 / sides, 2) if has_slack and sizes is not None else 0.0
    is_outside = is_known & ~is_inside(fractions, slack)
    clipped = np.clip(fractions, 0.0, 1.0)
    is_empty = ~is_ordered(boxes) | (is_known & ~is_outside & ~is_ordered(clipped))
    return _Boxes(
        numbers=numbers,
        fractions=fractions,
        clipped=clipped,
        is_outside=is_outside & ~is_empty,
        is_empty=is_empty,
    )


def _note_wrong(
    head: DeclaredHead, boxes: _Boxes, sizes: ImageSizes, problems: DataProblems
) -> None:
    """Note the boxes that cannot be, and what they may have been meant as."""
    numbers = boxes.numbers
    who = f"head {head.name!r} (boxes {FORMAT_FIELDS[head.format]} in {head.scale}s"
    if (boxes.is_outside | boxes.is_empty).any():
        cure = meant(head.format, head.scale, numbers, sizes)
        who += f"; {cure}" if cure else ""

    def in_image(row: int) -> str:
        image = "" if sizes is None else f" (image {sizes[row, 0]}x{sizes[row, 1]})"
        return shown(numbers[row].tolist()) + image

    empty, outside = np.flatnonzero(boxes.is_empty), np.flatnonzero(boxes.is_outside)
    rule = f"{who}) needs a height and a width above 0"
    problems.note_rows(rule, empty, lambda row: shown(numbers[row].tolist()))
    problems.note_rows(f"{who}) needs boxes inside the image", outside, in_image)


def _note_odd(
    head: DeclaredHead, boxes: _Boxes, sizes: ImageSizes, problems: DataProblems
) -> None:
    """Tell of boxes that can be as declared but fit something else better."""
    numbers, who = boxes.numbers, f"head {head.name!r}"
    is_good = ~boxes.is_outside & ~boxes.is_empty
    if clipped := int((is_good & ~is_inside(boxes.fractions)).sum()):
        problems.notes.append(f"{clipped} boxes of {who} up to a pixel outside are clipped")
    highest = numbers.max(initial=0.0)
    if head.scale == "pixel" and len(numbers) and highest <= 1.0:
        problems.warn(
            f"{who} has boxes in pixels of which no number is over {highest:g}: "
            "did you mean `scale: fraction`?"
        )
    elif (
        head.format in ("xywh", "cxcywh")
        and len(numbers) >= FEW_ROWS
        and (numbers[:, 2:] > numbers[:, :2]).all()
        and meant("xyxy", head.scale, numbers, sizes) != ""
    ):
        problems.warn(
            f"{who} is declared {FORMAT_FIELDS[head.format]}, but in all {len(numbers)} rows the "
            "last two numbers are larger than the first two, as of corners: "
            "did you mean `format: xyxy`?"
        )
