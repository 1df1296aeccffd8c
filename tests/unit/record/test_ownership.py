import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from pyarrow import fs

from search.errors import StudyLocked
from search.record.heartbeat import _newest_generation
from search.record.ownership import claim, holder
from tests.support.clocks import an_hour_later
from trainables.storage.sealed_json import DamagedRecord
from trainables.storage.store import Store

HOLD = """
import sys
from search.record.ownership import claim
from trainables.storage.store import Store
ownership = claim(Store(sys.argv[1]))
print(ownership.generation, flush=True)
"""

RACE = """
import sys
from search.errors import StudyLocked
from search.record.ownership import claim
from trainables.storage.store import Store
sys.stdin.readline()
try:
    print(claim(Store(sys.argv[1])).generation, flush=True)
except StudyLocked as error:
    print(error, flush=True)
sys.stdin.readline()
"""


def start(code: str, study: Path) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-c", code, str(study)], stdin=pipe, stdout=pipe, text=True
    )


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def send_line(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def test_generations_count_the_owners(tmp_path: Path) -> None:
    store = Store(tmp_path / "study")

    for generation in (1, 2, 3):
        with claim(store) as ownership:
            ownership.check()
            assert ownership.generation == generation

    assert _newest_generation(store) == 3
    assert store.list("owner") == [f"owner/{n:06d}.json" for n in (1, 2, 3)]


def test_a_second_claim_is_refused_and_says_who_holds_the_study(tmp_path: Path) -> None:
    store = Store(tmp_path)

    with claim(store), pytest.raises(StudyLocked) as caught:
        claim(store)

    host = re.escape(os.uname().nodename)
    pattern = rf"process {os.getpid()} on {host} since 20\d\d-.*; wait for it or stop it"
    assert re.search(pattern, str(caught.value))
    assert _newest_generation(store) == 1


def test_the_holder_is_known_while_it_holds(tmp_path: Path) -> None:
    store = Store(tmp_path)

    assert holder(store) is None
    with claim(store):
        assert str(holder(store)).startswith(f"process {os.getpid()} on ")
    assert holder(store) is None


def test_a_released_ownership_allows_nothing(tmp_path: Path) -> None:
    ownership = claim(Store(tmp_path))
    ownership.release()
    ownership.release()

    with pytest.raises(StudyLocked, match="was released"):
        ownership.check()


def test_an_owner_notices_that_it_was_replaced(tmp_path: Path) -> None:
    store = Store(tmp_path)
    ownership = claim(store)

    with (
        claim(store, pace=an_hour_later()),
        pytest.raises(StudyLocked, match=r"taken over by process .*generation 1"),
    ):
        ownership.check()

    assert ownership.is_lost
    with pytest.raises(StudyLocked, match="taken over"):
        ownership.ensure()
    ownership.release()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_an_ownership_ends_with_its_process(number: signal.Signals, tmp_path: Path) -> None:
    process = start(HOLD + "sys.stdin.readline()", tmp_path)
    assert line_of(process) == "1"
    with pytest.raises(StudyLocked, match=f"process {process.pid} on"):
        claim(Store(tmp_path))

    process.send_signal(number)
    process.communicate()

    assert process.returncode == -number
    with claim(Store(tmp_path)) as ownership:
        assert ownership.generation == 2


def test_a_child_that_outlives_the_owner_does_not_keep_the_study(tmp_path: Path) -> None:
    fork = "import os\nif os.fork() == 0: sys.stdin.read(); os._exit(0)\n"
    process = start(HOLD + fork + "os.kill(os.getpid(), 9)", tmp_path)
    assert line_of(process) == "1"

    process.wait()  # the child waits for the end of its input, which is still open

    with claim(Store(tmp_path)) as ownership:
        assert ownership.generation == 2
    process.communicate()


@pytest.mark.slow
def test_of_racing_processes_exactly_one_wins(tmp_path: Path) -> None:
    for race in range(3):
        study = tmp_path / str(race)
        processes = [start(RACE, study) for _ in range(4)]

        for process in processes:
            send_line(process)
        answers = [line_of(process) for process in processes]
        for process in processes:
            process.communicate("\n")

        assert sorted(answers)[0] == "1"
        assert sum("is being run by" in answer for answer in answers) == 3


@pytest.mark.parametrize(
    ("files", "newest"),
    [
        pytest.param(["owner/000004.json"], 4, id="claims"),
        pytest.param(["log/000007-000000.json"], 7, id="segments"),
        pytest.param(["log/000003-000000-000499.json", "owner/000002.json"], 3, id="packs"),
        pytest.param(["owner/.nfs0001"], 0, id="hidden"),
    ],
)
def test_a_new_generation_follows_all_that_left_a_trace(
    files: list[str], newest: int, tmp_path: Path
) -> None:
    store = Store(tmp_path)
    for path in files:
        store.put(path, b"")

    assert _newest_generation(store) == newest


def test_a_foreign_claim_is_named(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put("owner/notes.json", b"")

    with pytest.raises(DamagedRecord, match=r"owner/notes\.json is no claim"):
        claim(store)
    assert holder(store) is None


def test_a_remote_study_has_one_owner_who_is_known() -> None:
    store = Store("mock://study", filesystem=fs._MockFileSystem())
    first = claim(store)

    with pytest.raises(StudyLocked, match=f"is being run by process {os.getpid()} on"):
        claim(store)
    assert str(holder(store)).startswith(f"process {os.getpid()} on ")
    first.release()

    assert holder(store) is None
    with claim(store) as second:
        assert (first.generation, second.generation) == (1, 2)
