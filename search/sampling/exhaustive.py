"""Configs in an order that only the seed decides: every one of a finite space, or Sobol's."""

import math
import threading
import warnings
from collections.abc import Mapping, Sequence
from hashlib import blake2b

import numpy as np
from optuna.study import Study
from optuna.trial import FrozenTrial

from search.sampling.distributions import Distributions, parameter_of
from search.sampling.space_sampler import SpaceSampler, Told
from search.sampling.trials import DrawContext
from search.space.encoding import Key, Number, decode, nth_number, number_at
from search.space.parameters import Parameter
from search.space.space import idle_in
from trainables.spec.parameters import DEPTH

ROUNDS = 4
"""Of the cipher that shuffles; with four no order can be told from a random one (Luby and
Rackoff 1988, doi:10.1137/0217022)."""

_Depth = tuple[Number | None, Mapping[str, Parameter]]

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

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> Distributions:
        """Return what has finitely many values."""
        space = super().infer_relative_search_space(study, trial)
        return {name: one for name, one in space.items() if parameter_of(one).size is not None}

    def draw(self, context: DrawContext, told: Told, study: Study) -> Key:
        """Return the config at the place ``number``, or the next that was not tried."""
        depths = _by_depth(context)
        size = sum(_size(kinds) for _, kinds in depths)
        for step in range(len(context.tried) + 1):
            place = _shuffled((context.number + step) % size, size, context.seed)
            key = _key(context, depths, place)
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
            text = f"{seed} {turn} {right}".encode()
            mixed = int.from_bytes(blake2b(text, digest_size=32).digest(), "big")
            left, right = right, left ^ (mixed % (1 << half))
        place = (left << half) + right
        if place < size:
            return place


def _key(context: DrawContext, depths: Sequence[_Depth], place: int) -> Key:
    """Return the config at a place of the order in which depths and numbers are counted up."""
    for depth, kinds in depths:
        numbers = {DEPTH: depth}
        if place < (size := _size(kinds)):
            break
        place -= size
    for name, kind in kinds.items():
        place, digit = divmod(place, kind.size or 1)
        numbers[name] = nth_number(kind, digit)
    return tuple(numbers.get(name) for name in context.kinds)


def _by_depth(context: DrawContext) -> list[_Depth]:
    """Return what else varies at each depth; all of None where nothing depends on it."""
    if not context.gates:
        return [(None, context.kinds)]
    kind = context.kinds[DEPTH]
    found: list[_Depth] = []
    for depth in (nth_number(kind, place) for place in range(kind.size or 0)):
        idle = idle_in(context.gates, {DEPTH: decode(kind, depth)}) | {DEPTH}
        found.append((depth, {n: one for n, one in context.kinds.items() if n not in idle}))
    return found


def _size(kinds: Mapping[str, Parameter]) -> int:
    return math.prod(kind.size or 1 for kind in kinds.values())
