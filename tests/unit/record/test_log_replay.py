"""Writers, readers and failures in any order leave one history."""

import errno
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import search.record.epochs
import search.record.segments
from search.errors import InputError, StorageError, StorageFull
from search.record.decisions import (
    Asked,
    Attempted,
    Decision,
    Ended,
    Released,
    Retried,
    Stopped,
    Tested,
)
from search.record.history import History
from search.record.log import StudyLog
from search.record.reader import StudyReader
from tests.support.faulty_files import Disk, MemoryFiles, empty_disk
from tests.support.scripted_study import (
    EPOCHS,
    FOLDER,
    STATES,
    Player,
    ask,
    measured,
    memory_store,
    open_log,
    reopen,
    small_packs,
    table,
)
from trainables.storage.sealed_json import DamagedRecord
from trainables.storage.store import Store
from trainables.trial.measurement import write


@pytest.mark.usefixtures("small_packs")
def test_every_prefix_of_the_log_is_a_valid_history(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search.record.segments.SegmentFiles, "pack", lambda *_, **__: None)
    files = MemoryFiles(empty_disk())
    Player(files).play()
    store = Store(FOLDER, files=files)
    whole = StudyReader(store).read()
    segments = store.list("log")

    for path in reversed(segments[1:]):
        store.delete(path)
        history = StudyReader(store).read()
        for trial, complete in zip(history.trials, whole.trials, strict=False):
            assert trial.config == complete.config
            measurements = trial.measurements
            assert measurements == complete.measurements[: len(measurements)]
    assert StudyReader(store).read().trials == ()
    assert len(segments) == 17
    store.delete(segments[0])
    with pytest.raises(DamagedRecord, match="log is missing"):
        StudyReader(store).read()


step = st.tuples(
    st.sampled_from(
        [
            "ask",
            "measure",
            "measure",
            "measure",
            "late",
            "attempt",
            "release",
            "stop",
            "end",
            "retry",
            "fold",
            "reopen",
            "test",
        ]
    ),
    st.integers(0, 3),
    st.none() | st.integers(0, 4),
)


@given(st.lists(step, min_size=5, max_size=60))
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_happens_the_writer_and_a_fresh_reader_agree(
    steps: list[tuple[str, int, int | None]],
) -> None:
    with small_packs(trials=2, segments=3):
        log = open_log(memory_store())
        ask(log, 0)
        for name, number, epoch in steps:
            before = log.history()
            log, is_refused = take(log, before, name, number % len(before.trials), epoch)
            after = StudyReader(log._store).read()
            assert after == log.history()
            assert not is_refused or after == before
            assert keeps(before, after, name)


def take(
    log: StudyLog, history: History, name: str, number: int, epoch: int | None
) -> tuple[StudyLog, bool]:
    """Do what a step says to a trial; tell whether it was refused."""
    trial = history.trials[number]
    attempt = len(trial.attempts)
    state: Any = ("complete", "stopped", "failed", "interrupted")[len(trial.releases) % 4]
    decisions: dict[str, Callable[[], Decision]] = {
        "ask": lambda: Asked(number=len(history.trials), config={"lr": 0.1}),
        "attempt": lambda: Attempted(number=number, attempt=attempt + 1),
        "stop": lambda: Stopped(number=number, epoch=max(1, epoch or 0)),
        "end": lambda: Ended(number=number, state=state, epoch=epoch),
        "release": lambda: Released(
            number=number, attempt=attempt, cause="lost", charged=True, epoch=epoch
        ),
        "retry": lambda: Retried(number=number),
        "test": lambda: Tested(number=number, epoch=1, losses={"a": 1.0}, metrics={}),
    }
    if name == "reopen":
        return reopen(log), False
    try:
        if name == "fold":
            log.fold()
        elif name == "measure":
            one = measured(number, attempt, len(trial.measurements) + 1, log.generation)
            write(log._store, one)
        elif name == "late":
            write(log._store, measured(number, 1, 1 + (epoch or 0), 1))
        else:
            log.record(decisions[name]())
    except InputError:
        return log, True
    return log, False


def keeps(before: History, after: History, name: str) -> bool:
    """No epoch disappears, unless a decision says that it does not count."""
    if name in {"stop", "end", "release"}:
        return True
    return all(
        {m.epoch for m in old.measurements} <= {m.epoch for m in new.measurements}
        for old, new in zip(before.trials, after.trials, strict=False)
    )


class Stepped(MemoryFiles):
    """Lets the writer make some operations between any two of the reader's calls."""

    def __init__(self, disk: Disk, step: Callable[[], None]) -> None:
        super().__init__(disk)
        self._step = step

    def read(self, path: str, most: int) -> bytes:
        self._step()
        return super().read(path, most)

    def scan(self, path: str) -> list[tuple[str, bool]]:
        self._step()
        return super().scan(path)


@pytest.mark.usefixtures("small_packs")
@pytest.mark.parametrize("pace", [1, 2, 3, 5, 8, 13, 40])
def test_a_reader_is_never_confused_by_a_writer(pace: int) -> None:
    disk = empty_disk()
    turn, done = threading.Semaphore(0), threading.Semaphore(0)

    def wait(operation: str) -> None:
        done.release()
        turn.acquire()

    player = Player(MemoryFiles(disk, wait))

    def play() -> None:
        player.play()
        player.files.watch = lambda operation: None  # type: ignore[attr-defined]
        done.release()

    def step() -> None:
        for _ in range(pace):
            if writer.is_alive():
                turn.release()
                done.acquire(timeout=10)

    writer = threading.Thread(target=play)
    writer.start()
    done.acquire()
    reader = StudyReader(Store(FOLDER, files=Stepped(disk, step)))
    counts = [0]
    while writer.is_alive():
        known = player.acknowledged.copy()
        try:
            history = reader.read()
        except InputError:
            assert not known.is_created
            continue
        found = {(t.number, m.epoch) for t in history.trials for m in t.measurements}
        assert {(m.number, m.epoch) for m in known.measurements} <= found
        counts.append(len(found))

    assert counts == sorted(counts)
    assert len(counts) * pace >= 30
    assert table(reader.read()) == table(StudyReader(memory_store(disk)).read())


class FailingOnce(MemoryFiles):
    """Fails one operation, the ``at``-th from now, before or after it has taken effect."""

    def __init__(self, disk: Disk) -> None:
        super().__init__(disk, self._count)
        self.at = -1
        self.code = errno.EIO

    def _count(self, operation: str) -> None:
        self.at -= 1
        if self.at == -1 and operation != "remove":  # nobody depends on a removal
            raise OSError(self.code, os.strerror(self.code))


class Insistent(Player):
    """Makes a call again when the storage has failed it."""

    failures = 0

    def record(self, log: StudyLog, *decisions: Decision) -> None:
        self._twice(lambda: super(Insistent, self).record(log, *decisions))

    def measure(self, number: int, attempt: int, epochs: range, generation: int) -> None:
        for epoch in epochs:
            once = range(epoch, epoch + 1)
            self._twice(
                lambda once=once: super(Insistent, self).measure(number, attempt, once, generation)
            )

    def _twice(self, call: Callable[[], None]) -> None:
        try:
            call()
        except StorageError:
            self.failures += 1
            call()


@pytest.mark.slow
@pytest.mark.usefixtures("small_packs")
@pytest.mark.parametrize(
    "code", [pytest.param(errno.EIO, id="error"), pytest.param(errno.ENOSPC, id="full")]
)
def test_a_study_goes_on_after_a_failure_of_any_operation(code: int) -> None:
    failures, kinds = 0, set()
    for at in range(400):
        files = FailingOnce(empty_disk())
        files.at, files.code = at, code
        player = Insistent(files)
        try:
            player.play()
        except StorageError as error:
            kinds.add(type(error))
            player = Insistent(files)
            player.finish()
        failures += player.failures

        history = StudyReader(player.store()).read()
        assert {t.number: t.state for t in history.trials} == STATES
        assert [len(t.measurements) for t in history.trials] == list(EPOCHS.values())
        assert not [path for path in files.tree() if "/.tmp-" in path]
    assert failures > 100
    assert kinds == {StorageFull if code == errno.ENOSPC else StorageError}
