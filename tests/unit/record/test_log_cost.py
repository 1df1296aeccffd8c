"""What a decision, and opening a study, look at: nothing that grows with it, and nothing twice."""

import pytest

from search.record.decisions import Ended, Stopped
from search.record.log import StudyLog
from search.record.ownership import claim
from search.record.reader import StudyReader
from tests.support.faulty_files import MemoryFiles
from tests.support.scripted_study import FOLDER, ask, measure, memory_store, open_log
from trainables.storage.store import Store


@pytest.fixture
def store() -> Store:
    return memory_store()


class Scans:
    """Notes which folders are listed, and which objects are read, on a disk in memory."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.listed: list[str] = []
        self.read: list[str] = []
        scan, read = MemoryFiles.scan, MemoryFiles.read

        def noting_scan(files: MemoryFiles, path: str) -> list[tuple[str, bool]]:
            self.listed.append(path.removeprefix(f"{FOLDER}/"))
            return scan(files, path)

        def noting_read(files: MemoryFiles, path: str, most: int) -> bytes:
            self.read.append(path.removeprefix(f"{FOLDER}/"))
            return read(files, path, most)

        monkeypatch.setattr(MemoryFiles, "scan", noting_scan)
        monkeypatch.setattr(MemoryFiles, "read", noting_read)


def test_a_trials_decisions_list_nothing_that_grows_with_the_study(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = open_log(store, trials=2)
    scans = Scans(monkeypatch)

    ask(log, 0)
    measure(log, 0, 1, 1, 2, 3)
    log.record(Stopped(number=0, epoch=2), Ended(number=0, state="stopped"))

    assert set(scans.listed) == {"owner"}
    assert len(log.trial(0).measurements) == 2


def test_an_owner_reads_nothing_that_was_read_for_it_before(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = open_log(store, trials=2)
    for number in range(2):
        ask(log, number)
        measure(log, number, 1, 1, 2)
    log.record(Ended(number=0, state="complete"))
    log.fold()
    log.ownership.release()
    scans = Scans(monkeypatch)
    reader = StudyReader(store)
    before = reader.read()

    taken = StudyLog.open_for_writing(store, claim(store), reader=reader)

    sealed = [path for path in scans.read if path.split("/")[0] in {"log", "epochs", "trials"}]
    assert len(sealed) == len(set(sealed)) > 0
    assert [trial.measurements for trial in taken.history().trials] == [
        trial.measurements for trial in before.trials
    ]
