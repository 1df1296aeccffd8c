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
    """What an epoch is expected to gain of one head's log skill.

    By the level before it and by the config: a trial with much dropout, or a small learning
    rate, starts late and goes on for long, and by its level alone it would be taken for a bad one.
    """

    centre: Array
    """Shape ``(1 + coordinates,)``: the mean of level and place."""
    influence: Array
    """The same shape: of level and place, as differences from the centre."""
    gain: float
    """At the centre."""
    variance: float
    """Of what neither explains."""

    def __call__(self, levels: Array, places: Array) -> Array:
        """Return the expected levels one epoch later, shape ``(trials,)``."""
        features = np.column_stack([levels, places])
        return np.asarray(levels + self.gain + (features - self.centre) @ self.influence)


def at_end(curves: Sequence[Array], places: Array, epochs: int) -> tuple[Array, Array]:
    """Return the log skills that trials will have at their end, and how uncertain they are.

    From each epoch to the next a ridge regression is fitted to all curves that have both, so
    those that were stopped early teach the first steps; the steps are taken one after the
    other. Of a whole curve it is the epoch with the smallest mean, as the default policy chooses.

    Args:
        curves: Of each trial the log skills, shape ``(its epochs, heads)``, at least one row,
            finite.
        places: Of each trial its config in the unit cube, shape ``(trials, coordinates)``.
        epochs: Of a whole training.

    Returns:
        Mean and variance, each of shape ``(trials, heads)``.
    """
    lengths = np.array([min(len(curve), epochs) for curve in curves])
    values = np.array([curve[length - 1] for curve, length in zip(curves, lengths, strict=True)])
    variances = np.zeros_like(values)
    for epoch in range(1, epochs):
        rows = [row for row, length in enumerate(lengths) if length > epoch]
        short = lengths <= epoch
        if not short.any():
            continue
        pairs = np.array([curves[row][epoch - 1 : epoch + 1] for row in rows])
        for head in range(values.shape[1]):
            seen = pairs[:, :, head] if rows else np.empty((0, 2))
            step = fit(seen, places[rows], epoch)
            values[short, head] = step(values[short, head], places[short])
            variances[short, head] *= (1 + step.influence[0]) ** 2
            variances[short, head] += step.variance
    for row in np.flatnonzero(lengths == epochs).tolist():
        values[row] = curves[row][int(np.argmin(curves[row].mean(axis=1)))]
    return values, variances


def fit(pairs: Array, places: Array, epoch: int) -> Step:
    """Fit what follows an epoch, towards what is expected before any was seen.

    Args:
        pairs: One head's log skills after this epoch and the next, shape ``(trials, 2)``.
        places: Shape ``(trials, coordinates)``.
        epoch: From 1.
    """
    num = len(pairs)
    features = np.column_stack([pairs[:, 0], places])
    gains = pairs[:, 1] - pairs[:, 0]
    centre = features.mean(axis=0) if num else np.zeros(features.shape[1])
    gain = (gains.sum() - WEIGHT * DECAY / epoch) / (num + WEIGHT)
    off = features - centre
    square = off.T @ off + RIDGE * np.eye(off.shape[1])
    influence = np.linalg.solve(square, off.T @ (gains - gain))
    rest = gains - gain - off @ influence
    variance = ((rest**2).sum() + WEIGHT * SPREAD**2 / epoch) / (num + WEIGHT)
    return Step(centre=centre, influence=influence, gain=float(gain), variance=float(variance))
