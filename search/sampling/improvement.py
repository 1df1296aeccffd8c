"""By how much a config is expected to enlarge the volume that the front covers."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

DIRECTIONS = 32
"""Rays along which the volume is measured."""
SAMPLES = 24
"""Draws from what is believed of a config, half of them mirrored."""
TOGETHER = 32
"""Candidates at once: what they need then stays in the cache, at a third of the time."""
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
    rays = 1 / (directions * (reference - best))
    there = _reach(reference - front, rays).max(axis=0, initial=0.0)
    room, width = reference - mean, np.sqrt(variance)
    volumes = np.empty((len(mean), len(draws)))
    for start in range(0, len(mean), TOGETHER):
        part = slice(start, start + TOGETHER)
        drawn = room[part, None, :] - width[part, None, :] * draws
        volumes[part] = _volume(drawn, rays, there)
    return np.asarray((volumes - (there**num_heads).mean()) @ odds / len(odds))


def _volume(points: Array, rays: Array, there: Array) -> Array:
    """Return the volume that each point covers together with what is covered already.

    Args:
        points: Shape ``(..., heads)``: by how much each is better than the reference.
        rays: See `_reach`.
        there: Shape ``(directions,)``: what is reached already along each direction.

    Returns:
        Shape ``(...,)``.
    """
    reached = np.maximum(_reach(points, rays), there)
    return np.asarray((reached ** rays.shape[1]).mean(axis=-1))


def _reach(points: Array, rays: Array) -> Array:
    """Return how far points reach along each direction.

    Args:
        points: Shape ``(..., heads)``; what is not above 0 everywhere reaches nowhere.
        rays: Shape ``(directions, heads)``: what a unit of each head is worth along each.

    Returns:
        Shape ``(..., directions)``.
    """
    least = points[..., 0, None] * rays[:, 0]
    for head in range(1, len(rays[0])):
        np.minimum(least, points[..., head, None] * rays[:, head], out=least)
    return np.asarray(np.maximum(least, 0.0, out=least))
