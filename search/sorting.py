"""Non-dominated sorting, fast enough to be done at every decision of a scheduler."""

from bisect import bisect_right

import numpy as np
from numpy.typing import NDArray


def front_ranks(losses: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the rank of each point: 0 on the front, 1 on the front of the others, ...

    The rank is the length of the longest chain of points that each beat the next, so one
    pass in lexicographic order finds it. For one or two heads that takes ``n log n`` steps
    (10,000 points: about 20 ms), for more ``n**2`` (1,000 points: about 10 ms).

    Args:
        losses: Shape ``(points, heads)``, all finite; smaller is better.

    Returns:
        Shape ``(points,)``; equal points have equal ranks.

    Example:
        >>> front_ranks(np.array([[1.0, 2.0], [2.0, 1.0], [2.0, 2.0], [2.0, 2.0]]))
        array([0, 0, 1, 1])
    """
    if not len(losses):
        return np.zeros(0, dtype=np.int64)
    # As np.unique of rows, which takes three times as long.
    order = np.lexsort(losses.T[::-1])
    ordered = losses[order]
    is_new = np.append(True, (ordered[1:] != ordered[:-1]).any(axis=1))
    rows = ordered[is_new]
    if rows.shape[1] == 1:
        ranks = np.arange(len(rows))
    elif rows.shape[1] == 2:
        ranks = _two_heads(rows[:, 1].tolist())
    else:
        ranks = _more_heads(rows)
    found = np.empty(len(losses), dtype=np.int64)
    found[order] = ranks[np.cumsum(is_new) - 1]
    return found


def _two_heads(seconds: list[float]) -> NDArray[np.int64]:
    """Rank points by their second losses, given in the order of their first."""
    smallest: list[float] = []  # of each front so far; ascending
    ranks = []
    for second in seconds:
        rank = bisect_right(smallest, second)
        smallest[rank : rank + 1] = [second]
        ranks.append(rank)
    return np.array(ranks, dtype=np.int64)


def _more_heads(rows: NDArray[np.float64]) -> NDArray[np.int64]:
    ranks = np.zeros(len(rows), dtype=np.int64)
    for row in range(1, len(rows)):
        beaten_by = (rows[:row] <= rows[row]).all(axis=1)
        ranks[row] = ranks[:row][beaten_by].max(initial=-1) + 1
    return ranks
