"""Configs as tuples of numbers, one per searched parameter, and what lies next to one."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence, Set
from decimal import Decimal
from typing import Any

import numpy as np

from search.space import Choice, Float, Int, Parameter

Key = tuple[int | float, ...]
"""One number per searched parameter: an int, a float, or the place of a choice."""

ON_GRID = 1e-8
"""How far from a multiple of its step a float may lie, in steps; Optuna's own tolerance."""


def key_of(
    kinds: Mapping[str, Parameter], constants: Mapping[str, Any], config: Mapping[str, Any]
) -> Key | None:
    """Return a config as a key, or None if it does not lie in the space.

    Parameters that the space does not name are not looked at.

    Args:
        kinds: Searched parameter -> what it may be; gives the order of the key.
        constants: Parameter -> its only value.
        config: Parameter -> value.
    """
    named = {*kinds, *constants}
    if not named <= config.keys():
        return None
    if not all(_is_same(config[name], value) for name, value in constants.items()):
        return None
    coded = [encode(kind, config[name]) for name, kind in kinds.items()]
    return None if None in coded else tuple(value for value in coded if value is not None)


def encode(kind: Parameter, value: Any) -> int | float | None:
    """Return the number that stands for a value, or None if the kind does not allow it."""
    if isinstance(kind, Choice):
        same = [i for i, choice in enumerate(places_of(kind)) if _is_same(choice, value)]
        return min(same, key=lambda i: type(places_of(kind)[i]) is not type(value), default=None)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not kind.low <= value <= kind.high:
        return None
    if isinstance(kind, Float) and kind.step is None:
        return float(value)
    place = (value - kind.low) / (kind.step or 1)
    return grid_value(kind, round(place)) if abs(place - round(place)) < ON_GRID else None


def decode(kind: Parameter, number: int | float) -> Any:
    """Return the value that a number stands for, as a plain Python value."""
    return places_of(kind)[int(number)] if isinstance(kind, Choice) else number


def is_ordered(kind: Choice) -> bool:
    """Tell whether a choice is between numbers, so that near values are alike."""
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in kind.values)


def places_of(kind: Choice) -> tuple[Any, ...]:
    """Return the values by place: numbers by size, others as they are listed."""
    return tuple(sorted(kind.values)) if is_ordered(kind) else tuple(kind.values)


def clamp(kind: Parameter, number: int | float) -> int | float:
    """Return the nearest number that stands for a value; samplers miss by rounding errors."""
    if isinstance(kind, Choice):
        return int(number)
    if isinstance(kind, Float) and kind.step is None:
        return min(max(float(number), float(kind.low)), float(kind.high))
    place = round((number - kind.low) / (kind.step or 1))
    return grid_value(kind, min(max(place, 0), num_steps(kind)))


def num_steps(kind: Float | Int) -> int:
    """Return how often the step fits between the bounds."""
    distance = Decimal(str(kind.high)) - Decimal(str(kind.low))
    return int(distance // Decimal(str(kind.step or 1)))


def grid_value(kind: Float | Int, place: int) -> int | float:
    """Return ``low + place * step`` as its decimal form says: 0.3, not 0.30000000000000004."""
    if isinstance(kind, Int):
        return int(kind.low + place * (kind.step or 1))
    return float(Decimal(str(kind.low)) + place * Decimal(str(kind.step)))


def untried_neighbour(
    key: Key, kinds: Sequence[Parameter], tried: Set[Key], rng: np.random.Generator
) -> Key:
    """Return an untried config that differs in as few parameters as possible.

    At most ``len(tried) + 1`` configs are looked at, as no two of them are equal.

    Args:
        key: Where to start.
        kinds: What each number of the key may be.
        tried: Keys not to return.
        rng: Decides which parameter, and which of a choice's other values, goes first.

    Returns:
        The key itself if every config of a finite space has been tried.
    """
    order = [int(position) for position in rng.permutation(len(kinds))]
    others = {i: _other_values(kinds[i], key[i], len(tried) + 1, rng) for i in order}
    for num_changes in range(1, len(kinds) + 1):
        for positions in itertools.combinations(order, num_changes):
            for values in itertools.product(*(others[position] for position in positions)):
                changed = dict(zip(positions, values, strict=True))
                candidate = tuple(changed.get(i, value) for i, value in enumerate(key))
                if candidate not in tried:
                    return candidate
    return key


def _other_values(
    kind: Parameter, number: int | float, most: int, rng: np.random.Generator
) -> list[int | float]:
    """Return up to ``most`` other numbers, the nearest first where there is an order."""
    if isinstance(kind, Choice) and is_ordered(kind):
        return list(itertools.islice(_outwards(int(number), len(kind.values) - 1), most))
    if isinstance(kind, Choice):
        shuffled = rng.permutation(len(kind.values)).tolist()
        return [place for place in shuffled if place != number][:most]
    if isinstance(kind, Float) and kind.step is None:
        return [_any_float(kind, rng)]
    here = round((number - kind.low) / (kind.step or 1))
    places = itertools.islice(_outwards(here, num_steps(kind)), most)
    return [grid_value(kind, place) for place in places]


def _any_float(kind: Float, rng: np.random.Generator) -> float:
    if kind.log:
        return float(clamp(kind, math.exp(rng.uniform(math.log(kind.low), math.log(kind.high)))))
    return float(rng.uniform(kind.low, kind.high))


def _outwards(here: int, last: int) -> Iterator[int]:
    """Yield the other places of ``0 .. last``, the nearest first."""
    for distance in range(1, last + 1):
        for place in (here - distance, here + distance):
            if 0 <= place <= last:
                yield place


def _is_same(one: Any, other: Any) -> bool:
    """Tell whether two values are equal, where ``True`` is not 1 but 1.0 is."""
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)
