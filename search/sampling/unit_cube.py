"""Configs as points of the unit cube, for samplers that need distances, many at a time."""

import itertools
import math
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from typing import final

import numpy as np
from numpy.typing import NDArray

from search.space.encoding import Key, Number, decode, log_ends, nth_number, number_at, prune
from search.space.parameters import Choice, Parameter
from trainables.spec.parameters import DEPTH

Array = NDArray[np.float64]

MOST_LISTED = 2000
"""Configs of a space up to which all are listed."""
MOST_HELD = 20_000
"""Keys of which the place is held."""
DIGITS = 12
"""Decimals of a coordinate, so that a range in another unit has the same ones."""
MOST_CHANGED = 3
"""Parameters in which a neighbour differs, at most."""

Kinds = tuple[tuple[str, Parameter], ...]
Gates = tuple[tuple[str, int], ...]


@final
class Cube:
    """A space as a cube.

    A config has a *share* of every parameter, 0 to 1: equal parts of that range are equally
    likely to be drawn. And it has a *place*, coordinates between which distances mean something.
    """

    def __init__(self, kinds: Kinds, gates: Gates) -> None:
        self._kinds = dict(kinds)
        self._gates = dict(gates)
        self._axes = [Axis(kind) for _, kind in kinds]
        self._held: dict[Key, Array] = {}
        self.width = sum(axis.width for axis in self._axes)
        """Coordinates of a place."""

    @cached_property
    def every_key(self) -> tuple[Key, ...]:
        """Every key of a small space, once; none of one that is larger or infinite."""
        sizes = [kind.size for kind in self._kinds.values()]
        if None in sizes or math.prod(size or 0 for size in sizes) > MOST_LISTED:
            return ()
        numbers = [
            [nth_number(kind, place) for place in range(kind.size or 0)]
            for kind in self._kinds.values()
        ]
        product = itertools.product(*numbers)
        return tuple(dict.fromkeys(prune(self._kinds, self._gates, key) for key in product))

    @cached_property
    def every_place(self) -> Array:
        """The places of `every_key`; not to be changed."""
        return self.places(self.every_key)

    def key(self, shares: Sequence[float], root: Key | None = None) -> Key:
        """Return the key of a config that has these shares, one per parameter.

        Where they come from a root by `near`, what was not changed is the root's to the last
        digit, lest the root itself be taken for a new config.
        """
        pairs = list(zip(self._axes, map(float, shares), strict=True))
        numbers = [axis.number(share) for axis, share in pairs]
        for place, number in enumerate(root or ()):
            axis, share = pairs[place]
            if number is not None and axis.share(number) == share:
                numbers[place] = number
        return prune(self._kinds, self._gates, tuple(numbers))

    def places(self, keys: Sequence[Key]) -> Array:
        """Return where configs lie.

        An ordered parameter is one coordinate, a logarithmic one by its logarithm; a choice
        between k > 2 names is k coordinates of which one is 1. What does not count in a config
        lies in the middle, and is none of k > 2 names.
        """
        if len(self._held) > MOST_HELD:
            self._held = {}
        new = [key for key in keys if key not in self._held]
        if new:
            columns = [
                axis.places_of_numbers([key[index] for key in new])
                for index, axis in enumerate(self._axes)
            ]
            self._held.update(zip(new, np.round(np.hstack(columns), DIGITS), strict=True))
        return np.array([self._held[key] for key in keys]).reshape(len(keys), self.width)

    def at(self, shares: Array) -> Array:
        """Return where configs lie that have these shares, shape ``(configs, parameters)``."""
        columns = [axis.places(column) for axis, column in zip(self._axes, shares.T, strict=True)]
        if self._gates:
            names = list(self._kinds)
            kind, drawn = self._kinds[DEPTH], shares[:, names.index(DEPTH)].tolist()
            depth = np.array([decode(kind, number_at(kind, share)) for share in drawn])
            for name, block in self._gates.items():
                if name in self._kinds:
                    column = names.index(name)
                    columns[column][depth < block] = self._axes[column].idle
        return np.asarray(np.round(np.hstack(columns), DIGITS))

    def near(
        self, keys: Sequence[Key], count: int, spread: float, rng: np.random.Generator
    ) -> Array:
        """Return shares of configs that differ from some, in turn, in one to three parameters.

        ``spread``: standard deviation of a change, as a share; larger on a coarse grid.
        """
        fresh = rng.random((count, len(self._axes)))
        start = np.array([[a.share(n) for a, n in zip(self._axes, k, strict=True)] for k in keys])
        start = start[np.arange(count) % len(keys)]
        steps = rng.standard_normal(fresh.shape) * [max(spread, a.step) for a in self._axes]
        moved = np.clip(start + steps, 0.0, [axis.last for axis in self._axes])
        is_name = np.array([axis.width > 1 for axis in self._axes])
        moved = np.where(is_name | np.isnan(start), fresh, moved)
        order = rng.random(fresh.shape).argsort(axis=1).argsort(axis=1)
        is_kept = order >= rng.integers(1, MOST_CHANGED + 1, size=(count, 1))
        return np.where(is_kept & ~np.isnan(start), start, moved)


@lru_cache(maxsize=4)
def _cube(kinds: Kinds, gates: Gates) -> Cube:
    return Cube(kinds, gates)


def cube_of(kinds: Mapping[str, Parameter], gates: Mapping[str, int]) -> Cube:
    """Return the cube of a space; the same one when asked again."""
    return _cube(tuple(kinds.items()), tuple(gates.items()))


LIKELY = 0.6
"""Standard deviation of a change, in steps of the grid, at which two in five lead to another
value, and one in five from an end of the range."""
MIDDLE = 0.5
"""Where a parameter lies that does not count in a config."""


@final
class Axis:
    """How a parameter's numbers, shares and coordinates belong together."""

    def __init__(self, kind: Parameter) -> None:
        self._kind = kind
        is_name = isinstance(kind, Choice) and not kind.is_ordered
        self._num = kind.size or 0
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
