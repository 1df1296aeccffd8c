"""The study's record: what was decided, joined with what the actors measured; the only truth."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, final

from msgspec.structs import replace

from search.errors import InputError, StorageError, StudyDiffers, StudyLocked
from search.record.decisions import Accepted, Decision, Ended, Opened, Released, as_logged
from search.record.history import History, TrialRecord
from search.record.ownership import Ownership
from search.record.reader import StudyReader, read_study
from search.record.replay import Replay
from search.record.segments import encode_segments, segment_path
from trainables.storage.sealed_json import DamagedRecord, seal, unseal
from trainables.storage.store import Store
from trainables.storage.study_folder import StudyFolder


@final
class StudyLog:
    """The writing end of a study's record; made by `open_for_writing`, one at a time."""

    def __init__(self, reader: StudyReader, ownership: Ownership, replay: Replay) -> None:
        self.reader = reader
        """Reads the same study, and knows what this writes."""
        self._store = reader.store
        self.ownership = ownership
        """The right to write."""
        self._replay = replay
        """After all that is logged."""
        self._ahead: Replay | None = None
        """After what is gathered, too, within `together`."""
        self._gathered = _Draft()
        self._uncertain: _Draft | None = None
        self._sequence = 0

    @classmethod
    def create(cls, store: Store, study: Mapping[str, Any]) -> bool:
        """Write down what the study is, as plain JSON values, once and for all.

        False if the same study is there already, `StudyDiffers` if another one is.
        """
        data = seal("study", study)
        if store.put_new("study.json", data):
            return True
        found, given = read_study(StudyFolder.of(store)), unseal("study", data, "study.json")
        keys = [k for k in sorted(found.keys() | given) if found.get(k) != given.get(k)]
        if keys:
            raise StudyDiffers(f"{store.uri} holds another study; the keys that differ: {keys}")
        return False

    @classmethod
    def open_for_writing(
        cls,
        store: Store,
        ownership: Ownership,
        *,
        budget: Mapping[str, Any] | None = None,
        reader: StudyReader | None = None,
    ) -> "StudyLog":
        """Take the study over: settle what the older owners left, and begin a generation.

        The ownership must be held for as long as the log is used. A budget of None keeps the one
        in force; a reader that has read the study before spares parsing it again. `StudyLocked`
        if the study was taken over meanwhile.
        """
        # A killed process leaves names that are seen but not durable; this owner builds on them.
        for folder in StudyFolder.WRITTEN:
            store.settle(folder)
        ownership.check()
        store.sweep()
        reader = reader or StudyReader(store)
        replay, history = reader.read_both()
        log = cls(reader, ownership, replay)
        ownership.check()  # else a newer owner's decisions may be in what was read
        opened = Opened(
            budget=history.budget if budget is None else budget,
            accepted=tuple(_accepted(trial) for trial in history.trials if trial.is_open),
            previous=tuple(sorted(reader.segments.lengths.items())),
        )
        log.record(opened)
        for generation, _ in opened.previous:
            reader.segments.pack(generation, whole=True, by=log.generation)
        log.fold()
        return log

    @property
    def generation(self) -> int:
        """The generation in which this log writes; attempts started under it carry it."""
        return self.ownership.generation

    def put_prepared(self, prepared: Mapping[str, Any]) -> None:
        """Write down what was found out about the data; raises `StorageError`."""
        self.ownership.check()
        self._store.write("prepared", prepared)

    def record(self, *decisions: Decision) -> tuple[Decision, ...]:
        """Log decisions that become true together; durable when this returns.

        An `Ended` or `Released` without an epoch gets the last one that was measured.
        After a `StorageError` the decisions may or may not be in the log; calling again with
        the same ones is right in both cases.

        Returns the decisions as they were logged. `InputError` if one contradicts what was
        decided or measured before; then none is logged. `StudyLocked` if another process writes.
        """
        self.ownership.ensure()
        if not decisions:
            return ()
        uncertain = self._uncertain
        if self._settle_uncertain() and uncertain is not None and uncertain.given == decisions:
            return uncertain.logged
        draft = _Draft(decisions, self._as_to_log(decisions))
        if self._ahead is None:
            self._write(draft)
        else:
            self._ahead.apply_all(draft.logged, self.generation)
            gathered = self._gathered
            self._gathered = _Draft(gathered.given + draft.given, gathered.logged + draft.logged)
        return draft.logged

    @contextmanager
    def together(self) -> Iterator[None]:
        """Log all that is recorded meanwhile at once, also if something is raised meanwhile.

        It is durable when this is left, not before: nothing may be done meanwhile that follows
        from it. Leaving it raises what `record` raises.
        """
        self._settle_uncertain()
        self._ahead = self._replay.preview()
        try:
            yield
        finally:
            draft, self._gathered, self._ahead = self._gathered, _Draft(), None
            if draft.logged:
                self._write(draft)

    def fold(self) -> None:
        """Fold ended trials and pack the log: fewer objects, the same study.

        Loses nothing wherever it is interrupted. An error leaves work for the next call.
        """
        self.ownership.check()
        self.reader.epochs.fold(self._replay.trials, self.generation)
        self.reader.segments.pack(self.generation, whole=False, by=self.generation)

    def history(self) -> History:
        """Return the study as it is now; raises what `StudyReader.read` raises."""
        return self.reader.read()

    def trial(self, number: int) -> TrialRecord:
        """Return one trial as it is now; raises what `StudyReader.read` raises, or KeyError."""
        return self.reader.epochs.of_trial((self._ahead or self._replay).trials[number])

    def _as_to_log(self, decisions: Sequence[Decision]) -> tuple[Decision, ...]:
        """Return decisions as they are to be logged, once they were tried on a preview."""
        ahead, logged = (self._ahead or self._replay).preview(), []
        try:
            for decision in decisions:
                logged.append(self._complete(as_logged(decision), ahead))
                ahead.apply(logged[-1], self.generation)
        except (DamagedRecord, InputError):
            self.ownership.check()  # a newer owner may have tidied away what was looked for
            raise
        return tuple(logged)

    def _complete(self, decision: Decision, ahead: Replay) -> Decision:
        """Fill in, or check, up to which epoch an end or a release counts."""
        if not isinstance(decision, Ended | Released) or decision.number not in ahead.trials:
            return decision
        # Seen is not yet durable, and what is logged must not depend on what can be lost.
        self._store.settle(self._store.EPOCHS)
        return _completed(decision, self.reader.epochs.of_trial(ahead.trials[decision.number]))

    def _write(self, draft: "_Draft") -> None:
        path = segment_path(self.generation, self._sequence)
        data = encode_segments(self.generation, self._sequence, [draft.logged])
        try:
            if not self._store.put_new(path, data):
                raise StudyLocked(f"{self._store.uri}/{path} was written by another process")
            # A new owner reads after it has claimed: what is here without a newer claim, it sees.
            self.ownership.check()
        except StorageError:
            self._uncertain = draft
            raise
        self._advance(draft.logged)

    def _settle_uncertain(self) -> bool:
        """Tell whether the write that failed last has become visible all the same; count it."""
        if self._uncertain is None:
            return False
        logged = self._uncertain.logged
        path = segment_path(self.generation, self._sequence)
        try:
            found = self._store.get(path)
        except FileNotFoundError:
            self._uncertain = None
            return False
        if found != encode_segments(self.generation, self._sequence, [logged]):
            raise StudyLocked(f"{self._store.uri}/{path} was written by another process")
        self._store.settle(self._store.LOG)
        self.ownership.check()
        self._uncertain = None
        self._advance(logged)
        return True

    def _advance(self, logged: tuple[Decision, ...]) -> None:
        self.reader.segments.add(self.generation, self._sequence, logged)
        self._sequence += 1
        self.ownership.logged = self._sequence
        self._replay.apply_all(logged, self.generation)


class _Draft(NamedTuple):
    """Decisions that are to become true at the same moment."""

    given: tuple[Decision, ...] = ()
    logged: tuple[Decision, ...] = ()
    """The same, completed."""


def _accepted(trial: TrialRecord) -> Accepted:
    """Return what a new owner accepts of a trial's open attempt: all that is there."""
    newest = trial.attempts[-1]
    return Accepted(
        number=trial.number,
        attempt=newest.attempt,
        generation=newest.generation,
        epoch=trial.last_epoch(newest.attempt),
    )


def _completed(decision: Ended | Released, trial: TrialRecord) -> Ended | Released:
    """Return an end, or a release, with the last epoch that counts; unsaid, the last measured."""
    newest, measured = trial.attempts[-1], trial.num_epochs
    if isinstance(decision, Released):
        measured = trial.last_epoch(decision.attempt)
        if newest.last is not None and newest.attempt == decision.attempt:
            measured = newest.last  # taken over: decided when this generation was opened
    if decision.epoch is None:
        return replace(decision, epoch=measured)
    if decision.epoch > measured:
        raise InputError(
            f"trial {decision.number} has {measured} measured epochs, "
            f"it cannot be {decision.kind} after {decision.epoch}"
        )
    return decision
