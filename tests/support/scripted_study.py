"""A small study with everything in it that a record can hold, played step by step."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from msgspec.structs import replace

import search.record.epochs
import search.record.segments
from search.record.decisions import (
    Asked,
    Attempted,
    Closed,
    Decision,
    Ended,
    Released,
    Stopped,
    Tested,
)
from search.record.heartbeat import Pace
from search.record.history import History
from search.record.log import StudyLog
from search.record.ownership import Ownership, claim
from tests.support.faulty_files import Disk, MemoryFiles, empty_disk
from trainables.storage.local import LocalFiles
from trainables.storage.store import Store
from trainables.trial.measurement import Measurement, write

FOLDER = "/studies/digits"
STUDY = {"name": "digits", "heads": ["c_output", "r_output"]}
PREPARED = {"fingerprint": "abc"}
EPOCHS = {0: 4, 1: 3, 2: 3, 3: 1}
"""Where each trial is at the study's end."""
STATES = {0: "complete", 1: "stopped", 2: "complete", 3: "failed"}


def measured(number: int, attempt: int, epoch: int, generation: int) -> Measurement:
    """Return what an epoch gives: a function of the trial and the epoch alone."""
    return Measurement(
        number=number,
        attempt=attempt,
        epoch=epoch,
        generation=generation,
        losses={"c_output": 1.0 + number / 8 + 1 / epoch, "r_output": 0.5 / epoch},
        metrics={"val_c_output_accuracy": epoch / 10},
        loss=3.0 / epoch,
        seconds={"train": 0.25 * attempt, "save": 0.01},
        checkpoint=f"checkpoints/{number:06d}/{generation:06d}-{attempt:03d}-{epoch:04d}",
        checkpoint_sha256=f"{number * 1000 + epoch:064x}",
    )


@dataclass
class Acknowledged:
    """What callers were told is kept, and what was under way."""

    decisions: list[Decision] = field(default_factory=list)
    measurements: list[Measurement] = field(default_factory=list)
    pending: object = None
    is_created: bool = False
    is_prepared: bool = False

    def copy(self) -> "Acknowledged":
        return Acknowledged(
            decisions=list(self.decisions),
            measurements=list(self.measurements),
            pending=self.pending,
            is_created=self.is_created,
            is_prepared=self.is_prepared,
        )


class Player:
    """Makes the study's calls on one file system and notes what was acknowledged."""

    def __init__(self, files: LocalFiles, pace: Pace | None = None) -> None:
        self.files = files
        self.pace = pace
        self.is_owner = False
        self.acknowledged = Acknowledged()

    def store(self) -> Store:
        """Return the folder as a process of its own sees it."""
        return Store(FOLDER, files=self.files)

    @contextmanager
    def owner(self, store: Store) -> Iterator[Ownership]:
        with claim(store, pace=self.pace) as ownership:
            self.is_owner = True
            try:
                yield ownership
            finally:
                self.is_owner = False

    def record(self, log: StudyLog, *decisions: Decision) -> None:
        self.acknowledged.pending = decisions
        self.acknowledged.decisions.extend(log.record(*decisions))
        self.acknowledged.pending = None

    def together(self, log: StudyLog, *decisions: Decision) -> None:
        self.acknowledged.pending = decisions
        with log.together():
            logged = [one for decision in decisions for one in log.record(decision)]
        self.acknowledged.decisions.extend(logged)
        self.acknowledged.pending = None

    def measure(self, number: int, attempt: int, epochs: range, generation: int) -> None:
        actor = self.store()
        for epoch in epochs:
            one = measured(number, attempt, epoch, generation)
            self.acknowledged.pending = one
            write(actor, one)
            self.acknowledged.measurements.append(one)
            self.acknowledged.pending = None

    def play(self, between: Callable[[], None] = lambda: None) -> None:
        """Play the whole study: two owners, lost attempts, late writes, an extension."""
        self.first_owner()
        between()
        self.second_owner()

    def first_owner(self) -> None:
        store = self.store()
        with self.owner(store) as ownership:
            StudyLog.create(store, STUDY)
            self.acknowledged.is_created = True
            log = StudyLog.open_for_writing(store, ownership, budget={"trials": 3, "epochs": 3})
            log.put_prepared(PREPARED)
            self.acknowledged.is_prepared = True
            self.record(log, Asked(number=0, config={"lr": 0.1}, origin="reference"))
            self.record(log, Asked(number=1, config={"lr": 0.2}, system={"tpe:seed": 7}))
            self.measure(0, 1, range(1, 4), 1)
            self.measure(1, 1, range(1, 3), 1)
            self.record(log, Released(number=1, attempt=1, cause="lost", charged=True))
            self.record(log, Attempted(number=1, attempt=2))
            self.measure(1, 2, range(2, 4), 1)
            self.record(log, Stopped(number=1, epoch=3))
            self.together(
                log,
                Ended(number=1, state="stopped", epoch=3),
                Asked(number=2, config={"lr": 0.3}),
            )
            log.fold()
            self.record(log, Ended(number=0, state="complete"))
            log.fold()
            self.measure(2, 1, range(1, 3), 1)

    def second_owner(self) -> None:
        store = self.store()
        with self.owner(store) as ownership:
            log = StudyLog.open_for_writing(store, ownership, budget={"trials": 4, "epochs": 4})
            # An actor of the first owner, too late; nobody may ever see these figures.
            write(self.store(), replace(measured(2, 1, 3, 1), loss=99.0))
            self.record(log, Released(number=2, attempt=1, cause="driver", charged=False, epoch=2))
            self.record(log, Attempted(number=2, attempt=2))
            self.measure(2, 2, range(3, 4), 2)
            self.record(log, Ended(number=2, state="complete"))
            log.fold()
            self.record(log, Asked(number=3, config={"lr": 0.4}))
            self.measure(3, 1, range(1, 2), 2)
            self.record(log, Ended(number=3, state="failed", reason="loss became NaN"))
            self.record(log, Attempted(number=0, attempt=2))
            self.measure(0, 2, range(4, 5), 2)
            self.record(log, Ended(number=0, state="complete", epoch=4))
            log.fold()
            self.record(
                log, Tested(number=0, epoch=4, losses={"c_output": 1.5}, metrics={}), Closed()
            )

    def finish(self) -> None:
        """Take the study over wherever it stands, and bring it to its end."""
        store = self.store()
        with self.owner(store) as ownership:
            StudyLog.create(store, STUDY)
            log = StudyLog.open_for_writing(store, ownership, budget={"trials": 4, "epochs": 4})
            log.put_prepared(PREPARED)
            for number in range(4):
                self._finish_trial(log, number)
                log.fold()
            self.record(log, Closed())

    def _finish_trial(self, log: StudyLog, number: int) -> None:
        trials = log.history().trials
        if number == len(trials):
            self.record(log, Asked(number=number, config={"lr": (number + 1) / 10}))
        elif trials[number].has_ended and len(trials[number].measurements) == EPOCHS[number]:
            return
        elif trials[number].stopped_at is None:
            attempt = len(trials[number].attempts) + 1
            self.record(log, Attempted(number=number, attempt=attempt))
        trial = log.trial(number)
        missing = range(len(trial.measurements) + 1, EPOCHS[number] + 1)
        self.measure(number, len(trial.attempts), missing, log.generation)
        if STATES[number] == "stopped" and trial.stopped_at is None:
            self.record(log, Stopped(number=number, epoch=EPOCHS[number]))
        self.record(log, Ended(number=number, state=STATES[number]))  # type: ignore[arg-type]


def table(history: History) -> list[tuple[int, str, int, dict[str, float]]]:
    """Return the study's result: (number, state, epoch, losses) of every epoch of every trial."""
    return [
        (trial.number, trial.state, epoch, dict(one.losses))
        for trial in history.trials
        for epoch, one in enumerate(trial.measurements, start=1)
    ]


def memory_store(disk: Disk | None = None) -> Store:
    """Return the study's folder on a disk in memory."""
    return Store(FOLDER, files=MemoryFiles(empty_disk() if disk is None else disk))


@contextmanager
def small_packs(trials: int = 2, segments: int = 4) -> Iterator[None]:
    """Let short scripts reach what takes 500 trials in a real study."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search.record.epochs, "BLOCK_SIZE", trials)
        patch.setattr(search.record.segments, "PACK_SIZE", segments)
        yield


def open_log(store: Store, **budget: Any) -> StudyLog:
    StudyLog.create(store, STUDY)
    return StudyLog.open_for_writing(store, claim(store), budget=budget)


def reopen(log: StudyLog) -> StudyLog:
    """Take over from an owner that was killed."""
    log.ownership.release()
    return StudyLog.open_for_writing(log._store, claim(log._store))


def measure(log: StudyLog, number: int, attempt: int, *epochs: int) -> None:
    for epoch in epochs:
        write(log._store, measured(number, attempt, epoch, log.generation))


def ask(log: StudyLog, number: int) -> None:
    log.record(Asked(number=number, config={"lr": 0.1}))
