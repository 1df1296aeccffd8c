"""Which config to try next: any sampler as a pure function of what is recorded."""

from bisect import bisect_left
from collections import Counter
from collections.abc import KeysView, Mapping, Sequence
from itertools import compress
from operator import attrgetter, is_not
from typing import Any, TypeVar, final

from search.errors import InputError
from search.sampling.trials import (
    Continue,
    Draw,
    Recorded,
    RecordedTrial,
    Request,
    State,
    Suggestion,
)
from search.space.encoding import Key, decode, key_of, untried_neighbour
from search.space.space import SearchSpace, idle_in
from search.study.samplers import SAMPLERS, check_installed, misfit

__all__ = ["SAMPLERS", "Continue", "RecordedTrial", "State", "Suggestion", "suggest"]


MOVE = 21
"""The draw that decides where a tried config is moved to; samplers use those before it."""


def suggest(
    *,
    name: str,
    space: SearchSpace,
    seed: int,
    number: int,
    recorded: Sequence[RecordedTrial],
    num_heads: int,
    epochs: int = 1,
) -> Suggestion | Continue:
    """Suggest the config of one trial, on all heads at once.

    The answer depends on nothing but the arguments, and not on the order of ``recorded``. The
    sampler sees complete trials, stopped ones and interrupted ones at the point they reached;
    trials without a finite point as failed; running ones (and interrupted ones without a point)
    as running. Trials that do not lie in the space, as the reference trial often does not, it
    does not see.

    A config that another trial has is not suggested again: one that a sampler cannot help but
    repeat is moved to an untried one in as few parameters as possible. So configs repeat only
    when every config of a finite space has been tried. Configs of interrupted trials may be
    suggested again.

    Args:
        name: One of ``SAMPLERS``.
        space: What is searched and what is constant.
        seed: Seed of the study, at least 0.
        number: Number of the trial to suggest for; what is recorded of it is not looked at.
        recorded: The other trials so far.
        num_heads: Length of each ``log_skills``.
        epochs: Of a whole training; only ``ehvi`` looks at it.

    Returns:
        A config for the trial of this number, or a stopped trial to take up again instead.

    Raises:
        InputError: If the sampler is unknown or does not fit the space.
        ValueError: If a point has another length than ``num_heads``.
    """
    if name not in SAMPLERS:
        raise InputError(f"sampler needs one of {list(SAMPLERS)}, got {name!r}")
    reason = misfit(name, space)
    if reason is not None:
        raise InputError(f"sampler {reason}")
    # In order of the names, so that their order in a file is no matter.
    kinds = dict(sorted(space.searched))
    if not kinds:
        return Suggestion(config=_config(space, {}), system_attrs={})
    known = _spare.pop() if _spare else Known(space)
    if known.space != space:
        known = Known(space)
    known.look(recorded, but=number)
    _check_lengths(known, num_heads)
    request = Request(
        kinds=kinds,
        known=known.pairs,
        tried=known.tried,
        num_heads=num_heads,
        seed=seed,
        number=number,
        epochs=epochs,
        gates=space.gates,
    )
    answer = _answer(DRAWS[name], space, request)
    _spare[:] = [known]
    return answer


def _answer(draw: Draw, space: SearchSpace, request: Request) -> Suggestion | Continue:
    answer = draw(request)
    if isinstance(answer, Continue):
        return answer
    key, attributes = answer
    if key in request.tried:
        rng = request.rng(MOVE)
        key = untried_neighbour(key, request.kinds, request.tried, rng, request.gates)
    values = {
        parameter: decode(kind, coded)
        for (parameter, kind), coded in zip(request.kinds.items(), key, strict=True)
        if coded is not None
    }
    return Suggestion(config=_config(space, values), system_attrs=attributes)


Pair = tuple[RecordedTrial, Key]


@final
class Known:
    """The trials that lie in a space, each with its key, from one question to the next.

    A key takes 25 microseconds, and a study of 10,000 trials asks 10,000 times. What is still
    the very same value as before is not looked at again.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self._kinds = dict(sorted(space.searched))
        self._constants = dict(space.constants)
        self._gates = space.gates
        self._source: Recorded | None = None
        self._num_changes = 0
        self._forget()

    def look(self, recorded: Sequence[RecordedTrial], *, but: int) -> None:
        """Take in the trials as they are now, in any order, without the one of a number."""
        if isinstance(recorded, Recorded) and (not recorded or recorded[-1].number < but):
            self._follow(recorded)
            return
        self._source = None
        trials = sorted(recorded, key=_number)
        place = bisect_left(trials, but, key=_number)
        while place < len(trials) and trials[place].number == but:
            del trials[place]
        if len(trials) < len(self._trials):
            self._forget()
        known = len(self._trials)
        for place in compress(range(known), map(is_not, self._trials, trials)):
            self._put(place, trials[place])
        for place in range(known, len(trials)):
            self._put(place, trials[place])

    def _follow(self, recorded: Recorded) -> None:
        """Take in what has changed of the trials that were taken in the last time."""
        if self._source is not recorded:
            self._forget()
            self._source, self._num_changes = recorded, 0
        for place in recorded.changed_since(self._num_changes):
            self._put(place, recorded[place])
        self._num_changes = recorded.num_changes

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """The trials that lie in the space, each with its key, in the order of their numbers."""
        return tuple(filter(None, self._inside))

    @property
    def tried(self) -> KeysView[Key]:
        """The keys of all of them but of interrupted ones; changes with the next `look`."""
        return self._tried.keys()

    @property
    def lengths(self) -> KeysView[int]:
        """How many log skills the trials have that have any."""
        return self._lengths.keys()

    def _forget(self) -> None:
        self._trials: list[RecordedTrial] = []
        self._inside: list[Pair | None] = []
        self._tried: Counter[Key] = Counter()
        self._lengths: Counter[int] = Counter()

    def _put(self, place: int, trial: RecordedTrial) -> None:
        """Take in the trial in a place, or behind the last one."""
        if place == len(self._trials):
            key = self._key_of(trial)
        else:
            before, found = self._trials[place], self._inside[place]
            is_same = before.config is trial.config
            key = (found and found[1]) if is_same else self._key_of(trial)
            self._count(place, -1)
        self._trials[place : place + 1] = [trial]
        self._inside[place : place + 1] = [None if key is None else (trial, key)]
        self._count(place, 1)

    def _key_of(self, trial: RecordedTrial) -> Key | None:
        return key_of(self._kinds, self._constants, trial.config, self._gates)

    def _count(self, place: int, change: int) -> None:
        found = self._inside[place]
        if found is None:
            return
        trial, key = found
        if trial.state != "interrupted":
            _add(self._tried, key, change)
        if trial.log_skills:
            _add(self._lengths, len(trial.log_skills), change)


def _check_lengths(known: Known, num_heads: int) -> None:
    if known.lengths <= {num_heads}:
        return
    lengths = ((t.number, len(t.log_skills)) for t, _ in known.pairs if t.log_skills)
    wrong, got = next((number, length) for number, length in lengths if length != num_heads)
    raise ValueError(f"trial {wrong} needs {num_heads} log skills, got {got}")


_spare: list[Known] = []
"""What the last question found out, for the next one; taken out meanwhile, as it changes."""


def _config(space: SearchSpace, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a whole config in the order of the space, without what does not count in it."""
    whole = {**dict(space.constants), **values}
    idle = idle_in(space.gates, values)
    return {name: whole[name] for name, _ in space.parameters if name not in idle}


T = TypeVar("T")


_number = attrgetter("number")


def _add(counts: Counter[T], what: T, change: int) -> None:
    counts[what] += change
    if not counts[what]:
        del counts[what]


def _ehvi(request: Request) -> tuple[Key, dict[str, Any]] | Continue:
    from search.sampling.ehvi import draw

    return draw(request)


def _tpe(request: Request) -> tuple[Key, dict[str, Any]]:
    from search.sampling.optuna import tpe

    return tpe(request)


def _nsga2(request: Request) -> tuple[Key, dict[str, Any]]:
    from search.sampling.optuna import nsga2

    return nsga2(request)


def _random(request: Request) -> tuple[Key, dict[str, Any]]:
    from search.sampling.optuna import random

    return random(request)


def _gp(request: Request) -> tuple[Key, dict[str, Any]]:
    check_installed("gp")
    from search.sampling.optuna import gp

    return gp(request)


def _grid(request: Request) -> tuple[Key, dict[str, Any]]:
    from search.sampling.exhaustive import grid

    return grid(request)


def _qmc(request: Request) -> tuple[Key, dict[str, Any]]:
    from search.sampling.exhaustive import qmc

    return qmc(request)


DRAWS: Mapping[str, Draw] = {
    "ehvi": _ehvi,
    "tpe": _tpe,
    "random": _random,
    "nsga2": _nsga2,
    "qmc": _qmc,
    "grid": _grid,
    "gp": _gp,
}
"""Of each of ``SAMPLERS``; what one needs is imported when it is asked."""
