"""Every config of a finite space once, in an order that the seed decides."""

import math
import threading
import warnings
from hashlib import blake2b
from typing import Any

import numpy as np
from scipy.stats import qmc as scipy_qmc

from search.sampling.trials import Request
from search.space.encoding import Key, Number, decode, nth_number, num_values, number_at
from search.space.space import idle_in
from trainables.spec.parameters import DEPTH

ROUNDS = 4
"""Of the cipher that shuffles; with four no order can be told from a random one (Luby and
Rackoff 1988, doi:10.1137/0217022)."""


def grid(request: Request) -> tuple[Key, dict[str, Any]]:
    """Take the config at the place ``number`` of the shuffled space, or the next untried one.

    So a study's trials differ whatever has ended by then; of other trials only what they have
    tried matters, running ones included. After the last place comes the first again. The order
    is a permutation that is never written down: a space may have 10**30 configs.
    """
    size = sum(count for _, count in _sizes(request))
    for step in range(len(request.tried) + 1):
        key = _key(request, shuffled((request.number + step) % size, size, request.seed))
        if key not in request.tried:
            break
    return key, {}


def shuffled(place: int, size: int, seed: int) -> int:
    """Return where a seed's permutation of ``0 .. size - 1`` takes a place.

    A Feistel network over the next power of four, walked until it comes out below ``size``
    (Black and Rogaway 2002, doi:10.1007/3-540-45760-7_9): fewer than four steps on average.

    Example:
        >>> sorted(shuffled(place, 5, seed=3) for place in range(5))
        [0, 1, 2, 3, 4]
    """
    half = max(1, ((size - 1).bit_length() + 1) // 2)
    while True:
        left, right = divmod(place, 1 << half)
        for turn in range(ROUNDS):
            left, right = right, left ^ (_mixed(seed, turn, right) % (1 << half))
        place = (left << half) + right
        if place < size:
            return place


def _mixed(seed: int, turn: int, value: int) -> int:
    text = f"{seed} {turn} {value}".encode()
    return int.from_bytes(blake2b(text, digest_size=32).digest(), "big")


def _key(request: Request, place: int) -> Key:
    """Return the config at a place of the order in which depths and numbers are counted up."""
    depth, place = _depth_at(request, place)
    kinds = dict(request.kinds)
    numbers: dict[str, Number | None] = {}
    if depth is not None:
        del kinds[DEPTH]
        numbers = {DEPTH: depth}
    idle = _idle(request, depth)
    for name, kind in kinds.items():
        if name not in idle:
            place, digit = divmod(place, num_values(kind) or 1)
            numbers[name] = nth_number(kind, digit)
    return tuple(numbers.get(name) for name in request.kinds)


def _depth_at(request: Request, place: int) -> tuple[Number | None, int]:
    """Return the depth of the config at a place, and the place among those of that depth."""
    for depth, count in _sizes(request):
        if place < count:
            return depth, place
        place -= count
    raise IndexError(place)


def _sizes(request: Request) -> list[tuple[Number | None, int]]:
    """Return how many configs there are of each depth; None: it shapes no other parameter."""
    kind = request.kinds[DEPTH] if request.gates else None
    depths = [nth_number(kind, i) for i in range(num_values(kind) or 0)] if kind else [None]
    return [(depth, _size(request, depth)) for depth in depths]


def _size(request: Request, depth: Number | None) -> int:
    left_out = _idle(request, depth) | ({DEPTH} if depth is not None else set())
    kinds = [kind for name, kind in request.kinds.items() if name not in left_out]
    return math.prod(num_values(kind) or 1 for kind in kinds)


def _idle(request: Request, depth: Number | None) -> set[str]:
    if depth is None:
        return set()
    return idle_in(request.gates, {DEPTH: decode(request.kinds[DEPTH], depth)})


_one_engine = threading.Lock()
"""SciPy's engines share what they are initialised from."""


def qmc(request: Request) -> tuple[Key, dict[str, Any]]:
    """Take point ``number`` of the sequence (Sobol 1967, doi:10.1016/0041-5553(67)90144-9).

    The scrambling (Owen 1998, doi:10.1145/292395.292424) is the seed's. The point is a function
    of (seed, number): of other trials, running or not, it knows nothing, and the searcher moves
    it away from a config that one of them has. Numbers that others took, such as the reference
    trial's, are points left out. What does not count at a depth is a coordinate without use.
    """
    sequence = np.random.SeedSequence(request.seed)
    with _one_engine, warnings.catch_warnings():
        # Of the balance that only a power of two points has.
        warnings.simplefilter("ignore", UserWarning)
        engine = scipy_qmc.Sobol(
            len(request.kinds), scramble=True, rng=np.random.default_rng(sequence)
        )
        if request.number:
            engine.fast_forward(request.number)
        point = engine.random(1)[0].tolist()
    pairs = zip(request.kinds.values(), point, strict=True)
    return request.prune(tuple(number_at(kind, share) for kind, share in pairs)), {}
