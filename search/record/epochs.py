"""The measurements of a study: single objects while a trial runs, folded once it has ended."""

import itertools
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from search.record.compaction import Moved, Piece, delete_packed, open_piece
from search.record.history import TrialRecord, counts
from trainables.storage.sealed_json import DamagedRecord, records, seal
from trainables.storage.store import Store
from trainables.storage.study_folder import StudyFolder
from trainables.trial import measurement
from trainables.trial.measurement import Measurement

FOLDER = StudyFolder.TRIALS
BLOCK_SIZE = 500
"""Trials in one pack of folded trials."""

_NAME = re.compile(rf"{FOLDER}/(\d{{6,}})(?:-(\d{{6,}}))?(?:\.g(\d{{6,}}))?\.json")
_Trials = Mapping[int, TrialRecord]
"""By number: what was decided of each."""


@dataclass(slots=True)
class _Listing:
    """Which objects there are, at one moment."""

    epochs: dict[int, list[Piece]] = field(default_factory=lambda: defaultdict(list))
    """By trial number: its measurements."""
    folded: list[Piece] = field(default_factory=list)
    """Folded trials and blocks of them, also what newer ones replace."""
    singles: dict[int, Piece] = field(default_factory=dict)
    """By trial number: what the newest generation folded."""
    blocks: dict[int, Piece] = field(default_factory=dict)
    """By block (number // BLOCK_SIZE): what the newest generation packed."""
    opened: dict[str, dict[int, Any]] = field(default_factory=dict)
    """Content of the blocks that were looked into, by name and trial number."""


class EpochFiles:
    """Reads, folds and packs the measurements of a study; remembers what cannot change."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._objects: dict[str, Measurement] = {}
        self._done: dict[int, tuple[TrialRecord, TrialRecord]] = {}
        """Of trials that have ended: as decided, and joined with all their epochs."""
        self._folded: set[int] = set()
        """Trials all of whose epochs were found folded."""

    def join(self, trials: _Trials) -> Iterator[TrialRecord]:
        """Return each trial with its measurements; `Moved` if one of an ended trial is missing."""
        listing = self._list()
        there = {piece.path for pieces in listing.epochs.values() for piece in pieces}
        self._objects = {path: one for path, one in self._objects.items() if path in there}
        return (self._join(trial, listing) for trial in trials.values())

    def of_trial(self, trial: TrialRecord) -> TrialRecord:
        """Return one trial with its measurements.

        Of a trial's first attempt all names are known, so that nothing has to be listed: what a
        decision costs does not grow with the study.
        """
        done = self._done.get(trial.number)
        if done is not None and done[0] == trial:
            return done[1]
        if len(trial.attempts) == 1:
            joined = trial.joined(self._first_attempt(trial))
            if joined.num_epochs == trial.epoch:
                self._done[trial.number] = (trial, joined)
            if not trial.has_ended or joined.num_epochs == trial.epoch:
                return joined
        return self._join(trial, self._list())

    def fold(self, trials: _Trials, generation: int) -> None:
        """Put the epochs of each ended trial into one object, then delete them.

        Interrupted anywhere it loses nothing, and another call finishes the work. Also deletes
        what late writers left of ended trials, and joins full blocks of trials. A newer owner
        may have taken an ended trial up again without this process knowing it yet: what is
        written carries the generation, the newest is read, and nothing of a newer one deleted.
        """
        listing = self._list()
        blocks = {number // BLOCK_SIZE for number in listing.singles}
        for number in sorted(listing.epochs.keys() & trials.keys()):
            if trials[number].has_ended:
                blocks.add(number // BLOCK_SIZE)
                if not _is_one_object(trials[number], listing):
                    self._fold(trials[number], listing, generation)
                    self._delete(listing.epochs[number], generation)
        for block in blocks:
            numbers = range(block * BLOCK_SIZE, (block + 1) * BLOCK_SIZE)
            if all(n in trials and trials[n].has_ended for n in numbers):
                self._pack(block, [trials[n] for n in numbers], generation)

    def _join(self, trial: TrialRecord, listing: _Listing) -> TrialRecord:
        done = self._done.get(trial.number)
        if done is not None and done[0] == trial:
            return done[1]
        found = list(self._folded_of(trial.number, listing))
        joined = trial.joined(found)
        if joined.num_epochs == trial.epoch:
            self._folded.add(trial.number)
        else:
            self._folded.discard(trial.number)
            found.extend(self._singly(trial, listing))
            joined = trial.joined(found)
        if trial.has_ended:
            if joined.num_epochs != trial.epoch:
                raise Moved(
                    f"epoch {joined.num_epochs + 1} of trial {trial.number} is missing from "
                    f"{measurement.FOLDER}/ and {FOLDER}/; restore it from a copy"
                )
            self._done[trial.number] = (trial, joined)
        return joined

    def _first_attempt(self, trial: TrialRecord) -> Iterator[Measurement]:
        """Yield the epochs of a trial's first attempt, as far as they are there.

        An actor writes one after the other, each durably.
        """
        generation = trial.attempts[0].generation
        for epoch in itertools.count(1):
            if not counts(trial, generation, 1, epoch):
                return
            try:
                yield self._object(measurement.path_of(generation, trial.number, 1, epoch))
            except FileNotFoundError:
                return

    def _singly(self, trial: TrialRecord, listing: _Listing) -> Iterator[Measurement]:
        """Yield the epochs of a trial that are objects of their own."""
        for piece in listing.epochs.get(trial.number, []):
            generation, _, attempt, epoch = measurement.place(piece.path)
            if counts(trial, generation, attempt, epoch):
                try:
                    yield self._object(piece.path)
                except FileNotFoundError:
                    raise Moved.of(piece.path) from None

    def _object(self, path: str) -> Measurement:
        if path not in self._objects:
            self._objects[path] = measurement.read(self._store, path)
        return self._objects[path]

    def _folded_of(self, number: int, listing: _Listing) -> Iterator[Measurement]:
        single = listing.singles.get(number)
        block = listing.blocks.get(number // BLOCK_SIZE)
        if single and (block is None or single.generation >= block.generation):
            body = open_piece(self._store, "trial", single.path)
            yield from _measurements(body, number, single.path)
        elif block:
            if block.path not in listing.opened:
                body = open_piece(self._store, "trials", block.path)
                listing.opened[block.path] = _by_number(body, block)
            if number in listing.opened[block.path]:
                yield from _measurements(listing.opened[block.path][number], number, block.path)

    def _fold(self, trial: TrialRecord, listing: _Listing, generation: int) -> None:
        joined, number = self._join(trial, listing), trial.number
        if number not in self._folded and joined.measurements:
            path = _folded_path(f"{number:06d}", generation)
            self._store.put(path, seal("trial", _body(joined)))
        self._folded.add(number)

    def _pack(self, block: int, trials: list[TrialRecord], generation: int) -> None:
        """Put a block of ended trials into one object, unless they are in one."""
        listing = self._list()
        inside = [one for one in listing.folded if one.first // BLOCK_SIZE == block]
        if block not in listing.blocks:
            inside += [one for trial in trials for one in listing.epochs.get(trial.number, [])]
        if not any(one.first == one.last and one.generation <= generation for one in inside):
            return
        first, last = trials[0].number, trials[-1].number
        joined = [self._join(trial, listing) for trial in trials]
        body = {"first": first, "trials": [_body(one) for one in joined if one.measurements]}
        path = _folded_path(f"{first:06d}-{last:06d}", generation)
        self._store.put(path, seal("trials", body))
        self._delete(inside, generation, path)

    def _delete(self, pieces: Iterable[Piece], generation: int, pack: str = "") -> None:
        for path in delete_packed(self._store, pieces, generation, pack):
            self._objects.pop(path, None)

    def _list(self) -> _Listing:
        """List epochs before folded trials: what is folded meanwhile is in one of the two."""
        listing = _Listing()
        for path in records(self._store, measurement.FOLDER):
            generation, number, _, _ = measurement.place(path)
            listing.epochs[number].append(Piece(path, generation, number, number))
        listing.folded = [_parse(path) for path in records(self._store, FOLDER)]
        for piece in sorted(listing.folded, key=lambda one: one.generation):
            if piece.first == piece.last:
                listing.singles[piece.first] = piece
            else:
                listing.blocks[piece.first // BLOCK_SIZE] = piece
        return listing


def _is_one_object(trial: TrialRecord, listing: _Listing) -> bool:
    """Tell whether an ended trial is one epoch: folded by itself it would be one object, too."""
    is_folded = trial.number in listing.singles or trial.number // BLOCK_SIZE in listing.blocks
    return not is_folded and trial.epoch == len(listing.epochs[trial.number]) == 1


def _body(trial: TrialRecord) -> dict[str, Any]:
    return {"number": trial.number, "measurements": [m.to_dict() for m in trial.measurements]}


def _measurements(body: Mapping[str, Any], number: int, path: str) -> Iterator[Measurement]:
    found = body.get("measurements")
    if body.get("number") != number or not isinstance(found, list):
        raise DamagedRecord(f"{path} needs the measurements of trial {number}")
    for values in found:
        one = Measurement.from_dict(values, where=path)
        if one.number != number:
            raise DamagedRecord(f"{path} holds a measurement of trial {one.number}")
        yield one


def _by_number(body: Mapping[str, Any], block: Piece) -> dict[int, Any]:
    trials = body.get("trials")
    if body.get("first") != block.first or not isinstance(trials, list):
        raise DamagedRecord(f"{block.path} needs the trials from {block.first} on")
    return {trial["number"]: trial for trial in trials}


def _folded_path(name: str, generation: int) -> str:
    """Return the name of folded trials; a study's first owner needs no mark."""
    mark = f".g{generation:06d}" if generation > 1 else ""
    return f"{FOLDER}/{name}{mark}.json"


def _parse(path: str) -> Piece:
    """Return a folded trial, or a block of them, by its name."""
    match = _NAME.fullmatch(path)
    if match is None:
        raise DamagedRecord(f"{path} is no trial of this study; move it elsewhere")
    first, last = int(match[1]), int(match[2] or match[1])
    if match[2] and (first % BLOCK_SIZE or last != first + BLOCK_SIZE - 1):
        raise DamagedRecord(f"{path} is no block of {BLOCK_SIZE} trials; move it elsewhere")
    return Piece(path, int(match[3] or 1), first, last)
