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
    rows, places = np.unique(losses, axis=0, return_inverse=True)
    if rows.shape[1] == 1:
        ranks = np.arange(len(rows))
    elif rows.shape[1] == 2:
        ranks = _two_heads(rows[:, 1].tolist())
    else:
        ranks = _more_heads(rows)
    return ranks[places.reshape(-1)]


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
