"""Which of the points at a rung rank before a new one, on all heads at once."""

from collections.abc import Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from search import pareto
from search.sorting import front_ranks

Array = NDArray[np.float64]

AT_BASELINE = 0.01
"""Log skills within this of 0 are at the baseline: a head that only predicts a constant
is a little better or worse than the best constant by chance."""
SAME_MEAN_DIGITS = 9
"""Decimals to which mean log skills are compared, so that rounding alone decides nothing."""


@final
class Points:
    """The points at a rung, one per trial, as rows of one array that grows by doubling."""

    def __init__(self, num_heads: int) -> None:
        self._rows = np.empty((16, num_heads))
        self._places: dict[int, int] = {}

    @property
    def rows(self) -> Array:
        """Shape ``(points, heads)``, in the order in which they came."""
        return self._rows[: len(self._places)]

    def put(self, number: int, point: tuple[float, ...]) -> None:
        """Record the point of a trial, instead of an earlier one if there is one."""
        place = self._places.setdefault(number, len(self._places))
        if place == len(self._rows):
            self._rows = np.concatenate([self._rows, np.empty_like(self._rows)])
        self._rows[place] = point


def count_better(point: Sequence[float], recorded: Array, baselines: Array) -> int:
    """Count the recorded points that rank before a new one at the same rung.

    Points are compared, in this order:

    1. A point worse than the baseline on any head is after all that are not.
    2. The earlier non-dominated front is first.
    3. Within a front the smaller mean log skill (the geometric mean of skills) is first.
       This is what the default policy chooses by, so the middle of the front survives.
       Hypervolume contributions would not do: of several good points close together in the
       middle each contributes little, and all of them would be cut before an end where one
       head is given up.

    A head that none of these points has brought below its baseline (by 1 %) abstains: there
    its losses are chance. It only separates points that are equal on all others. Where all
    heads would abstain, all are compared.

    Args:
        point: Losses of the new point, shape ``(heads,)``, all finite.
        recorded: Losses, shape ``(points, heads)``; rows that are not finite never rank before.
        baselines: Loss of the best constant prediction, shape ``(heads,)``.
    """
    rows = np.vstack([np.reshape(recorded, (-1, len(baselines))), point])
    losses = rows[np.isfinite(rows).all(axis=1)]
    log_skills = pareto.log_skill(losses, baselines)
    left = np.flatnonzero((log_skills < -AT_BASELINE).any(axis=0))
    every = np.arange(len(baselines))
    better, ties = _before_last(losses, log_skills, left if len(left) else every)
    among_ties, _ = _before_last(losses[ties], log_skills[ties], every)
    return int(better.sum() + among_ties.sum())


def _before_last(
    losses: Array, log_skills: Array, heads: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Tell which rows rank before the last one on these heads, and which equal it."""
    skills = log_skills[:, heads]
    # Sorted, so that the order of heads changes no sum.
    mean = np.round(np.sort(skills, axis=1).sum(axis=1), SAME_MEAN_DIGITS)
    worse = np.asarray((skills > AT_BASELINE).any(axis=1))
    front = front_ranks(losses[:, heads])
    before = np.zeros(len(losses), dtype=np.bool_)
    equal = np.ones(len(losses), dtype=np.bool_)
    keys: tuple[NDArray[Any], ...] = (worse, front, mean)
    for key in keys:
        before |= equal & (key < key[-1])
        equal &= key == key[-1]
    return before, equal
