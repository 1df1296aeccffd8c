import os
import signal
import subprocess
import sys

import pytest

from search.cli import job as job_run
from search.errors import ClusterLost, InputError, NoRoom, StorageError, StorageFull, StudyLocked
from search.remote.request import JobRequest
from tests.support.processes import is_alive, wait_until
from tests.support.stub_study import ROOT

pytestmark = pytest.mark.slow

SUPERVISE = """
import sys
from search.cli.job import supervise
sys.exit(supervise([sys.executable, *sys.argv[1:]], pauses=(0.0, 0.0, float(60))))
"""


@pytest.fixture
def begun(tmp_path):
    """Return the file in which each start of a driver leaves a line."""
    return tmp_path / "starts"


def supervised(*driver):
    return subprocess.Popen(
        [sys.executable, "-c", SUPERVISE, *driver],
        env={**os.environ, "PYTHONPATH": ROOT},
        stderr=subprocess.PIPE,
        text=True,
    )


def driver(begun, *ends):
    """Return the arguments of a driver that ends in these ways, start after start."""
    code = (
        "import os, pathlib, signal, sys, time\n"
        f"starts = pathlib.Path({str(begun)!r})\n"
        "with starts.open('a') as file: print(os.getpid(), file=file)\n"
        f"exec({list(ends)!r}[len(starts.read_text().split()) - 1])\n"
    )
    return ["-c", code]


def starts(begun):
    return [int(pid) for pid in begun.read_text().split()] if begun.exists() else []


KILL = "os.kill(os.getpid(), signal.SIGKILL)"
WAIT = "signal.signal(15, lambda *_: sys.exit(130)); print('up', flush=True); time.sleep(600)"


@pytest.mark.parametrize(
    ("ends", "status", "num"),
    [
        pytest.param(["sys.exit(0)"], 0, 1, id="done"),
        pytest.param(["sys.exit(2)"], 2, 1, id="bad_input"),
        pytest.param(["sys.exit(130)"], 130, 1, id="interrupted"),
        pytest.param(["sys.exit(3)"], 1, 1, id="refused"),
        pytest.param([KILL, "sys.exit(0)"], 0, 2, id="killed_once"),
        pytest.param(["sys.exit(1)", KILL, "sys.exit(2)"], 2, 3, id="unexpected_then_killed"),
    ],
)
def test_a_driver_is_started_again_only_where_that_can_help(begun, ends, status, num):
    process = supervised(*driver(begun, *ends))
    process.communicate(timeout=60)

    assert process.returncode == status
    assert len(starts(begun)) == num


def test_after_the_last_restart_it_gives_up(begun, monkeypatch, capfd):
    code = driver(begun, *[KILL] * 9)

    status = job_run.supervise([sys.executable, *code], pauses=(0.0, 0.0))

    assert status == 1
    assert len(starts(begun)) == 3
    said = capfd.readouterr().err
    assert "the driver was ended by SIGKILL: start 2 of 2 in 0 s" in said
    assert "the driver was ended by SIGKILL once more: it is not started again" in said


def test_a_driver_that_ran_for_long_may_fail_as_often_again(begun, monkeypatch):
    monkeypatch.setattr(job_run, "LONG_RUN_SECONDS", 0.0)
    code = driver(begun, *[KILL] * 4, "sys.exit(0)")

    assert job_run.supervise([sys.executable, *code], pauses=(0.0,)) == 0
    assert len(starts(begun)) == 5


def test_on_the_signal_that_all_get_it_only_waits_for_the_driver(begun, monkeypatch):
    process = supervised(*driver(begun, WAIT))
    wait_until(lambda: len(starts(begun)) == 1)
    [pid] = starts(begun)
    wait_until(lambda: _catches_sigterm(pid))
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    assert process.poll() is None

    os.kill(pid, signal.SIGTERM)
    process.communicate(timeout=60)

    assert process.returncode == 130
    assert len(starts(begun)) == 1


def test_a_signal_in_a_pause_ends_it(begun):
    process = supervised(*driver(begun, KILL, KILL, KILL))
    wait_until(lambda: len(starts(begun)) == 3)
    for line in process.stderr:
        if "start 3 of 3" in line:
            break
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)

    assert process.returncode == 130
    assert len(starts(begun)) == 3


def test_a_driver_does_not_outlive_who_watches_over_it(tmp_path):
    code = (
        "import os, pathlib, signal, time\n"
        "from search.cli.supervisor import ends_with\n"
        "assert ends_with(os.getppid(), signal.SIGTERM)\n"
        f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid()))\n"
        "time.sleep(600)\n"
    )
    process = supervised("-c", code)
    wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    process.kill()
    process.communicate(timeout=30)

    wait_until(lambda: not is_alive(int((tmp_path / "pid").read_text())), 30)


def _catches_sigterm(pid):
    with open(f"/proc/{pid}/status") as file:
        [mask] = [line.split()[1] for line in file if line.startswith("SigCgt")]
    return bool(int(mask, 16) & 1 << signal.SIGTERM - 1)


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        pytest.param(InputError("no such data"), 2, "twohead: no such data\n", id="bad_input"),
        pytest.param(StudyLocked("held"), 3, "twohead: held\n", id="locked"),
        pytest.param(NoRoom("no node"), 3, "twohead: no node\n", id="no_room"),
        pytest.param(StorageFull("no space"), 3, "twohead: no space\n", id="storage_full"),
        pytest.param(StorageError("cut off"), 1, "twohead: cut off\n", id="storage_gone"),
        pytest.param(ClusterLost("no Ray"), 1, "twohead: no Ray\n", id="ray_gone"),
        pytest.param(KeyboardInterrupt(), 130, "twohead: interrupted\n", id="interrupted"),
        pytest.param(
            RuntimeError("x"), 1, "twohead: unexpected RuntimeError: x; the trace", id="unexpected"
        ),
    ],
)
def test_what_goes_wrong_in_a_driver_is_said_and_told_apart(
    error, status, said, tmp_path, monkeypatch, capsys
):
    def fail(path):
        raise error

    monkeypatch.setattr(JobRequest, "read", fail)
    monkeypatch.setattr(job_run, "ends_with", lambda *_: True)

    assert job_run.drive(tmp_path / "study.json") == status
    assert capsys.readouterr().err.startswith(said)
