"""One parameter as an axis of a cube: shares, numbers and coordinates, whole columns at a time."""

import math
from collections.abc import Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray

from search.kinds import Choice, Parameter
from search.sampling.coding import Number, decode, is_ordered, log_ends, num_values, number_at

Array = NDArray[np.float64]

LIKELY = 0.6
"""Standard deviation of a change, in steps of the grid, at which two in five lead to another
value, and one in five from an end of the range."""
MIDDLE = 0.5
"""Where a parameter lies that does not count in a config."""


@final
class Axis:
    """How a parameter's numbers, shares and coordinates belong together.

    Args:
        kind: What the parameter may be.
    """

    def __init__(self, kind: Parameter) -> None:
        self._kind = kind
        is_name = isinstance(kind, Choice) and not is_ordered(kind)
        self._num = num_values(kind) or 0
        self.width = self._num if is_name and self._num > 2 else 1
        """Coordinates: one, or one for each of more than two names."""
        self.step = LIKELY / self._num if self._num else 0.0
        """Standard deviation of a change of the share that often leads to another value."""
        self.last = 1 - 2**-53 if self._num else 1.0
        """The share up to which a change may lead: of real numbers the upper bound itself."""
        self.idle = MIDDLE if self.width == 1 else 0.0
        """Every coordinate where the parameter does not count: the middle, or no name at all."""

    def number(self, share: float) -> Number:
        """Return the number at a share in [0, 1)."""
        return number_at(self._kind, share)

    def share(self, number: Number | None) -> float:
        """Return the middle of the shares that lead to a number; NaN for None."""
        kind = self._kind
        if number is None:
            return math.nan
        if isinstance(kind, Choice):
            return (number + 0.5) / self._num
        if kind.log:
            low, high = log_ends(kind)
            return (math.log(number) - low) / (high - low) if high > low else 0.5
        if self._num:
            return (round((number - kind.low) / (kind.step or 1)) + 0.5) / self._num
        return (number - kind.low) / (kind.high - kind.low) if kind.high > kind.low else 0.5

    def values(self, shares: Array) -> Array:
        """Return the values of an axis of numbers at some shares."""
        return np.array([decode(self._kind, self.number(share)) for share in shares.tolist()])

    def places(self, shares: Array) -> Array:
        """Return the coordinates at some shares, shape ``(shares, width)``."""
        kind = self._kind
        if isinstance(kind, Choice):
            return self._spread(np.floor(shares * self._num))
        if kind.log:
            low, high = log_ends(kind)
            numbers = np.exp(low + shares * (high - low))
        elif self._num:
            numbers = kind.low + np.floor(shares * self._num) * (kind.step or 1)
        else:
            numbers = kind.low + shares * (kind.high - kind.low)
        if kind.log and self._num:
            step = kind.step or 1
            snapped = np.clip(np.round((numbers - kind.low) / step), 0, self._num - 1)
            numbers = kind.low + snapped * step
        return self._scaled(numbers)

    def places_of_numbers(self, numbers: Sequence[Number | None]) -> Array:
        """Return the coordinates of some numbers, `idle` for None."""
        is_idle = np.array([number is None for number in numbers])
        known = np.array([math.nan if number is None else number for number in numbers])
        is_name = isinstance(self._kind, Choice)
        found = self._spread(known) if is_name else self._scaled(known)
        return np.where(is_idle[:, None], self.idle, found)

    def _spread(self, numbers: Array) -> Array:
        if self.width > 1:
            return np.asarray((numbers[:, None] == np.arange(self.width)).astype(float))
        return numbers[:, None] / max(self._num - 1, 1)

    def _scaled(self, numbers: Array) -> Array:
        """Return how far between its bounds each number lies."""
        kind = self._kind
        assert not isinstance(kind, Choice)
        low, high = float(kind.low), float(kind.high)
        if kind.log:
            low, high, numbers = math.log(low), math.log(high), np.log(numbers)
        # Two bounds next to each other may have one logarithm.
        if high <= low:
            return np.full((len(numbers), 1), MIDDLE)
        return np.clip((numbers[:, None] - low) / (high - low), 0.0, 1.0)
