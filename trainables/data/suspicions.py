"""What is legal in labels but most often a mistake: told with figures and a cure."""

import unicodedata
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from trainables.data.labels import HeadLabels, Labels
from trainables.data.request import SPLITS
from trainables.data.splits import SplitIds
from trainables.spec.heads import DeclaredHead
from trainables.spec.problems import shown

MOST_NAMES = 5
NO_NAMES = frozenset({"", "nan", "none", "null", "n/a", "na", "<na>"})
"""What libraries write for a missing text."""


def suspicions(head: DeclaredHead, labels: HeadLabels, splits: SplitIds) -> Iterator[str]:
    """Yield what is suspicious about the labels of a head.

    Args:
        head: As it was declared.
        labels: What its column gave.
        splits: Each row's split ``(rows,)``; below 0 is left out.
    """
    values = labels.values[splits >= 0]
    if head.kind == "classification":
        yield from _of_classes(labels, splits)
    elif len(values):
        yield from _of_constants(head, values, labels.blurred)


def _of_classes(labels: HeadLabels, splits: SplitIds) -> Iterator[str]:
    head = labels.head
    who = f"head {head.name!r}"
    counts = np.array(
        [np.bincount(labels.values[splits == at], minlength=head.units) for at in range(3)]
    )
    total = counts.sum(axis=0)
    names = head.classes or [str(one) for one in range(head.units)]
    absent = np.flatnonzero(total == 0)
    if not head.classes and absent.tolist() == [0]:
        yield (
            f"{who} has class ids from 1 to {head.units - 1} and none of 0: one of {head.units} "
            "outputs is never trained; count the ids from 0"
        )
    elif len(absent):
        yield (
            f"{who} has {head.units} classes, of which {head.units - len(absent)} occur; without "
            f"a row are {_few(names, absent)}: number the classes that there are from 0"
        )
    for place, split in enumerate(SPLITS[1:], 1):
        alone = np.flatnonzero((counts[place] > 0) & (counts[0] == 0))
        if len(alone):
            yield f"{who} has classes in {split!r} that never train: {_few(names, alone)}"
    for alike in _alike(head.classes):
        yield f"{who} has classes that differ by case or blanks only: {shown(alike)}"
    if missing := [name for name in head.classes if name.strip().lower() in NO_NAMES]:
        yield (
            f"{who} has classes that read as a missing label: {shown(missing)}; name them, or "
            "leave their rows out"
        )


def _few(names: "tuple[str, ...] | list[str]", places: NDArray[np.intp]) -> str:
    told = ", ".join(repr(names[place]) for place in places[:MOST_NAMES])
    return told + (f" and {len(places) - MOST_NAMES} more" if len(places) > MOST_NAMES else "")


def _alike(names: tuple[str, ...]) -> Iterator[list[str]]:
    groups: dict[str, list[str]] = {}
    for name in names:
        plain = unicodedata.normalize("NFKC", name).casefold()
        groups.setdefault("".join(plain.split()), []).append(name)
    return (alike for alike in groups.values() if len(alike) > 1)


def _of_constants(head: DeclaredHead, values: Labels, blurred: frozenset[int]) -> Iterator[str]:
    """Tell of numbers that are the same in every row: there is nothing to learn.

    Not of those that are the same as float32 only, which has been told.
    """
    constant = np.setdiff1d(np.flatnonzero((values == values[:1]).all(axis=0)), list(blurred))
    if len(constant) == values.shape[1]:
        what = "box" if head.kind == "box" else "label"
        yield (
            f"head {head.name!r} has the same {what} in every row, {shown(values[0].tolist())}: "
            "there is nothing to learn, leave this head out"
        )
    elif len(constant):
        places = ", ".join(map(str, constant[:MOST_NAMES]))
        yield f"head {head.name!r} has the same number in every row at place {places} of a label"
