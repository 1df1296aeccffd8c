"""Configs as points of the unit cube, for samplers that need distances."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from search.coding import Key, Number, any_number, clamp, grid_value, is_ordered, num_steps, prune
from search.kinds import Choice, Float, Parameter

Array = NDArray[np.float64]

MOST_LISTED = 2000
"""Configs of a space up to which all are listed."""
DIGITS = 12
"""Decimals of a coordinate, so that a range in another unit has the same ones."""

Kinds = tuple[tuple[str, Parameter], ...]
Gates = tuple[tuple[str, int], ...]


def places_of(kinds: Mapping[str, Parameter], keys: Sequence[Key]) -> Array:
    """Return the keys as points of the unit cube.

    An ordered parameter is one coordinate, a logarithmic one by its logarithm; a choice
    between k > 2 things is k coordinates of which one is 1. What does not count in a config lies
    in the middle.

    Args:
        kinds: Searched parameter -> what it may be.
        keys: One number per parameter, or None.

    Returns:
        Shape ``(keys, coordinates)``.
    """
    rows = [
        [
            coordinate
            for kind, number in zip(kinds.values(), key, strict=True)
            for coordinate in _coordinates(kind, number)
        ]
        for key in keys
    ]
    width = sum(_width(kind) for kind in kinds.values())
    return np.round(np.array(rows, dtype=np.float64).reshape(len(keys), width), DIGITS)


@lru_cache(maxsize=4)
def listed(kinds: Kinds, gates: Gates) -> tuple[Key, ...]:
    """Return every key of a small space, once; none of one that is larger or infinite."""
    numbers = [_numbers(kind) for _, kind in kinds]
    if math.prod(map(len, numbers)) > MOST_LISTED or not all(numbers):
        return ()
    pruned = (prune(dict(kinds), dict(gates), key) for key in itertools.product(*numbers))
    return tuple(dict.fromkeys(pruned))


@lru_cache(maxsize=4)
def listed_places(kinds: Kinds, gates: Gates) -> Array:
    """Return `places_of` of all `listed` keys; not to be changed."""
    return places_of(dict(kinds), listed(kinds, gates))


def any_key(kinds: Mapping[str, Parameter], rng: np.random.Generator) -> Key:
    """Draw every parameter by itself."""
    return tuple(any_number(kind, rng) for kind in kinds.values())


def at_share(kind: Parameter, share: float) -> Number:
    """Return the number that lies at a share of a parameter's range, 0 to 1.

    Of a choice each value has an equal part of the range.
    """
    if isinstance(kind, Choice):
        return min(int(share * len(kind.values)), len(kind.values) - 1)
    low, high = float(kind.low), float(kind.high)
    if kind.log:
        return clamp(kind, math.exp(math.log(low) + share * (math.log(high) - math.log(low))))
    return clamp(kind, low + share * (high - low))


def near(kinds: Mapping[str, Parameter], key: Key, spread: float, rng: np.random.Generator) -> Key:
    """Return a key that differs in one to three parameters, by about ``spread`` of their range.

    Args:
        kinds: Searched parameter -> what it may be.
        key: Where to start.
        spread: Standard deviation, as a share of a parameter's range.
        rng: Decides which, and by how much.
    """
    num_changed = int(rng.integers(1, min(3, len(kinds)) + 1))
    changed = set(rng.permutation(len(kinds))[:num_changed].tolist())
    return tuple(
        _moved(kind, number, spread, rng) if place in changed or number is None else number
        for place, (kind, number) in enumerate(zip(kinds.values(), key, strict=True))
    )


def _moved(
    kind: Parameter, number: Number | None, spread: float, rng: np.random.Generator
) -> Number:
    if number is None or (isinstance(kind, Choice) and not is_ordered(kind)):
        return any_number(kind, rng)
    share = min(max(_share(kind, number) + spread * rng.standard_normal(), 0.0), 1.0)
    moved = at_share(kind, share)
    # A step that is too small for the grid goes to the next value all the same.
    return moved if moved != number else any_number(kind, rng)


def _width(kind: Parameter) -> int:
    if isinstance(kind, Choice) and not is_ordered(kind) and len(kind.values) > 2:
        return len(kind.values)
    return 1


def _coordinates(kind: Parameter, number: Number | None) -> Iterable[float]:
    if (width := _width(kind)) > 1:
        return [1.0 if number == place else 0.0 for place in range(width)]
    return [0.5 if number is None else _share(kind, number)]


def _share(kind: Parameter, number: Number) -> float:
    """Return how far between its bounds a number lies, 0 to 1."""
    if isinstance(kind, Choice):
        return number / max(len(kind.values) - 1, 1)
    low, high = float(kind.low), float(kind.high)
    if high <= low:
        return 0.5
    if kind.log:
        return (math.log(number) - math.log(low)) / (math.log(high) - math.log(low))
    return (number - low) / (high - low)


def _numbers(kind: Parameter) -> Sequence[Number]:
    """Return every number that a parameter can be; none if there are too many."""
    if isinstance(kind, Choice):
        return range(len(kind.values))
    if isinstance(kind, Float) and kind.step is None:
        return ()
    last = num_steps(kind)
    return [grid_value(kind, i) for i in range(last + 1)] if last < MOST_LISTED else ()
