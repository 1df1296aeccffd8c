"""How much of the space between baseline and floor some points cover."""

import numpy as np

from search.results.pareto import SKILL_FLOOR, Array, front_mask


def hypervolume(log_skills: Array) -> float:
    """Return the share of the space between baseline and floor that the points cover, 0 to 1.

    In log skill, with the reference point at the baseline (0) of every head and the ideal at
    ``log(SKILL_FLOOR)`` (Zitzler and Thiele 1999, doi:10.1109/4235.797969). It grows with every
    point that is better than the baselines on all heads and that no other point beats.

    Args:
        log_skills: Shape ``(points, heads)``, as `log_skill` returns; any number of heads >= 1.
            Points that are not finite, or not below 0 on every head, cover nothing.

    Example:
        >>> half = np.log(SKILL_FLOOR) / 2
        >>> round(hypervolume(np.array([[half, half]])), 6)
        0.25
    """
    return _covered(_corners(_shares(log_skills)))


def _shares(log_skills: Array) -> Array:
    """Return how much of the way from baseline to floor each point has gone, 0 to 1 by head.

    A point that is not finite has gone nowhere, as has one not below the baseline everywhere.
    """
    points = np.asarray(log_skills, dtype=np.float64)
    counts = (np.isfinite(points) & (points < 0)).all(axis=1, keepdims=True)
    return np.where(counts, np.clip(points / np.log(SKILL_FLOOR), 0.0, 1.0), 0.0)


def _covered(boxes: Array) -> float:
    """Return the volume of the union of boxes from the origin to each corner.

    By slices along the last axis, down to a sweep in two: exact, for a front of any number of
    heads; ``n log n`` steps for two heads, ``n**(heads - 1)`` for more.
    """
    if not len(boxes):
        return 0.0
    boxes = boxes[np.argsort(-boxes[:, -1], kind="stable")]
    if boxes.shape[1] == 1:
        return float(boxes[0, 0])
    thickness = -np.diff(boxes[:, -1], append=0.0)
    if boxes.shape[1] == 2:
        return float(thickness @ np.maximum.accumulate(boxes[:, 0]))
    return sum(
        float(thickness[last]) * _covered(_corners(boxes[: last + 1, :-1]))
        for last in np.flatnonzero(thickness)
    )


def _corners(boxes: Array) -> Array:
    """Return the boxes that lie in no other."""
    boxes = np.unique(boxes, axis=0)
    return boxes[front_mask(-boxes)]
