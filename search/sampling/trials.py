"""The trials so far as a sampler sees them, what it answers, and which of many it is shown."""

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import KeysView, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from search.record.history import TrialState
from search.space.encoding import Key, key_of, prune
from search.space.parameters import Parameter
from search.space.space import SearchSpace

Point = tuple[float, ...]

MOST_SHOWN = 250
"""Trials that a sampler is shown at once."""
MOST_PENDING = 100
"""Of them running ones, the newest; 1,000 workers must not leave a model without points."""
NUM_BEST = 40
"""Of them the best. TPE takes a tenth of all, at most 25, for the good ones."""
MOST_STOPPED = 60
"""Stopped trials that may be taken up again: the most promising."""

NUMBER, CURVE, MAY_CONTINUE = "twohead:number", "twohead:curve", "twohead:may_continue"
"""What an Optuna trial tells a sampler of ours as user attributes, in a study of ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedTrial:
    """What the study knows of a trial, as far as it matters for the next suggestion."""

    number: int
    """Place in the order of asking, from 0; of a trial of an earlier study negative."""

    config: Mapping[str, Any]
    """Value of every parameter; it may name more than the space does. Never changed in place."""

    state: TrialState
    """What became of it."""

    log_skills: Point | None = None
    """``log(loss / baseline)`` of each head at the trial's point, or None without a point."""

    epoch: int = 0
    """Finished epochs at that point."""

    curve: tuple[Point, ...] = ()
    """``log(loss / baseline)`` of each head after each epoch from 1, also while it runs; finite.
    Empty where it is not known."""

    system_attrs: Mapping[str, Any] = field(default_factory=dict)
    """What the suggestion of this trial carried in ``Suggestion.system_attrs``."""

    point: Point | None = field(init=False, repr=False, compare=False)
    """The point that a sampler learns from, whatever ended the trial; finite, or None.

    A failed trial has none, nor has one with a NaN or an infinity.
    """

    def __post_init__(self) -> None:
        """Work out the point, once for all the times that it is looked at."""
        is_taught = self.state not in {"running", "failed"} and self.log_skills is not None
        is_taught = is_taught and all(map(math.isfinite, self.log_skills or ()))
        object.__setattr__(self, "point", self.log_skills if is_taught else None)

    @property
    def is_pending(self) -> bool:
        """Whether its point is still to come; so of an interrupted trial that reached none."""
        return self.state == "running" or (self.state == "interrupted" and self.log_skills is None)

    @property
    def may_continue(self) -> bool:
        """Whether the scheduler stopped it, so that it may be taken up again."""
        return self.state == "stopped" and self.number >= 0 and bool(self.curve)


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """A config to try, and what the sampler wants to be told again about it."""

    config: dict[str, Any]
    """Parameter -> plain Python value; constants included."""

    system_attrs: dict[str, Any]
    """To be recorded with the trial; JSON values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Continue:
    """Rather than trying a new config, take up a stopped trial again."""

    number: int
    """The trial's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawContext:
    """What a sampler of ours knows beside the trials that it is shown."""

    kinds: Mapping[str, Parameter]
    """Searched parameter -> what it may be, in the order of the names; at least one."""

    tried: Set[Key]
    """Keys that should not be answered; a sampler that cannot help it may answer one."""

    seed: int
    """Of the study."""

    number: int
    """Of the trial to suggest for."""

    epochs: int = 1
    """Of a whole training."""

    gates: Mapping[str, int] = field(default_factory=dict)
    """Parameter that does not always count -> the depth from which on it does."""

    def prune(self, key: Key) -> Key:
        """Return a key that names a number for all parameters as the config that it stands for."""
        return prune(self.kinds, self.gates, key)

    def rng(self, draw: int = 0) -> np.random.Generator:
        """Return the generator of one draw."""
        return rng_of(self.seed, self.number, draw)


def sub_seed(seed: int, number: int, draw: int) -> int:
    """Return the seed of one draw for one trial, 32 bits, unrelated to that of any other."""
    # Trials of earlier studies have negative numbers, which are counted down from 2**32.
    spawn_key = (number % 2**32, draw)
    return int(np.random.SeedSequence(seed, spawn_key=spawn_key).generate_state(1)[0])


def rng_of(seed: int, number: int, draw: int) -> np.random.Generator:
    """Return the generator of one draw for one trial."""
    return np.random.default_rng(sub_seed(seed, number, draw))


Seen = tuple[RecordedTrial, Key]


@final
class SeenTrials:
    """The trials that lie in a space, each with its key, in the order of their numbers.

    A key takes 25 microseconds, and 10,000 trials ask 10,000 times: each is worked out once.
    """

    def __init__(self, space: SearchSpace, num_objectives: int) -> None:
        # In order of the names, so that their order in a file is no matter.
        self.kinds = dict(sorted(space.searched))
        self.gates = space.gates
        self._constants = dict(space.constants)
        self._num_objectives = num_objectives
        self._numbers: list[int] = []
        self._trials: list[RecordedTrial] = []
        self._inside: list[Seen | None] = []
        self._tried: Counter[Key] = Counter()

    def put(self, trial: RecordedTrial) -> None:
        """Take in a trial, or what has become of it; `ValueError` of a point of another length."""
        place = bisect_left(self._numbers, trial.number)
        if self._numbers[place : place + 1] == [trial.number]:
            before, found = self._trials[place], self._inside[place]
            self._count(found, -1)
            is_same = before.config is trial.config
            key = (found and found[1]) if is_same else self._key_of(trial)
            self._trials[place] = trial
        else:
            key = self._key_of(trial)
            self._numbers.insert(place, trial.number)
            self._trials.insert(place, trial)
            self._inside.insert(place, None)
        self._inside[place] = None if key is None else (trial, key)
        self._count(self._inside[place], 1)
        got = len(trial.log_skills or ())
        if key is not None and got not in {0, self._num_objectives}:
            rule = f"trial {trial.number} needs {self._num_objectives} log skills"
            raise ValueError(f"{rule}, got {got}")

    @property
    def inside(self) -> list[Seen]:
        """Those that lie in the space."""
        return list(filter(None, self._inside))

    @property
    def tried(self) -> KeysView[Key]:
        """The keys of all of them but of interrupted ones; changes with the next `put`."""
        return self._tried.keys()

    def _key_of(self, trial: RecordedTrial) -> Key | None:
        return key_of(self.kinds, self._constants, trial.config, self.gates)

    def _count(self, seen: Seen | None, change: int) -> None:
        if seen is None or seen[0].state == "interrupted":
            return
        self._tried[seen[1]] += change
        if not self._tried[seen[1]]:
            del self._tried[seen[1]]


def shown(
    points: Sequence[Point | None], pending: Sequence[bool], *, most: int = MOST_SHOWN
) -> list[int]:
    """Return the places of all trials with a point and all running ones, or a choice of them.

    Of more than ``most``: the newest running ones, the best by the rule of `best_first`, and of
    the rest every n-th. A function of the trials alone. With it a suggestion by TPE in the
    default space takes 10 ms of a processor at 200 recorded trials, 15 at 1,000 and 30 at 10,000
    (`tests.benchmarks.ask_cost`); without, 45, 170 and more than a second.
    ``pending`` says of each trial without a point whether it is still to come.
    """
    pointed = [place for place, point in enumerate(points) if point is not None]
    running = [p for p, is_pending in enumerate(pending) if is_pending and points[p] is None]
    if len(running) + len(pointed) > most:
        running = running[-max(most * MOST_PENDING // MOST_SHOWN, most - len(pointed)) :]
        pointed = _some(points, pointed, most - len(running))
    return sorted(running + pointed)


def best_first(points: NDArray[np.float64], most: int) -> list[int]:
    """Return the places of the best points: front by front, on a front the middle first.

    The middle of a front is where the ranks on the single heads have the smallest sum; neither
    fronts nor ranks depend on the unit of a head.

    Example:
        >>> best_first(np.array([[3.0, 3.0], [0.0, 9.0], [2.0, 2.0], [9.0, 0.0]]), 4)
        [2, 1, 3, 0]
    """
    ranks = [np.unique(column, return_inverse=True)[1] for column in points.T]
    # What beats another has the smaller sum: the first of those left is beaten by none of them.
    order = np.argsort(np.sum(ranks, axis=0), kind="stable")
    columns = np.ascontiguousarray(points[order].T)
    left = np.arange(len(points))
    best: list[int] = []
    while left.size and len(best) < most:
        beaten = [left[:0]]
        front = columns[:, left]
        while left.size and len(best) < most:
            best.append(int(order[left[0]]))
            first = front[:, :1]
            is_beaten = np.all(first <= front, axis=0) & np.any(first < front, axis=0)
            beaten.append(left[is_beaten])
            left, front = left[1:][~is_beaten[1:]], front[:, 1:][:, ~is_beaten[1:]]
        left = np.sort(np.concatenate(beaten))
    return best


def stacked(points: Sequence[Point]) -> NDArray[np.float64]:
    """Return points as rows; in a quarter of the time that np.array takes for tuples."""
    flat = np.fromiter(chain.from_iterable(points), dtype=np.float64)
    return flat.reshape(len(points), -1)


def _some(points: Sequence[Point | None], pointed: list[int], most: int) -> list[int]:
    """Return the best of the trials with a point, and a spread over the rest."""
    if len(pointed) <= most:
        return pointed
    rows = stacked([points[place] or () for place in pointed])
    best = {pointed[row] for row in best_first(rows, min(NUM_BEST, most))}
    rest = [place for place in pointed if place not in best]
    spread = np.linspace(0, len(rest) - 1, most - len(best)).round().astype(int)
    return [*best, *(rest[place] for place in spread)]
