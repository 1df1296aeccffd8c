"""By how much a config is expected to enlarge the volume that the front covers."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

DIRECTIONS = 32
"""Rays along which the volume is measured."""
SAMPLES = 24
"""Draws from what is believed of a config, half of them mirrored."""
STRETCH = 1.8
"""How much farther than what is believed the draws go; each counts for less the less it is
believed. Late in a study only what is unlikely improves, and 24 plain draws would see nothing."""


def expected_improvement(
    mean: Array, variance: Array, front: Array, reference: Array, rng: np.random.Generator
) -> Array:
    """Return the expected hypervolume improvement of each candidate, up to one constant.

    The volume between points and a reference is the mean, over random directions, of a power of
    how far the points reach along each (Golovin and Zhang 2020, arXiv:2006.04655): any number
    of heads costs the same. The expectation is over draws that all candidates share.

    Args:
        mean: Shape ``(candidates, heads)``: expected losses, smaller is better.
        variance: The same shape: how uncertain they are.
        front: Shape ``(points, heads)``: what there is already; may be empty.
        reference: Shape ``(heads,)``: only what is better on every head counts.
        rng: Draws directions and samples.

    Returns:
        Shape ``(candidates,)``, each >= 0.
    """
    num_heads = len(reference)
    best = np.minimum(np.vstack([front, mean]).min(axis=0), reference - 1e-6)
    directions = np.abs(rng.standard_normal((DIRECTIONS, num_heads)))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    half = rng.standard_normal((SAMPLES // 2, num_heads))
    draws = np.vstack([half, -half]) * STRETCH
    odds = STRETCH**num_heads * np.exp(((draws / STRETCH) ** 2 - draws**2).sum(axis=1) / 2)
    scale = reference - best
    there = _reach((reference - front) / scale, directions).max(axis=0, initial=0.0)
    drawn = mean[:, None, :] + np.sqrt(variance)[:, None, :] * draws
    reached = _reach((reference - drawn) / scale, directions)
    gained = np.maximum(reached - there, 0.0).mean(axis=2)
    return np.asarray(gained @ odds / len(odds))


def _reach(points: Array, directions: Array) -> Array:
    """Return how far points reach along each direction, to the power of the number of heads.

    Args:
        points: Shape ``(..., heads)``; what is not above 0 everywhere reaches nowhere.
        directions: Shape ``(directions, heads)``.

    Returns:
        Shape ``(..., directions)``.
    """
    least = np.full((*points.shape[:-1], len(directions)), np.inf)
    for head, along in enumerate(directions.T):
        np.minimum(least, points[..., head, None] / along, out=least)
    np.maximum(least, 0.0, out=least)
    return np.asarray(least ** len(directions[0]))
