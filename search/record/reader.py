"""Reads a study's record, also while another process writes it; needs no lock."""

from contextlib import suppress
from typing import Any

from search.errors import InputError
from search.record.compaction import Moved
from search.record.epochs import EpochFiles
from search.record.heartbeat import Standing, look, newest_claim
from search.record.history import History
from search.record.replay import Replay
from search.record.segments import SegmentFiles, has_log, segment_path
from trainables.storage.sealed_json import DamagedRecord
from trainables.storage.store import Store
from trainables.storage.study_folder import StudyFolder

LOGGED_TRIES = 2
"""How often the log is read again if it lacks what an owner says to have logged."""
READ_TRIES = 20
"""How often a reader looks again for what a writer may just have folded away."""


class StudyReader:
    """Reads a study again and again, also while another process writes it; needs no lock.

    Keeps what cannot change, so that a further `read` costs little more than what is new.
    """

    def __init__(self, store: Store) -> None:
        self.store = StudyFolder.of(store)
        self.segments = SegmentFiles(store)
        self.epochs = EpochFiles(store)

    def read(self) -> History:
        """Return the study as it is now.

        `InputError` if there is no study here, `NewerFormat` if a newer version wrote it, and
        `DamagedRecord` if an object, which is named, is missing, foreign or not what was written.
        """
        return self.read_both()[1]

    def read_whole(self) -> tuple[History, Standing]:
        """Return the study as it is now, and who has shown life in it.

        Its owners say with each sign of life how much they have logged: a log that lacks its
        newest segments is no study at an earlier moment but a damaged one, a `DamagedRecord`.
        """
        history = self.read()
        standing = look(self.store, newest_claim(self.store), since=history.generation)
        for _ in range(LOGGED_TRIES):
            with suppress(Moved):
                self._check_logged(standing, history.generation)
                return history, standing
            history = self.read()  # also what was logged since it was read
        self._check_logged(standing, history.generation)
        return history, standing

    def _check_logged(self, standing: Standing, newest: int) -> None:
        for found in standing.signs:
            logged = 0 if found.sign is None or found.generation < newest else found.sign.logged
            if self.segments.lengths.get(found.generation, 0) < logged:
                raise Moved.of(segment_path(found.generation, logged - 1))

    def read_both(self) -> tuple[Replay, History]:
        """Return the study as it is now, also as its decisions alone."""
        study = read_study(self.store)
        for _ in range(READ_TRIES - 1):
            with suppress(Moved):
                return self._read(study)
        return self._read(study)

    def replay(self) -> Replay:
        """Return the state after all decisions that count."""
        replay = Replay()
        for generation, segment in self.segments.read():
            try:
                replay.apply_all(segment, generation)
            except InputError as error:
                raise DamagedRecord(
                    f"the log of {self.store!r} contradicts itself in generation {generation}: "
                    f"{error}"
                ) from error
        return replay

    def _read(self, study: dict[str, Any]) -> tuple[Replay, History]:
        replay = self.replay()
        prepared = self.store.read("prepared")
        if prepared is not None and not replay.generation:  # its writer had opened the log before
            raise Moved.of(f"{self.store.uri}/{self.store.LOG}")
        history = History(
            study=study,
            prepared=prepared,
            budget=replay.budget,
            generation=replay.generation,
            is_closed=replay.closed is not None,
            close_reason=replay.closed.reason if replay.closed else "",
            trials=tuple(self.epochs.join(replay.trials)),
        )
        return replay, history


def read_study(folder: StudyFolder) -> dict[str, Any]:
    """Return what `StudyLog.create` wrote; `InputError` if there is no study here."""
    study = folder.read("study")
    if study is not None:
        return study
    if has_log(folder):
        raise DamagedRecord(
            f"{folder.uri}/study.json is missing beside its log; restore it from a copy"
        )
    raise InputError(f"{folder.uri} holds no study: there is no study.json in it")
