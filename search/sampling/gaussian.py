"""Gaussian processes over configs in the unit cube, small enough to be fitted at every ask.

Plain NumPy: the fits are of at most a few hundred points, and importing a library for them
(torch) would take longer than a whole study's suggestions.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

FIT_POINTS = 60
"""Points that the kernel's parameters are fitted to; the predictions use all."""
FIT_STEPS = 12
SHORTEST, LONGEST = -4.0, 4.5
"""Logarithms of the bounds of a length scale; the longest makes a parameter irrelevant."""
LENGTH_SPREAD = 1.0
NOISE_MEDIAN, NOISE_SPREAD = 0.03, 1.5
"""Prior of the noise variance, as a share of the variance of what is observed."""
TREND = 1.0
"""Variance of what each parameter does by itself, a parabola of it, to the sum over all. A few
points tell such a trend long before they tell what a process of many parameters may do."""
_ROOT5 = math.sqrt(5.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Observations:
    """What is known of one quantity at some configs."""

    places: Array
    """Shape ``(points, parameters)``, in the unit cube."""
    values: Array
    """Shape ``(points,)``, standardised: about mean 0 and variance 1."""
    variances: Array
    """Shape ``(points,)``: what is uncertain of each value, beyond the noise they share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """A parabola of each parameter, a Matern-5/2 kernel of variance 1 on all, and noise."""

    lengths: Array
    """Shape ``(parameters,)``."""
    noise: float
    """Variance."""
    trend: float = TREND
    """Variance of the sum of the parabolas, about, over the cube."""

    def between(self, rows: Array, columns: Array) -> Array:
        """Return the covariances, shape ``(rows, columns)``."""
        left, right = rows / self.lengths, columns / self.lengths
        squares = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1) - 2 * left @ right.T
        return _matern(np.maximum(squares, 0.0)) + self._trend(rows) @ self._trend(columns).T

    def at(self, places: Array) -> Array:
        """Return the variances, shape ``(places,)``."""
        return np.asarray(1.0 + (self._trend(places) ** 2).sum(axis=1))

    def _trend(self, places: Array) -> Array:
        return _parabolas(places) * math.sqrt(self.trend)


class Process:
    """A Gaussian process given observations."""

    def __init__(self, kernel: Kernel, seen: Observations) -> None:
        self._kernel = kernel
        self._places = seen.places
        covariance = kernel.between(seen.places, seen.places)
        covariance[np.diag_indices_from(covariance)] += kernel.noise + seen.variances
        self._inverse = np.linalg.inv(covariance)
        self._weights = self._inverse @ seen.values

    def mean(self, places: Array) -> Array:
        """Return the expected values at some configs, shape ``(places,)``."""
        return np.asarray(self._kernel.between(places, self._places) @ self._weights)

    def predict(self, places: Array) -> tuple[Array, Array]:
        """Return mean and variance, without noise, each of shape ``(places,)``."""
        across = self._kernel.between(places, self._places)
        explained = np.einsum("ij,ij->i", across @ self._inverse, across)
        return across @ self._weights, np.maximum(self._kernel.at(places) - explained, 1e-6)


def fit(seen: Observations, rng: np.random.Generator) -> Kernel:
    """Return the most probable kernel: maximum a posteriori, by Rprop on its logarithms.

    The marginal likelihood and its gradient as in Rasmussen and Williams 2006, chapter 5;
    the prior's median length grows with the root of the number of parameters, as Hvarfner et
    al. 2024 (arXiv:2402.02229) found right; Rprop (Riedmiller and Braun 1993) needs no scale.

    Of more than ``FIT_POINTS`` points ``rng`` picks those that are fitted to.
    """
    places, values, variances = seen.places, seen.values, seen.variances
    if len(values) > FIT_POINTS:
        rows = np.sort(rng.permutation(len(values))[:FIT_POINTS])
        places, values, variances = places[rows], values[rows], variances[rows]
    num = places.shape[1]
    squares = ((places.T[:, :, None] - places.T[:, None, :]) ** 2).reshape(num, -1)
    median = np.append(np.full(num, 0.5 * math.log(num) / 2 + 0.2), math.log(NOISE_MEDIAN))
    spread = np.append(np.full(num, LENGTH_SPREAD), NOISE_SPREAD)
    known = TREND * _parabolas(places) @ _parabolas(places).T + np.diag(variances)
    best, least = median, math.inf
    at, steps, last = median.copy(), np.full(num + 1, 0.3), np.zeros(num + 1)
    for _ in range(FIT_STEPS):
        height, slope = _likelihood(at, squares, values, known)
        height += 0.5 * float((((at - median) / spread) ** 2).sum())
        slope += (at - median) / spread**2
        if height < least:
            best, least = at.copy(), height
        turned = slope * last
        steps = np.where(turned > 0, np.minimum(steps * 1.3, 0.7), steps)
        steps = np.where(turned < 0, steps * 0.5, steps)
        at, last = np.clip(at - np.sign(slope) * steps, SHORTEST, LONGEST), slope
    return Kernel(lengths=np.exp(best[:num]), noise=math.exp(best[num]))


def _likelihood(at: Array, squares: Array, values: Array, known: Array) -> tuple[float, Array]:
    """Return the negative log marginal likelihood and its gradient.

    ``at``: logarithms of length scales and noise; ``squares``, ``(parameters, points * points)``:
    squared distances along each; ``known``: the covariances that do not depend on ``at``.
    """
    num = len(squares)
    shrunk, noise = np.exp(-2 * at[:num]), math.exp(at[num])
    distances = (shrunk @ squares).reshape(known.shape)
    root = np.sqrt(distances)
    covariance = _matern(distances) + known
    covariance[np.diag_indices_from(covariance)] += noise
    inverse = np.linalg.inv(covariance)
    weights = inverse @ values
    _, log_determinant = np.linalg.slogdet(covariance)
    outer = inverse - np.outer(weights, weights)
    by_distance = outer * (5 / 3 * (1 + _ROOT5 * root) * np.exp(-_ROOT5 * root))
    slope = np.empty(num + 1)
    slope[:num] = 0.5 * (squares @ by_distance.ravel()) * shrunk
    slope[num] = 0.5 * float(np.trace(outer)) * noise
    return 0.5 * float(values @ weights + log_determinant), slope


def _matern(squares: Array) -> Array:
    """Return the Matern-5/2 correlation at some squared distances."""
    root = _ROOT5 * np.sqrt(squares)
    return np.asarray((1 + root + 5 / 3 * squares) * np.exp(-root))


def _parabolas(places: Array) -> Array:
    """Return Legendre's first two functions of each coordinate: products are covariances."""
    centred = 2 * places - 1
    features = np.column_stack([centred, 1.5 * centred**2 - 0.5])
    return np.asarray(features / math.sqrt(places.shape[1]))


DECAY = 0.4
"""Log skill that an epoch is expected to gain before any was seen, divided by its number."""
SPREAD = 0.3
"""Standard deviation of that gain, divided by the root of the number."""
WEIGHT = 2.0
"""Trials that these expectations count for."""
RIDGE = 2.0
"""Sum of squares that stands against any influence of level and config on the gain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveStep:
    """What an epoch is expected to gain of one head's log skill, by level and config.

    With much dropout or a small learning rate a trial starts late and goes on for long.
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

    From each epoch to the next by a ridge regression on all curves that have both. Of a whole
    curve it is the epoch with the smallest mean, as the default policy chooses.
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
            step = _fit_step(seen, places[rows], epoch)
            values[short, head] = step(values[short, head], places[short])
            variances[short, head] *= (1 + step.influence[0]) ** 2
            variances[short, head] += step.variance
    for row in np.flatnonzero(lengths == epochs).tolist():
        values[row] = curves[row][int(np.argmin(curves[row].mean(axis=1)))]
    return values, variances


def _fit_step(pairs: Array, places: Array, epoch: int) -> CurveStep:
    """Fit one head's log skills after an epoch and the next, ``(trials, 2)``, towards a prior."""
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
    return CurveStep(
        centre=centre, influence=influence, gain=float(gain), variance=float(variance)
    )
