"""How much of a table's front a run has found: shares of hypervolume, epoch by epoch."""

from bisect import bisect_left
from functools import cached_property
from itertools import pairwise

import numpy as np

from search.errors import InputError
from search.results.pareto import SKILL_FLOOR, front_mask
from tests.benchmarks.table import Table
from tests.support.hypervolume import hypervolume

REFERENCE = 75
"""Percentile of the final losses that counts for nothing."""
SAME = 1e-12
"""How near to 1 a share is 1: sums of the same boxes in another order differ by rounding."""


class Scale:
    """The points of a table on the scale by which runs are scored.

    Each seed-averaged loss stands on a log scale: 1 at the smallest of the table (over all epochs,
    above zero), 0 at the 75th percentile of the final ones and beyond. A point that is not finite,
    or at 0 on any head, counts for nothing.

    Raises:
        InputError: If a head's losses do not differ, or no point counts.
    """

    def __init__(self, table: Table) -> None:
        losses = table.averaged
        self.ideal = _of_finite(np.where(losses > 0, losses, np.nan), np.nanmin)
        self.reference = _of_finite(losses[:, -1:], lambda last: np.nanpercentile(last, REFERENCE))
        for head, low, high in zip(table.heads, self.ideal, self.reference, strict=True):
            if not 0 < low < high:
                rule = f"final losses of {head!r} of which a quarter lies above the smallest"
                raise InputError(f"a benchmark needs {rule}, got {low} and {high}")
        with np.errstate(divide="ignore", invalid="ignore"):
            way = np.log(self.reference / losses) / np.log(self.reference / self.ideal)
        counts = (np.isfinite(losses) & (way > 0)).all(axis=-1, keepdims=True)
        self.points = np.where(counts, np.minimum(way, 1.0), 0.0)
        """Shape ``(configs, epochs, heads)``, each 0 to 1; larger is better."""
        if not self.whole > 0:
            raise InputError(
                "a benchmark needs a point better than the reference on all heads, got none"
            )

    @cached_property
    def whole(self) -> float:
        """Hypervolume of all points of the table."""
        flat = self.points.reshape(-1, self.points.shape[-1])
        return exact_volume(flat[front_mask(-flat)])


def _of_finite(losses: np.ndarray, statistic: object) -> np.ndarray:
    """Return a statistic of each head's finite losses."""
    heads = losses.shape[-1]
    rows = losses.reshape(-1, heads)
    finite = [rows[np.isfinite(rows[:, head]), head] for head in range(heads)]
    return np.array([statistic(column) if column.size else 0.0 for column in finite])  # type: ignore[operator]


class Covered:
    """The share of a table's hypervolume that some of its points cover; they only get more."""

    def __init__(self, scale: Scale) -> None:
        self._scale = scale
        heads = scale.points.shape[-1]
        self._front = _Staircase() if heads == 2 else _AnyFront()
        self.share = 0.0
        """0 to 1, never shrinking."""

    def add(self, config: int, epoch: int) -> float:
        """Count a point that was trained, and return the share.

        Args:
            config: Its place in the table.
            epoch: From 1.
        """
        volume = self._front.add(self._scale.points[config, epoch - 1])
        share = volume / self._scale.whole
        self.share = 1.0 if share > 1 - SAME else max(share, self.share)
        return self.share


class _Staircase:
    """The area under points in the unit square, one more in ``log n`` steps and what it hides."""

    def __init__(self) -> None:
        # From left to right, so the heights fall; sentinels at both ends.
        self._xs = [0.0, np.inf]
        self._ys = [np.inf, 0.0]
        self._area = 0.0

    def add(self, point: np.ndarray) -> float:
        """Return the area with this point."""
        x, y = float(point[0]), float(point[1])
        right = bisect_left(self._xs, x)
        if x <= 0 or y <= self._ys[right]:
            return self._area
        left = right
        # What is no farther right and no higher is hidden; each strip between grows to the height.
        while self._ys[left - 1] <= y:
            left -= 1
        last = right + 1 if self._xs[right] == x else right
        edges = [self._xs[left - 1], *self._xs[left:right], x]
        heights = self._ys[left : right + 1]
        widths = (end - start for start, end in pairwise(edges))
        self._area += sum(
            width * (y - height) for width, height in zip(widths, heights, strict=True)
        )
        self._xs[left:last] = [x]
        self._ys[left:last] = [y]
        return self._area


class _AnyFront:
    """The volume under points of any number of heads, by the project's exact code."""

    def __init__(self) -> None:
        self._front: np.ndarray | None = None
        self._volume = 0.0

    def add(self, point: np.ndarray) -> float:
        """Return the volume with this point."""
        if not (point > 0).all():
            return self._volume
        if self._front is None:
            self._front = np.empty((0, len(point)))
        if (self._front >= point).all(axis=1).any():
            return self._volume
        left = self._front[~(self._front <= point).all(axis=1)]
        self._front = np.vstack([left, point])
        self._volume = exact_volume(self._front)
        return self._volume


def exact_volume(points: np.ndarray) -> float:
    """Return the volume between the origin and points in the unit cube.

    Args:
        points: Shape ``(points, heads)``, 0 to 1; larger is better.
    """
    return hypervolume(points * np.log(SKILL_FLOOR)) if len(points) else 0.0
