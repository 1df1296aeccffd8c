"""What a sampler is asked, what it answers, and what is shown of the trials so far."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Literal, final, overload

import numpy as np
from numpy.typing import NDArray

from search.space.encoding import Key, prune
from search.space.parameters import Parameter

State = Literal["running", "complete", "stopped", "failed", "interrupted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedTrial:
    """What the study knows of a trial, as far as it matters for the next suggestion."""

    number: int
    """Place in the order of asking, from 0."""

    config: Mapping[str, Any]
    """Value of every parameter; it may name more than the space does. Never changed in place."""

    state: State
    """What became of it."""

    log_skills: tuple[float, ...] | None = None
    """``log(loss / baseline)`` of each head at the trial's point, or None without a point."""

    epoch: int = 0
    """Finished epochs at that point."""

    curve: tuple[tuple[float, ...], ...] = ()
    """``log(loss / baseline)`` of each head after each epoch from 1, also while it runs; finite.
    Empty where it is not known."""

    system_attrs: Mapping[str, Any] = field(default_factory=dict)
    """What the suggestion of this trial carried in ``Suggestion.system_attrs``."""

    point: tuple[float, ...] | None = field(init=False, repr=False, compare=False)
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


@final
class Recorded(Sequence[RecordedTrial]):
    """The trials so far, in the order of their numbers; knows which have changed since when.

    So a study of 10,000 trials does not look at all of them for each new one.
    """

    def __init__(self) -> None:
        self._trials: list[RecordedTrial] = []
        self._changes: list[int] = []

    def put(self, place: int, trial: RecordedTrial) -> None:
        """Record a trial in a place, or behind the last one."""
        self._trials[place : place + 1] = [trial]
        self._changes.append(place)

    @property
    def num_changes(self) -> int:
        """How often a trial was put in."""
        return len(self._changes)

    def changed_since(self, num_changes: int) -> list[int]:
        """Return the places that have changed since there were so many changes, in order."""
        return sorted(set(self._changes[num_changes:]))

    def __len__(self) -> int:
        return len(self._trials)

    @overload
    def __getitem__(self, place: int) -> RecordedTrial: ...
    @overload
    def __getitem__(self, place: slice) -> list[RecordedTrial]: ...
    def __getitem__(self, place: int | slice) -> RecordedTrial | list[RecordedTrial]:
        return self._trials[place]

    def __iter__(self) -> Iterator[RecordedTrial]:
        return iter(self._trials)


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
class Request:
    """All that a sampler may look at: its answer is a function of this and nothing else."""

    kinds: Mapping[str, Parameter]
    """Searched parameter -> what it may be, in the order of the names; at least one."""

    known: tuple[tuple[RecordedTrial, Key], ...]
    """The other trials that lie in the space, each with its key, in the order of numbers."""

    tried: Set[Key]
    """Keys that should not be answered; a sampler that cannot help it may answer one."""

    num_heads: int
    """Length of each point."""

    seed: int
    """Of the study."""

    number: int
    """Of the trial to suggest for."""

    epochs: int
    """Of a whole training."""

    gates: Mapping[str, int] = field(default_factory=dict)
    """Parameter that does not always count -> the depth from which on it does."""

    def prune(self, key: Key) -> Key:
        """Return a key that names a number for all parameters as the config that it stands for."""
        return prune(self.kinds, self.gates, key)

    def sub_seed(self, draw: int = 0) -> int:
        """Return the seed of one draw, 32 bits, unrelated to that of any other."""
        return sub_seed(self.seed, self.number, draw)

    def rng(self, draw: int = 0) -> np.random.Generator:
        """Return the generator of one draw."""
        return rng_of(self.seed, self.number, draw)


Draw = Callable[[Request], tuple[Key, dict[str, Any]] | Continue]
"""A sampler: from a request to a key, and what it wants to be told again of the trial; or to a
stopped trial that promises more than any new config."""


def sub_seed(seed: int, number: int, draw: int) -> int:
    """Return the seed of one draw for one trial, 32 bits, unrelated to that of any other.

    Trials of earlier studies have negative numbers, which are counted down from 2**32.
    """
    spawn_key = (number % 2**32, draw)
    return int(np.random.SeedSequence(seed, spawn_key=spawn_key).generate_state(1)[0])


def rng_of(seed: int, number: int, draw: int) -> np.random.Generator:
    """Return the generator of one draw for one trial."""
    return np.random.default_rng(sub_seed(seed, number, draw))


MOST_SHOWN = 250
"""Trials that a sampler is shown at once."""
MOST_PENDING = 100
"""Of them running ones, the newest; 1,000 workers must not leave a model without points."""
NUM_BEST = 40
"""Of them the best. TPE takes a tenth of all, at most 25, for the good ones."""

Known = Sequence[tuple[RecordedTrial, Key]]


def shown(known: Known, *, most: int = MOST_SHOWN) -> Known:
    """Return all trials with a point and all running ones, or a choice of ``most`` of them.

    Of more than that: the newest running ones, the best by the rule of `best_first`, and of the
    rest every n-th by number. A function of the trials alone. With it a suggestion by TPE in the
    default space takes 10 ms of a processor at 200 recorded trials, 15 at 1,000 and 30 at 10,000
    (`tests.benchmarks.ask_cost`); without, 45, 170 and more than a second.

    Args:
        known: Trials with their keys, in the order of numbers.
        most: How many at most; at least 1.

    Returns:
        Part of ``known``, in the same order.
    """
    pointed = [i for i, (trial, _) in enumerate(known) if trial.point is not None]
    has_point = set(pointed)
    without = [i for i in range(len(known)) if i not in has_point]
    pending = [i for i in without if known[i][0].is_pending]
    if len(pending) + len(pointed) > most:
        pending = pending[-max(most * MOST_PENDING // MOST_SHOWN, most - len(pointed)) :]
        pointed = _some(known, pointed, most - len(pending))
    return [known[i] for i in sorted(pending + pointed)]


def best_first(points: NDArray[np.float64], most: int) -> list[int]:
    """Return the places of the best points: front by front, on a front the middle first.

    The middle of a front is where the ranks on the single heads have the smallest sum; neither
    fronts nor ranks depend on the unit of a head.

    Args:
        points: Shape ``(points, heads)``, finite; smaller is better.
        most: How many places at most.

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


def _some(known: Known, pointed: list[int], most: int) -> list[int]:
    """Return the best of the trials with a point, and a spread over the rest."""
    if len(pointed) <= most:
        return pointed
    # As np.array of tuples, which takes four times as long.
    flat = chain.from_iterable(known[i][0].point or () for i in pointed)
    points = np.fromiter(flat, dtype=np.float64).reshape(len(pointed), -1)
    best = {pointed[row] for row in best_first(points, min(NUM_BEST, most))}
    rest = [i for i in pointed if i not in best]
    spread = np.linspace(0, len(rest) - 1, most - len(best)).round().astype(int)
    return [*best, *(rest[place] for place in spread)]
