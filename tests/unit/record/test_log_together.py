"""Decisions that are logged at once: none before the others, and all whatever happens."""

import errno
import os
from collections.abc import Iterator

import pytest

from search.errors import InputError, StorageError
from search.record.decisions import Asked, Closed, Ended
from search.record.log import StudyLog
from search.record.reader import StudyReader
from tests.support.faulty_files import MemoryFiles
from tests.support.scripted_study import ask, measure, memory_store, open_log
from trainables.storage.store import Store


@pytest.fixture
def store() -> Store:
    return memory_store()


@pytest.fixture(name="log")
def log_of_one_trial(store: Store) -> Iterator[StudyLog]:
    log = open_log(store, trials=2)
    ask(log, 0)
    measure(log, 0, 1, 1, 2)
    yield log
    log.ownership.release()


def kinds(log: StudyLog) -> list[list[str]]:
    return [[d.kind for d in segment] for _, segment in log.reader.segments.read()]


def end_and_ask(log: StudyLog, number: int = 1) -> None:
    log.record(Ended(number=0, state="complete"))
    log.record(Asked(number=number, config={"lr": 0.2}))


def test_what_is_recorded_together_is_one_segment_and_known_here_at_once(
    store: Store, log: StudyLog
) -> None:
    with log.together():
        end_and_ask(log)

        assert [log.trial(number).state for number in (0, 1)] == ["complete", "running"]
        assert len(log.trial(0).measurements) == 2
        assert [trial.state for trial in StudyReader(store).read().trials] == ["running"]
    assert [trial.state for trial in StudyReader(store).read().trials] == ["complete", "running"]
    assert kinds(log)[-1] == ["ended", "asked"]

    log.record(Ended(number=1, state="failed", reason="NaN"))
    assert kinds(log)[-1] == ["ended"]


def test_nothing_is_written_where_nothing_was_recorded(log: StudyLog) -> None:
    before = kinds(log)

    with log.together():
        assert log.trial(0).state == "running"

    assert kinds(log) == before


def test_what_was_recorded_is_logged_also_if_something_is_raised_after_it(
    store: Store, log: StudyLog
) -> None:
    with pytest.raises(InputError, match="asked needs number"), log.together():
        end_and_ask(log, 5)

    assert [trial.state for trial in StudyReader(store).read().trials] == ["complete"]
    assert kinds(log)[-1] == ["ended"]


@pytest.mark.parametrize(
    ("cut", "states"),
    [
        pytest.param("link", ["running"], id="not_written"),
        pytest.param("sync_folder", ["complete", "running"], id="written_all_the_same"),
    ],
)
def test_after_a_write_that_failed_the_log_can_be_closed(
    cut: str, states: list[str], store: Store, log: StudyLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(files: MemoryFiles, *paths: str) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def end_and_cut() -> None:
        with monkeypatch.context() as patch, log.together():
            end_and_ask(log)
            patch.setattr(MemoryFiles, cut, fail)

    with pytest.raises(StorageError, match="cannot create"):
        end_and_cut()
    log.record(Closed(reason="interrupted"))

    assert [trial.state for trial in StudyReader(store).read().trials] == states
    assert kinds(log)[-1] == ["closed"]
