"""What a sampler is asked, what it answers, and what is shown of the trials so far."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, Literal, final, overload

import numpy as np

from search.coding import Key, prune
from search.kinds import Parameter

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
