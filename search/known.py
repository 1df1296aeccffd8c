"""What lies in a space of the trials so far: worked out once for each, again where it changed."""

from bisect import bisect_left
from collections import Counter
from collections.abc import KeysView, Sequence
from itertools import compress
from operator import attrgetter, is_not
from typing import TypeVar, final

from search.asking import Recorded, RecordedTrial
from search.coding import Key, key_of
from search.space import SearchSpace

T = TypeVar("T")
Pair = tuple[RecordedTrial, Key]

_number = attrgetter("number")


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


def _add(counts: Counter[T], what: T, change: int) -> None:
    counts[what] += change
    if not counts[what]:
        del counts[what]
