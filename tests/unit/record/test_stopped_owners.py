"""Owners that are stopped, succeeded, and go on: real processes with short leases."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from search.errors import StudyLocked
from search.record.heartbeat import Pace
from search.record.ownership import claim, holder
from trainables.storage.store import Store

PACE = Pace(beat_seconds=0.1, lease_seconds=1.0)

OWN = """
import sys
from search.record.decisions import Asked
from search.errors import StudyLocked
from search.record.heartbeat import Pace
from search.record.log import StudyLog
from search.record.ownership import claim
from trainables.storage.store import Store
store = Store(sys.argv[1])
pace = Pace(beat_seconds=0.1, lease_seconds=1.0)
with claim(store, patience=60.0, pace=pace) as ownership:
    StudyLog.create(store, {"name": "digits"})
    log = StudyLog.open_for_writing(store, ownership, budget={})
    print(log.generation, flush=True)
    for number, line in enumerate(sys.stdin):
        try:
            if line == "ensure\\n":
                log.ownership.ensure()
            else:
                log.record(Asked(number=number, config={}))
            print("done", flush=True)
        except StudyLocked as error:
            print(error, flush=True)
"""


class Owner:
    def __init__(self, folder: Path) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            [sys.executable, "-c", OWN, str(folder)], stdin=pipe, stdout=pipe, text=True
        )
        self.first = self.line()

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def tell(self, what: str) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()
        return self.line()

    def end(self) -> None:
        self.process.communicate()


def test_a_stopped_owner_is_succeeded_and_is_told_when_it_goes_on(tmp_path: Path) -> None:
    stopped = Owner(tmp_path)
    assert stopped.tell("record") == "done"
    stopped.process.send_signal(signal.SIGSTOP)

    next_one = claim(Store(tmp_path), patience=60.0, pace=PACE)

    assert next_one.generation == 2
    stopped.process.send_signal(signal.SIGCONT)
    told = stopped.tell("ensure")
    assert "was taken over by process" in told, told
    assert "was taken over by process" in stopped.tell("record")
    next_one.check()
    stopped.end()
    next_one.release()


def test_the_lock_of_a_dead_one_does_not_replace_a_living_owner_without_it(
    tmp_path: Path,
) -> None:
    store = Store(tmp_path)
    stopped = Owner(tmp_path)
    stopped.process.send_signal(signal.SIGSTOP)
    with claim(store, patience=60.0, pace=PACE) as next_one:
        stopped.process.kill()
        stopped.end()  # now nobody has the lock

        with pytest.raises(StudyLocked, match="is being run by process"):
            claim(store)
        assert holder(store) is not None
        next_one.check()


def test_a_killed_owner_is_succeeded_at_once_and_without_a_word_of_its_lease(
    tmp_path: Path,
) -> None:
    killed = Owner(tmp_path)
    killed.process.kill()
    killed.end()

    assert holder(Store(tmp_path)) is None
    with claim(Store(tmp_path)) as ownership:
        assert ownership.generation == 2


@pytest.mark.slow
def test_owners_stopped_and_succeeded_in_turn_lose_nothing(tmp_path: Path) -> None:
    owners = []
    for generation in range(1, 6):
        owner = Owner(tmp_path)
        assert owner.first == str(generation)
        owner.process.send_signal(signal.SIGSTOP)
        owners.append(owner)
    with claim(Store(tmp_path), patience=60.0, pace=PACE) as last:
        for owner in owners:
            owner.process.send_signal(signal.SIGCONT)
        told = [owner.tell("record") for owner in owners]
        last.check()

    assert all("was taken over by process" in answer for answer in told), told
    for owner in owners:
        owner.end()
