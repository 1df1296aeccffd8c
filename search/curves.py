"""Where learning curves will end, judged by how the other trials' curves went on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

DECAY = 0.4
"""Log skill that an epoch is expected to gain before any was seen, divided by its number."""
SPREAD = 0.3
"""Standard deviation of that gain, divided by the root of the number."""
WEIGHT = 2.0
"""Trials that these expectations count for."""
RIDGE = 2.0
"""Sum of squares that stands against any influence of level and config on the gain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What an epoch is expected to gain, by the level before it and by the config.

    A trial with much dropout, or a small learning rate, starts late and goes on for long: by its
    level alone it would be taken for a bad one.
    """

    centre: Array
    """Shape ``(heads, 1 + coordinates)``: the mean of level and place."""
    influence: Array
    """The same shape: of level and place, as differences from the centre."""
    gain: Array
    """Shape ``(heads,)``: at the centre."""
    variance: Array
    """Shape ``(heads,)``: of what neither explains."""


def steps(curves: Sequence[Array], places: Array, epochs: int, num_heads: int) -> tuple[Step, ...]:
    """Fit what happens from each epoch to the next, by ridge regression.

    All curves that have both epochs teach a step, so those that were stopped early teach the
    first ones.

    Args:
        curves: Of each trial the log skills, shape ``(its epochs, heads)``, finite.
        places: Of each trial its config in the unit cube, shape ``(trials, coordinates)``.
        epochs: Of a whole training.
        num_heads: Length of each row.

    Returns:
        The step that follows each epoch but the last.
    """
    found = []
    for epoch in range(1, epochs):
        rows = [row for row, curve in enumerate(curves) if len(curve) > epoch]
        pairs = np.array([curves[row][epoch - 1 : epoch + 1] for row in rows])
        found.append(_fit(pairs.reshape(-1, 2, num_heads), places[rows], epoch))
    return tuple(found)


def at_end(curve: Array, place: Array, known: Sequence[Step]) -> tuple[Array, Array]:
    """Return the log skills that a trial will have at its end, and how uncertain they are.

    Of a whole curve that is the epoch with the smallest mean, as the default policy chooses.

    Args:
        curve: Shape ``(its epochs, heads)``, at least one row, finite.
        place: Shape ``(coordinates,)``.
        known: The step after each epoch.

    Returns:
        Mean and variance, each of shape ``(heads,)``.
    """
    num_heads = curve.shape[1]
    if len(curve) > len(known):
        return curve[int(np.argmin(curve.mean(axis=1)))], np.zeros(num_heads)
    value, variance = curve[-1], np.zeros(num_heads)
    for step in known[len(curve) - 1 :]:
        features = np.column_stack([value, np.tile(place, (num_heads, 1))])
        value = value + step.gain + ((features - step.centre) * step.influence).sum(axis=1)
        variance = variance * (1 + step.influence[:, 0]) ** 2 + step.variance
    return value, variance


def _fit(pairs: Array, places: Array, epoch: int) -> Step:
    """Fit one step of every head, towards what is expected before any was seen."""
    num, _, num_heads = pairs.shape
    centres, influences, means, variances = [], [], [], []
    for head in range(num_heads):
        features = np.column_stack([pairs[:, 0, head], places])
        gains = pairs[:, 1, head] - pairs[:, 0, head]
        centre = features.mean(axis=0) if num else np.zeros(features.shape[1])
        mean = (gains.sum() - WEIGHT * DECAY / epoch) / (num + WEIGHT)
        off = features - centre
        square = off.T @ off + RIDGE * np.eye(off.shape[1])
        influence = np.linalg.solve(square, off.T @ (gains - mean))
        rest = gains - mean - off @ influence
        variance = ((rest**2).sum() + WEIGHT * SPREAD**2 / epoch) / (num + WEIGHT)
        centres.append(centre)
        influences.append(influence)
        means.append(mean)
        variances.append(variance)
    return Step(
        centre=np.array(centres),
        influence=np.array(influences),
        gain=np.array(means),
        variance=np.array(variances),
    )
