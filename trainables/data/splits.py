"""Which rows train, validate and test: as the data say, or drawn with equal images on one side."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trainables.data.data_problems import DataProblems
from trainables.data.parquet import DataFile, Source
from trainables.data.request import SPLIT_COLUMN, SPLITS, DataRequest
from trainables.spec.problems import Problems, shown

SplitIds = NDArray[np.int8]
"""Shape ``(rows,)``: the place of each row's split in ``SPLITS``."""

SPLIT_WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
"""What files and folders of a split are called: the words of Hugging Face's ``datasets``."""

BY_NAMES = "the names of the files"
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
_UNCLEAR = "no known one"
_SPLIT_IDS = {name: place for place, name in enumerate(SPLITS)}
_SPLIT_OF = {word: split for split, words in SPLIT_WORDS.items() for word in words}
_TRAIN, _VALIDATION = 0, 1


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenSplits:
    """What the data themselves say of their splits."""

    ids: SplitIds | None
    """None: nothing."""

    source: str
    """Who says it, in words."""

    @property
    def is_by_names(self) -> bool:
        """Whether the names of files say it."""
        return self.ids is not None and self.source == BY_NAMES

    @property
    def is_complete(self) -> bool:
        """Whether no validation rows need to be drawn."""
        return self.ids is not None and bool((self.ids == _VALIDATION).any())


def given_splits(source: Source, problems: DataProblems, *, has_column: bool) -> GivenSplits:
    """Return what a ``split`` column, or else the names of files and folders, say of the splits.

    Of files that all train nothing is said; of files that train and test, which rows validate is
    left to be drawn from those that train.
    """
    places = None if problems.request.rules == 1 else splits_of_files(source, problems)
    rows = [file.rows for file in source.files]
    by_name = None if places is None else np.repeat(np.array(places, np.int8), rows)
    if not has_column:
        return GivenSplits(ids=by_name, source=BY_NAMES)
    ids = _named_splits(source.column(SPLIT_COLUMN), problems)
    for place, name in enumerate(SPLITS[:2]):
        if ids is not None and not (ids == place).any():
            problems.note(f"column {SPLIT_COLUMN!r} needs at least 1 row {name!r}, got none")
    if ids is not None and by_name is not None:
        problems.note_rows(
            f"column {SPLIT_COLUMN!r} needs to say what the names of the files do",
            np.flatnonzero(ids != by_name),
            lambda row: f"{SPLITS[ids[row]]!r} in a file of {SPLITS[by_name[row]]!r}",
        )
    return GivenSplits(ids=ids, source=f"the column {SPLIT_COLUMN!r}")


def splits_of_files(source: Source, problems: Problems) -> list[int] | None:
    """Return each file's split by its name, a place in ``SPLITS``; None if the names tell none."""
    named = {file.name: sorted(set(_split_words(file))) for file in source.files}
    unclear = [name for name, of in named.items() if len(of) > 1 or _UNCLEAR in of]
    unnamed = [name for name, splits in named.items() if not splits]
    distinct = {splits[0] for splits in named.values() if splits}
    cure = f"rename files, or write a column {SPLIT_COLUMN!r} of train, validation and test"
    if unclear:
        told = f"{unclear[0]!r} ({' and '.join(named[unclear[0]])})"
        problems.note(f"each file needs to be of one split by its name, got {told}; {cure}")
    elif len(source.files) == 1 or not distinct or (distinct == {"train"} and not unnamed):
        return None
    elif unnamed:
        of_split = next(name for name in named if named[name])
        problems.note(
            f"all files or none need a split in their names, got {of_split!r} beside "
            f"{unnamed[0]!r}; {cure}"
        )
    elif "train" not in distinct:
        problems.note(
            f"splits by the names of files need one that trains, got {sorted(distinct)}; {cure}"
        )
    else:
        return [SPLITS.index(splits[0]) for splits in named.values()]
    return None


def _split_words(file: DataFile) -> Iterator[str]:
    """Yield the splits that parts of a file's path name: ``split=train``, ``valSet-0.parquet``.

    A folder such as ``split=0`` or ``is_train=1`` speaks of splits, but one cannot tell of which.
    """
    for part in file.name.removesuffix(".parquet").split("/"):
        key, sign, value = part.rpartition("=")
        splits = list(_splits_in(value))
        is_about_splits = key.lower() == SPLIT_COLUMN or any(_splits_in(key))
        yield from [_UNCLEAR] if sign and is_about_splits and not splits else splits


def _splits_in(text: str) -> Iterator[str]:
    for word in _WORD.findall(text):
        word = word.lower()
        known = _SPLIT_OF.get(word, _SPLIT_OF.get(word.removesuffix("set")))
        if known is not None:
            yield known


def _named_splits(column: Any, problems: Problems) -> SplitIds | None:
    """Return the split of each row from a ``split`` column; None after a problem."""
    kind = column.type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        problems.note(f"column {SPLIT_COLUMN!r} needs text, got type {kind}")
        return None
    words = column.cast(kind).to_pylist()
    ids = np.array([_SPLIT_IDS.get(word, -1) for word in words], dtype=np.int8)
    wrong = np.flatnonzero(ids < 0)
    rule = f"column {SPLIT_COLUMN!r} needs 'train', 'validation' or 'test'"
    problems.note_rows(rule, wrong, lambda row: shown(words[row]))
    return None if len(wrong) else ids


def draw_validation(
    ids: SplitIds,
    classes: NDArray[np.int64],
    groups: NDArray[np.int64],
    request: DataRequest,
    problems: Problems,
) -> SplitIds | None:
    """Draw rows that validate from those that train, so that every class keeps its share.

    Rows of a group stay on one side, in the class of its first row. Groups are ranked within
    their class by a Philox number of (seed, first row), the first ones validate. In all
    ``round(share * groups)`` validate, at least 1; what rounding leaves goes to the classes with
    the largest remainder. A class keeps at least one group that trains, so one with a single
    group only trains.

    Args:
        ids: The splits so far, ``(rows,)``; rows of a split below 0 are left out of all.
        classes: Class of each row, ``(rows,)``.
        groups: Which rows have the same image, ``(rows,)``.
        request: With the share and the seed.
        problems: Where it is noted that there is nothing to draw.

    Returns:
        Shape ``(rows,)``; the same for the same arguments. None after a problem.
    """
    rows = np.flatnonzero(ids == _TRAIN)
    _, firsts, group_of = np.unique(groups[rows], return_index=True, return_inverse=True)
    _, strata, counts = np.unique(classes[rows[firsts]], return_inverse=True, return_counts=True)
    if not (counts > 1).any():
        problems.note(
            "a validation split needs a class with at least 2 different images, "
            f"got {len(firsts)} in {len(counts)} class(es): is the label an id of the row? "
            f"Else write a column {SPLIT_COLUMN!r}"
        )
        return None
    chosen = _validation_counts(counts, request.validation_share)
    keys = np.random.Philox(key=request.validation_seed).random_raw(len(ids))[rows[firsts]]
    order = np.lexsort((keys, strata))
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    rank = np.empty(len(firsts), dtype=np.int64)
    rank[order] = np.arange(len(firsts)) - starts[strata[order]]
    drawn = ids.copy()
    drawn[rows[(rank < chosen[strata])[group_of]]] = _VALIDATION
    return drawn


def _validation_counts(counts: NDArray[np.int64], share: float) -> NDArray[np.int64]:
    """Return how many groups of each class validate, ``(classes,)``."""
    total = max(1, round(share * int(counts.sum())))
    exact = share * counts
    chosen: NDArray[np.int64] = np.minimum(np.floor(exact).astype(np.int64), counts - 1)
    by_remainder = np.argsort(-(exact - chosen), kind="stable")
    for place in by_remainder:
        if chosen.sum() >= total:
            break
        chosen[place] += chosen[place] < counts[place] - 1
    return chosen
