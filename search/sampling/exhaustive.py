"""Configs in an order that only the seed decides: every one of a finite space, or Sobol's."""

import math
import threading
import warnings
from hashlib import blake2b
from typing import Any

import numpy as np
from optuna.study import Study
from optuna.trial import FrozenTrial

from search.sampling.distributions import Distributions, parameter_of
from search.sampling.space_sampler import SpaceSampler, Told
from search.sampling.trials import DrawContext
from search.space.encoding import Key, Number, decode, nth_number, number_at
from search.space.space import idle_in
from trainables.spec.parameters import DEPTH

ROUNDS = 4
"""Of the cipher that shuffles; with four no order can be told from a random one (Luby and
Rackoff 1988, doi:10.1137/0217022)."""

_one_engine = threading.Lock()
"""SciPy's engines share what they are initialised from."""


class SobolSampler(SpaceSampler):
    """Configs that fill a space evenly (Sobol 1967, doi:10.1016/0041-5553(67)90144-9).

    A trial's point is a function of the seed, which scrambles the sequence (Owen 1998,
    doi:10.1145/292395.292424), and of its number: of other trials it knows nothing.
    """

    def draw(self, context: DrawContext, told: Told, study: Study) -> Key:
        """Return point ``number``; what does not count at a depth is a coordinate without use."""
        from scipy.stats import qmc  # takes half a second, which a grid need not wait for

        sequence = np.random.SeedSequence(context.seed)
        with _one_engine, warnings.catch_warnings():
            # Of the balance that only a power of two points has.
            warnings.simplefilter("ignore", UserWarning)
            rng = np.random.default_rng(sequence)
            engine = qmc.Sobol(len(context.kinds), scramble=True, rng=rng)
            if context.number:
                engine.fast_forward(context.number)
            point = engine.random(1)[0].tolist()
        pairs = zip(context.kinds.values(), point, strict=True)
        return context.prune(tuple(number_at(kind, share) for kind, share in pairs))


class ShuffledGridSampler(SpaceSampler):
    """Every config of a finite space once, in an order that the seed decides.

    A trial has the config at the place of its number, or the next untried one, so a study's
    trials differ whatever has ended by then. After the last place comes the first again. The
    order is a permutation that is never written down: a space may have 10**30 configs. In plain
    Optuna a real number without a step is drawn at random.
    """

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: Distributions
    ) -> dict[str, Any]:
        """Return the next untried config."""
        sizes = {name: parameter_of(one).size for name, one in search_space.items()}
        finite = {name: one for name, one in search_space.items() if sizes[name] is not None}
        values = super().sample_relative(study, trial, finite)
        return values | {
            name: self.sample_independent(study, trial, name, one)
            for name, one in search_space.items()
            if name not in finite
        }

    def draw(self, context: DrawContext, told: Told, study: Study) -> Key:
        """Return the config at the place ``number``, or the next that was not tried."""
        size = sum(count for _, count in _sizes(context))
        for step in range(len(context.tried) + 1):
            place = _shuffled((context.number + step) % size, size, context.seed)
            key = _key(context, place)
            if key not in context.tried:
                break
        return key


def _shuffled(place: int, size: int, seed: int) -> int:
    """Return where a seed's permutation of ``0 .. size - 1`` takes a place.

    A Feistel network over the next power of four, walked until it comes out below ``size``
    (Black and Rogaway 2002, doi:10.1007/3-540-45760-7_9): fewer than four steps on average.

    Example:
        >>> sorted(_shuffled(place, 5, seed=3) for place in range(5))
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


def _key(context: DrawContext, place: int) -> Key:
    """Return the config at a place of the order in which depths and numbers are counted up."""
    depth, place = _depth_at(context, place)
    kinds = dict(context.kinds)
    numbers: dict[str, Number | None] = {}
    if depth is not None:
        del kinds[DEPTH]
        numbers = {DEPTH: depth}
    idle = _idle(context, depth)
    for name, kind in kinds.items():
        if name not in idle:
            place, digit = divmod(place, kind.size or 1)
            numbers[name] = nth_number(kind, digit)
    return tuple(numbers.get(name) for name in context.kinds)


def _depth_at(context: DrawContext, place: int) -> tuple[Number | None, int]:
    """Return the depth of the config at a place, and the place among those of that depth."""
    for depth, count in _sizes(context):
        if place < count:
            return depth, place
        place -= count
    raise IndexError(place)


def _sizes(context: DrawContext) -> list[tuple[Number | None, int]]:
    """Return how many configs there are of each depth; None: it shapes no other parameter."""
    kind = context.kinds[DEPTH] if context.gates else None
    depths = [nth_number(kind, i) for i in range(kind.size or 0)] if kind else [None]
    return [(depth, _size(context, depth)) for depth in depths]


def _size(context: DrawContext, depth: Number | None) -> int:
    left_out = _idle(context, depth) | ({DEPTH} if depth is not None else set())
    kinds = [kind for name, kind in context.kinds.items() if name not in left_out]
    return math.prod(kind.size or 1 for kind in kinds)


def _idle(context: DrawContext, depth: Number | None) -> set[str]:
    if depth is None:
        return set()
    return idle_in(context.gates, {DEPTH: decode(context.kinds[DEPTH], depth)})
