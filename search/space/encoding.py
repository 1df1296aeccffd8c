"""Configs as tuples of numbers, one per searched parameter, and what lies next to one."""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from decimal import Decimal
from typing import Any

import numpy as np

from search.space.parameters import SAME_STEP, Choice, Float, Int, Parameter, num_steps
from search.space.space import SearchSpace, idle_in
from trainables.spec.parameters import DEPTH, config_depth
from trainables.spec.rules import is_number, is_same

Number = int | float
Key = tuple[Number | None, ...]
"""Of each searched parameter an int, a float, or the place of a choice; None where it does not
count in the config."""
_NO_GATES: Mapping[str, int] = {}


def key_of(
    kinds: Mapping[str, Parameter],
    constants: Mapping[str, Any],
    config: Mapping[str, Any],
    gates: Mapping[str, int] = _NO_GATES,
) -> Key | None:
    """Return a config as a key, in the order of ``kinds``; None if it is not in the space.

    What the space does not name, or what does not count in the config, is not looked at.
    """
    if gates and DEPTH not in config:
        config = {**config, DEPTH: config_depth(list(config), None)}
    idle = idle_in(gates, config)
    coded: list[Number | None] = []
    for name, kind in kinds.items():
        number = None if name in idle or name not in config else encode(kind, config[name])
        if number is None and name not in idle:
            return None
        coded.append(number)
    fixed = [(name, value) for name, value in constants.items() if name not in idle]
    is_inside = all(name in config and is_same(config[name], value) for name, value in fixed)
    return tuple(coded) if is_inside else None


def most_trials(space: SearchSpace, first: Iterable[Mapping[str, Any]]) -> int | None:
    """Return how many trials there can be before a config repeats; None for any number.

    Those that are tried ``first``, before any suggestion, may lie in the space or not.
    """
    if space.size is None:
        return None
    kinds, constants = dict(space.searched), dict(space.constants)
    keys = [key_of(kinds, constants, config, space.gates) for config in first]
    return len(keys) + space.size - len(set(keys) - {None})


def prune(kinds: Mapping[str, Parameter], gates: Mapping[str, int], key: Key) -> Key:
    """Return the key with None for what does not count at its depth."""
    if not gates:
        return key
    coded = dict(zip(kinds, key, strict=True))
    idle = idle_in(gates, {DEPTH: decode(kinds[DEPTH], coded[DEPTH] or 0)})
    return tuple(None if name in idle else number for name, number in coded.items())


def fill(kinds: Mapping[str, Parameter], key: Key, rng: np.random.Generator) -> tuple[Number, ...]:
    """Return the key with a drawn number for each None, for models that need all of them."""
    return tuple(
        number_at(kind, rng.random()) if number is None else number
        for kind, number in zip(kinds.values(), key, strict=True)
    )


def encode(kind: Parameter, value: Any) -> int | float | None:
    """Return the number that stands for a value, or None if the kind does not allow it."""
    if isinstance(kind, Choice):
        places = kind.places
        same = [i for i, choice in enumerate(places) if is_same(choice, value)]
        return min(same, key=lambda i: type(places[i]) is not type(value), default=None)
    if not is_number(value) or not kind.low <= value <= kind.high:
        return None
    if isinstance(kind, Float) and kind.step is None:
        return float(value)
    place = (value - kind.low) / (kind.step or 1)
    return nth_number(kind, round(place)) if abs(place - round(place)) < SAME_STEP else None


def decode(kind: Parameter, number: int | float) -> Any:
    """Return the value that a number stands for, as a plain Python value."""
    return kind.places[int(number)] if isinstance(kind, Choice) else number


def clamp(kind: Parameter, number: int | float) -> int | float:
    """Return the nearest number that stands for a value; samplers miss by rounding errors."""
    if isinstance(kind, Choice):
        return min(max(round(number), 0), len(kind.values) - 1)
    if isinstance(kind, Float) and kind.step is None:
        return min(max(float(number), float(kind.low)), float(kind.high))
    place = round((number - kind.low) / (kind.step or 1))
    return nth_number(kind, min(max(place, 0), num_steps(kind)))


def nth_number(kind: Parameter, place: int) -> Number:
    """Return the number at a place of those that there are, from 0.

    That is ``low + place * step`` as its decimal form says: 0.3, not 0.30000000000000004.
    """
    if isinstance(kind, Choice):
        return place
    if isinstance(kind, Int):
        return int(kind.low + place * kind.step)
    if kind.step is None:
        return kind.low
    return float(Decimal(str(kind.low)) + place * Decimal(str(kind.step)))


def untried_neighbour(
    key: Key,
    kinds: Mapping[str, Parameter],
    tried: Set[Key],
    rng: np.random.Generator,
    gates: Mapping[str, int] = _NO_GATES,
) -> Key:
    """Return an untried config that differs in as few parameters as possible.

    At most ``len(tried) + 1`` configs are looked at, as no two of them are equal. The key itself
    is returned if every config of a finite space has been tried.
    """
    order = [int(position) for position in rng.permutation(len(kinds))]
    whole = fill(kinds, key, rng)
    pairs = list(zip(kinds.values(), whole, strict=True))
    others = {i: _other_values(*pairs[i], len(tried) + 1, rng) for i in order}
    starts = [(whole, 0)]
    if gates:
        # What counts depends on the depth: each depth is a space of its own.
        depth = list(kinds).index(DEPTH)
        starts += [((*whole[:depth], d, *whole[depth + 1 :]), 1) for d in others[depth]]
        order.remove(depth)
    for num_changes in range(len(kinds) + 1):
        for start, num_done in starts:
            pruned = prune(kinds, gates, start)
            counting = [i for i in order if pruned[i] is not None]
            for candidate in _changed(pruned, counting, others, num_changes - num_done):
                if candidate not in tried:
                    return candidate
    return key


def _changed(
    key: Key, positions: Sequence[int], others: Mapping[int, list[Number]], num_changes: int
) -> Iterator[Key]:
    """Yield the keys with another number at so many of the positions."""
    if num_changes < 0:
        return
    for chosen in itertools.combinations(positions, num_changes):
        for values in itertools.product(*(others[position] for position in chosen)):
            changed = dict(zip(chosen, values, strict=True))
            yield tuple(changed.get(i, value) for i, value in enumerate(key))


def _other_values(
    kind: Parameter, number: int | float, most: int, rng: np.random.Generator
) -> list[int | float]:
    """Return up to ``most`` other numbers, the nearest first where there is an order."""
    if isinstance(kind, Choice) and kind.is_ordered:
        return list(itertools.islice(_outwards(int(number), len(kind.values) - 1), most))
    if isinstance(kind, Choice):
        shuffled = rng.permutation(len(kind.values)).tolist()
        return [place for place in shuffled if place != number][:most]
    if isinstance(kind, Float) and kind.step is None:
        return [number_at(kind, rng.random())]
    here = round((number - kind.low) / (kind.step or 1))
    places = itertools.islice(_outwards(here, num_steps(kind)), most)
    return [nth_number(kind, place) for place in places]


def number_at(kind: Parameter, share: float) -> Number:
    """Return the number at a share, in [0, 1), of the way from the first to the last."""
    if isinstance(kind, Choice):
        return int(share * len(kind.values))
    if kind.log:
        low, high = log_ends(kind)
        return clamp(kind, math.exp(low + share * (high - low)))
    if isinstance(kind, Float) and kind.step is None:
        return clamp(kind, kind.low + share * (kind.high - kind.low))
    return nth_number(kind, int(share * (num_steps(kind) + 1)))


def log_ends(kind: Float | Int) -> tuple[float, float]:
    """Return the logarithms between which shares lie: half a step beyond whole numbers' ends."""
    half = 0.5 if isinstance(kind, Int) else 0.0
    return math.log(kind.low - half), math.log(kind.high + half)


def _outwards(here: int, last: int) -> Iterator[int]:
    """Yield the other places of ``0 .. last``, the nearest first."""
    for distance in range(1, last + 1):
        for place in (here - distance, here + distance):
            if 0 <= place <= last:
                yield place
