"""Which of many recorded trials a model is shown: a suggestion costs the same at any number."""

from collections.abc import Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from search.asking import RecordedTrial
from search.sampling.coding import Key

MOST_SHOWN = 250
"""Trials that a sampler is shown at once."""
MOST_PENDING = 100
"""Of them running ones, the newest; 1,000 workers must not leave a model without points."""
NUM_BEST = 40
"""Of them the best. TPE takes a tenth of all, at most 25, for the good ones."""

Known = Sequence[tuple[RecordedTrial, Key]]


def shown(known: Known, *, most: int = MOST_SHOWN) -> Known:
    """Return all trials with a point and all running ones, or a choice of ``most`` of them.

    Of more than that: the newest running ones, the best by the rule of `best_first`, and of the
    rest every n-th by number. A function of the trials alone. With it a suggestion by TPE in the
    default space takes 10 ms of a processor at 200 recorded trials, 15 at 1,000 and 30 at 10,000
    (`tests.benchmarks.ask_cost`); without, 45, 170 and more than a second.

    Args:
        known: Trials with their keys, in the order of numbers.
        most: How many at most; at least 1.

    Returns:
        Part of ``known``, in the same order.
    """
    pointed = [i for i, (trial, _) in enumerate(known) if trial.point is not None]
    has_point = set(pointed)
    without = [i for i in range(len(known)) if i not in has_point]
    pending = [i for i in without if known[i][0].is_pending]
    if len(pending) + len(pointed) > most:
        pending = pending[-max(most * MOST_PENDING // MOST_SHOWN, most - len(pointed)) :]
        pointed = _some(known, pointed, most - len(pending))
    return [known[i] for i in sorted(pending + pointed)]


def best_first(points: NDArray[np.float64], most: int) -> list[int]:
    """Return the places of the best points: front by front, on a front the middle first.

    The middle of a front is where the ranks on the single heads have the smallest sum; neither
    fronts nor ranks depend on the unit of a head.

    Args:
        points: Shape ``(points, heads)``, finite; smaller is better.
        most: How many places at most.

    Example:
        >>> best_first(np.array([[3.0, 3.0], [0.0, 9.0], [2.0, 2.0], [9.0, 0.0]]), 4)
        [2, 1, 3, 0]
    """
    ranks = [np.unique(column, return_inverse=True)[1] for column in points.T]
    # What beats another has the smaller sum: the first of those left is beaten by none of them.
    order = np.argsort(np.sum(ranks, axis=0), kind="stable")
    columns = np.ascontiguousarray(points[order].T)
    left = np.arange(len(points))
    best: list[int] = []
    while left.size and len(best) < most:
        beaten = [left[:0]]
        front = columns[:, left]
        while left.size and len(best) < most:
            best.append(int(order[left[0]]))
            first = front[:, :1]
            is_beaten = np.all(first <= front, axis=0) & np.any(first < front, axis=0)
            beaten.append(left[is_beaten])
            left, front = left[1:][~is_beaten[1:]], front[:, 1:][:, ~is_beaten[1:]]
        left = np.sort(np.concatenate(beaten))
    return best


def _some(known: Known, pointed: list[int], most: int) -> list[int]:
    """Return the best of the trials with a point, and a spread over the rest."""
    if len(pointed) <= most:
        return pointed
    # As np.array of tuples, which takes four times as long.
    flat = chain.from_iterable(known[i][0].point or () for i in pointed)
    points = np.fromiter(flat, dtype=np.float64).reshape(len(pointed), -1)
    best = {pointed[row] for row in best_first(points, min(NUM_BEST, most))}
    rest = [i for i in pointed if i not in best]
    spread = np.linspace(0, len(rest) - 1, most - len(best)).round().astype(int)
    return [*best, *(rest[place] for place in spread)]
