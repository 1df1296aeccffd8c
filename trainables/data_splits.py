"""Which row trains, validates and tests: the ``split`` column, or a seeded stratified rule."""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trainables.data_problems import Problems, shown
from trainables.data_values import SPLIT_COLUMN, SPLITS

SplitIds = NDArray[np.int8]
"""Shape ``(rows,)``: the place of each row's split in ``SPLITS``."""


def read_splits(column: Any, problems: Problems) -> SplitIds | None:
    """Return the split of each row from a ``split`` column; None after a problem."""
    kind = column.type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        problems.add(f"column {SPLIT_COLUMN!r} needs text, got type {kind}")
        return None
    words = column.cast(kind).to_pylist()
    ids = np.array([_SPLIT_IDS.get(word, -1) for word in words], dtype=np.int8)
    wrong = np.flatnonzero(ids < 0)
    rule = f"column {SPLIT_COLUMN!r} needs 'train', 'validation' or 'test'"
    problems.add_rows(rule, wrong, lambda row: shown(words[row]))
    return None if len(wrong) else ids


def draw_splits(
    strata: NDArray[np.int64], *, share: float, seed: int, problems: Problems
) -> SplitIds | None:
    """Draw validation rows so that every class keeps its share; None after a problem.

    Rows are ranked within their class by a Philox number of (seed, row), the first ones
    validate. In all ``round(share * rows)`` rows validate, at least 1; what rounding leaves
    goes to the classes with the largest remainder. A class keeps at least one training row, so
    one with a single row only trains.

    Args:
        strata: Class of each row, ``(rows,)``; one value for all where there are no classes.
        share: Of the rows, in (0, 1).
        seed: At least 0.
        problems: Told if no row is left to validate.

    Returns:
        Shape ``(rows,)``, 0 (train) and 1 (validation); the same for the same arguments.
    """
    _, classes, counts = np.unique(strata, return_inverse=True, return_counts=True)
    if not (counts > 1).any():
        problems.add(
            "a validation split needs a class with at least 2 rows, "
            f"got {len(strata)} row(s) in {len(counts)} class(es)"
        )
        return None
    chosen = _validation_counts(counts, share)
    keys = np.random.Philox(key=seed).random_raw(len(strata))
    order = np.lexsort((keys, classes))
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    rank = np.empty(len(strata), dtype=np.int64)
    rank[order] = np.arange(len(strata)) - starts[classes[order]]
    return (rank < chosen[classes]).astype(np.int8)


def _validation_counts(counts: NDArray[np.int64], share: float) -> NDArray[np.int64]:
    """Return how many rows of each class validate, ``(classes,)``."""
    total = max(1, round(share * int(counts.sum())))
    exact = share * counts
    chosen: NDArray[np.int64] = np.minimum(np.floor(exact).astype(np.int64), counts - 1)
    by_remainder = np.argsort(-(exact - chosen), kind="stable")
    for place in by_remainder:
        if chosen.sum() >= total:
            break
        chosen[place] += chosen[place] < counts[place] - 1
    return chosen


_SPLIT_IDS = {name: place for place, name in enumerate(SPLITS)}
