"""The measurements of a study: single objects while a trial runs, folded once it has ended."""

import itertools
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from search.record.history import TrialHistory, counts, trial_history
from search.record.replay import TrialDecisions
from search.record.segments import Moved
from trainables.storage.sealed import DamagedRecord, records, seal, unseal
from trainables.storage.store import Store
from trainables.trial import measurement
from trainables.trial.measurement import Measurement

FOLDER = "trials"
BLOCK_SIZE = 500
"""Trials in one pack of folded trials."""

_NAME = re.compile(rf"{FOLDER}/(\d{{6,}})(?:-(\d{{6,}}))?(?:\.g(\d{{6,}}))?\.json")


@dataclass(slots=True)
class _Listing:
    """Which objects there are, at one moment."""

    epochs: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list))
    """By trial number: the names of its measurements."""
    singles: dict[int, tuple[int, str]] = field(default_factory=dict)
    """By trial number: the newest generation that folded it, and the name of what it wrote."""
    blocks: dict[int, tuple[int, str]] = field(default_factory=dict)
    """By block (number // BLOCK_SIZE): the newest generation that packed it, and the name."""
    outdated: list[tuple[int, int, str]] = field(default_factory=list)
    """Folded trials that newer ones replace: (generation, number, name)."""
    opened: dict[str, dict[int, Any]] = field(default_factory=dict)
    """Content of the packs that were looked into, by name and trial number."""


class MeasurementFiles:
    """Reads, folds and packs the measurements of a study; remembers what cannot change."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._objects: dict[str, Measurement] = {}
        self._done: dict[int, tuple[TrialDecisions, TrialHistory]] = {}
        self._folded: set[int] = set()

    def join(self, trials: Mapping[int, TrialDecisions]) -> Iterator[TrialHistory]:
        """Return the history of each trial, in the order given.

        Raises:
            Moved: If an epoch of an ended trial is missing.
            DamagedRecord: If an object is not what was written, or is none of the study's.
        """
        listing = self._list()
        self._objects = {
            path: self._objects[path]
            for paths in listing.epochs.values()
            for path in paths
            if path in self._objects
        }
        return (self._join(number, trials[number], listing) for number in trials)

    def of_trial(self, number: int, decisions: TrialDecisions) -> TrialHistory:
        """Return the history of one trial; raises what `join` raises.

        Of a trial's first attempt all names are known, so that nothing has to be listed: what a
        decision costs does not grow with the study.
        """
        done = self._done.get(number)
        if done is not None and done[0] == decisions:
            return done[1]
        if len(decisions.attempts) == 1:
            found = self._objects_of(decisions, self._names_of_first(number, decisions))
            history = trial_history(number, decisions, found)
            if decisions.ended is None:
                return history
            if len(history.measurements) == decisions.ended.epoch:
                self._done[number] = (decisions, history)
                return history
        return self._join(number, decisions, self._list())

    def fold(self, trials: Mapping[int, TrialDecisions], generation: int) -> None:
        """Put the epochs of each ended trial into one object, then delete them.

        Interrupted anywhere it loses nothing, and another call finishes the work. Also deletes
        what late writers left of ended trials, and joins full blocks of trials.

        Also safe if this process has been succeeded and does not know it yet, though a newer
        owner may have taken an ended trial up again: what is written carries the generation,
        the newest one is read, and nothing of a newer one is deleted.

        Args:
            trials: What was decided of each.
            generation: Of this process.

        Raises:
            StorageFull: If there is no room.
            StorageError: If the storage refuses; also what `join` raises.
        """
        listing = self._list()
        touched = set()
        for number in sorted(listing.epochs.keys() & trials.keys()):
            if trials[number].ended is None:
                continue
            touched.add(number // BLOCK_SIZE)
            if not _is_one_object(number, trials[number], listing):
                self._fold(number, trials[number], listing, generation)
                self._delete(_epochs_of(number, listing, generation))
        for block in touched | {number // BLOCK_SIZE for number in listing.singles}:
            numbers = range(block * BLOCK_SIZE, (block + 1) * BLOCK_SIZE)
            if all(n in trials and trials[n].ended is not None for n in numbers):
                self._pack(block, trials, generation)

    def _join(self, number: int, decisions: TrialDecisions, listing: _Listing) -> TrialHistory:
        ended = decisions.ended
        done = self._done.get(number)
        if done is not None and done[0] == decisions:
            return done[1]
        found = list(self._folded_of(number, listing))
        history = trial_history(number, decisions, found)
        if ended is not None and len(history.measurements) == ended.epoch:
            self._folded.add(number)
        else:
            self._folded.discard(number)
            found.extend(self._objects_of(decisions, listing.epochs.get(number, [])))
            history = trial_history(number, decisions, found)
        if ended is not None:
            if len(history.measurements) != ended.epoch:
                raise Moved(
                    f"epoch {len(history.measurements) + 1} of trial {number} is missing from "
                    f"{measurement.FOLDER}/ and {FOLDER}/; restore it from a copy"
                )
            self._done[number] = (decisions, history)
        return history

    def _names_of_first(self, number: int, decisions: TrialDecisions) -> Iterator[str]:
        """Yield the names of the epochs of a trial's first attempt, as far as they are there.

        An actor writes one after the other, each durably.
        """
        generation = decisions.attempts[0].generation
        for epoch in itertools.count(1):
            path = measurement.path_of(generation, number, 1, epoch)
            if not counts(decisions, generation, 1, epoch):
                return
            if path not in self._objects:
                try:
                    self._objects[path] = measurement.read(self._store, path)
                except FileNotFoundError:
                    return
            yield path

    def _objects_of(
        self, decisions: TrialDecisions, paths: Iterable[str]
    ) -> Iterator[Measurement]:
        for path in paths:
            generation, _, attempt, epoch = measurement.place(path)
            if counts(decisions, generation, attempt, epoch):
                if path not in self._objects:
                    try:
                        self._objects[path] = measurement.read(self._store, path)
                    except FileNotFoundError:
                        raise Moved(f"{path} is missing; restore it from a copy") from None
                yield self._objects[path]

    def _folded_of(self, number: int, listing: _Listing) -> Iterator[Measurement]:
        by_single, single = listing.singles.get(number, (0, ""))
        by_block, block = listing.blocks.get(number // BLOCK_SIZE, (0, ""))
        if single and by_single >= by_block:
            yield from _measurements(self._open(single, "trial"), number, single)
            return
        if not block:
            return
        if block not in listing.opened:
            listing.opened[block] = _by_number(self._open(block, "trials"), block)
        if number in listing.opened[block]:
            yield from _measurements(listing.opened[block][number], number, block)

    def _open(self, path: str, kind: str) -> dict[str, Any]:
        try:
            return unseal(kind, self._store.get(path), path)
        except FileNotFoundError:
            raise Moved(f"{path} is missing; restore it from a copy") from None

    def _fold(
        self, number: int, decisions: TrialDecisions, listing: _Listing, generation: int
    ) -> None:
        history = self._join(number, decisions, listing)
        if number not in self._folded and history.measurements:
            path = _folded_path(f"{number:06d}", generation)
            self._store.put(path, seal("trial", _body(history)))
        self._folded.add(number)

    def _pack(self, block: int, trials: Mapping[int, TrialDecisions], generation: int) -> None:
        first = block * BLOCK_SIZE
        listing = self._list()
        singles = [
            path
            for n, (by, path) in listing.singles.items()
            if n // BLOCK_SIZE == block and by <= generation
        ]
        numbers = range(first, first + BLOCK_SIZE)
        if block not in listing.blocks:
            singles += [p for n in numbers for p in _epochs_of(n, listing, generation)]
        if not singles:
            return
        histories = [self._join(n, trials[n], listing) for n in numbers]
        body = {"first": first, "trials": [_body(h) for h in histories if h.measurements]}
        path = _folded_path(f"{first:06d}-{first + BLOCK_SIZE - 1:06d}", generation)
        self._store.put(path, seal("trials", body))
        by, former = listing.blocks.get(block, (0, path))
        replaced = [*listing.outdated, (by, first, former)]
        for by, number, name in replaced:
            if number // BLOCK_SIZE == block and by <= generation and name != path:
                singles.append(name)
        self._delete(singles)

    def _delete(self, paths: Iterable[str]) -> None:
        for path in paths:
            self._store.delete(path)
            self._objects.pop(path, None)

    def _list(self) -> _Listing:
        """List epochs before folded trials: what is folded meanwhile is in one of the two."""
        listing = _Listing()
        for path in records(self._store, measurement.FOLDER):
            listing.epochs[measurement.place(path)[1]].append(path)
        for path in records(self._store, FOLDER):
            first, last, generation = _parse(path)
            known = listing.singles if last is None else listing.blocks
            key = first if last is None else first // BLOCK_SIZE
            older, newer = sorted([known.get(key, (0, "")), (generation, path)])
            known[key] = newer
            if older[1]:
                listing.outdated.append((older[0], first, older[1]))
        return listing


def _is_one_object(number: int, decisions: TrialDecisions, listing: _Listing) -> bool:
    """Tell whether an ended trial is one epoch: folded by itself it would be one object, too."""
    is_new = number not in listing.singles and number // BLOCK_SIZE not in listing.blocks
    last = decisions.ended and decisions.ended.epoch
    return is_new and last == len(listing.epochs[number]) == 1


def _epochs_of(number: int, listing: _Listing, generation: int) -> list[str]:
    """Return the epochs of a trial that no owner after this generation measured."""
    paths = listing.epochs.get(number, [])
    return [path for path in paths if measurement.place(path)[0] <= generation]


def _body(history: TrialHistory) -> dict[str, Any]:
    return {
        "number": history.number,
        "measurements": [m.to_dict() for m in history.measurements],
    }


def _measurements(body: Mapping[str, Any], number: int, path: str) -> Iterator[Measurement]:
    found = body.get("measurements")
    if body.get("number") != number or not isinstance(found, list):
        raise DamagedRecord(f"{path} needs the measurements of trial {number}")
    for values in found:
        one = Measurement.from_dict(values, where=path)
        if one.number != number:
            raise DamagedRecord(f"{path} holds a measurement of trial {one.number}")
        yield one


def _by_number(body: Mapping[str, Any], path: str) -> dict[int, Any]:
    first, _, _ = _parse(path)
    trials = body.get("trials")
    if body.get("first") != first or not isinstance(trials, list):
        raise DamagedRecord(f"{path} needs the trials from {first} on")
    return {trial["number"]: trial for trial in trials}


def _folded_path(name: str, generation: int) -> str:
    """Return the name of folded trials; a study's first owner needs no mark."""
    mark = f".g{generation:06d}" if generation > 1 else ""
    return f"{FOLDER}/{name}{mark}.json"


def _parse(path: str) -> tuple[int, int | None, int]:
    """Return the first and the last trial of an object, and the generation that wrote it.

    Older versions marked none of them: what they wrote counts as the first generation's.
    """
    match = _NAME.fullmatch(path)
    if match is None:
        raise DamagedRecord(f"{path} is no trial of this study; move it elsewhere")
    first, last = int(match[1]), int(match[2]) if match[2] else None
    if last is not None and (first % BLOCK_SIZE or last != first + BLOCK_SIZE - 1):
        raise DamagedRecord(f"{path} is no block of {BLOCK_SIZE} trials; move it elsewhere")
    return first, last, int(match[3] or 1)
