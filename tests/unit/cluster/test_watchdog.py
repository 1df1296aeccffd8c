"""The process that ends a Ray of ours when its driver hangs or is gone; here Ray is acted."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from search.cluster.watchdog import LOCK, _processes_of, end_processes, remove_folder
from tests.support.processes import is_alive, kill, wait_until
from tests.support.stub_study import ROOT

pytestmark = pytest.mark.slow

SLEEP = "import time; time.sleep(1000)"
RENAMED = f"""
import ctypes, subprocess, sys
begun = subprocess.Popen([sys.executable, "-c", "{SLEEP}"])
print(begun.pid, flush=True)
begun.wait()
"""


def begin(*arguments, **options):
    return subprocess.Popen([sys.executable, "-c", SLEEP, *arguments], **options)


def renamed(name, **options):
    """Begin a process that shows another command than it has, as Ray's workers do."""
    return subprocess.Popen([name, "-c", SLEEP], executable=sys.executable, **options)


@pytest.fixture(name="acted")
def acted_processes(tmp_path):
    """Return processes that belong to the Ray below a folder, and such as do not."""
    root = tmp_path / "twohead-1"
    (root / "r" / "logs").mkdir(parents=True)
    other = tmp_path / "twohead-11"
    other.mkdir()
    log = open(root / "r" / "logs" / "worker.out", "w")  # noqa: SIM115
    parent = subprocess.Popen(
        [sys.executable, "-c", RENAMED, f"--temp-dir={root}/r"], stdout=subprocess.PIPE, text=True
    )
    own = {
        "named": begin(f"--temp-dir={root}/r"),
        "printing": begin(stdout=log),
        "renamed": renamed("ray::IDLE", pass_fds=(log.fileno(),)),
        "parent": parent,
    }
    others = {
        "of another folder": begin(f"--temp-dir={other}/r"),
        "with a file of the driver": begin(pass_fds=(log.fileno(),)),
        "of another Ray": renamed("ray::IDLE"),
    }
    begun = int(parent.stdout.readline())
    wait_until(lambda: all(is_alive(one.pid) for one in [*own.values(), *others.values()]))
    yield root, {begun, *(one.pid for one in own.values())}, others
    log.close()
    kill(begun)
    for one in [*own.values(), *others.values()]:
        one.kill()
        one.communicate()


def test_the_processes_of_a_ray_are_told_from_all_others(acted):
    root, own, _ = acted

    wait_until(lambda: _processes_of(str(root), spared=0) >= own, 30)  # each has begun by then
    assert _processes_of(str(root), spared=0) == own
    assert _processes_of(str(root), spared=max(own)) == own - {max(own)}


def test_the_processes_of_a_ray_are_ended_and_no_others(acted):
    root, own, others = acted
    wait_until(lambda: _processes_of(str(root), spared=0) >= own, 30)

    end_processes(str(root), spared=0)

    assert not any(is_alive(pid) for pid in own)
    assert all(is_alive(one.pid) for one in others.values())


DRIVER = f"""
import os, subprocess, sys, time
from search.cluster import watchdog
watchdog.STARTING_SECONDS, watchdog.LEAVING_SECONDS = map(float, sys.argv[2:4])
root = sys.argv[1]
lock = os.open(root + "/ray.lock", os.O_RDWR)
import fcntl
fcntl.flock(lock, fcntl.LOCK_EX)
with watchdog.watchdog(root, lock):
    ray = subprocess.Popen(
        [sys.executable, "-c", "{SLEEP}", "--temp-dir=" + root + "/r"], start_new_session=True
    )
    for phase in sys.argv[4].split():
        watchdog.tell(phase)
    print(ray.pid, flush=True)
    sys.stdin.read()
print("behind it", ray.wait(), flush=True)
"""


@pytest.fixture(name="drive")
def drivers(tmp_path):
    """Return what begins a driver, and tells the process that it has begun."""
    begun = []
    (tmp_path / "r").mkdir()
    (tmp_path / "ray.lock").touch()

    def drive(phases, starting=1000, leaving=1000):
        driver = subprocess.Popen(
            [sys.executable, "-c", DRIVER, str(tmp_path), str(starting), str(leaving), phases],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        begun.append(driver)
        return driver, int(driver.stdout.readline())

    yield drive
    for driver in begun:
        driver.kill()
        driver.communicate()


def is_locked(folder):
    with open(folder / "ray.lock") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def test_a_driver_that_is_killed_takes_its_ray_and_the_folder_with_it(drive, tmp_path):
    driver, ray = drive("starting running")

    driver.kill()

    wait_until(lambda: not is_alive(ray), 30)
    wait_until(lambda: not tmp_path.exists(), 30)
    tmp_path.mkdir()  # pytest's own


def test_a_driver_that_goes_on_leaves_its_ray_and_removes_the_folder_by_itself(drive, tmp_path):
    driver, ray = drive("starting running")
    assert is_alive(ray)

    out, _ = driver.communicate(timeout=60)

    assert (driver.returncode, out) == (0, f"behind it {-signal.SIGKILL}\n")
    assert (tmp_path / "r").exists()
    assert not is_locked(tmp_path)


@pytest.mark.parametrize(
    ("phases", "limits"),
    [
        pytest.param("", {"starting": 0.5}, id="before_it_starts"),
        pytest.param("starting running starting", {"starting": 0.5}, id="while_it_starts"),
        pytest.param("starting running leaving", {"leaving": 0.5}, id="while_it_ends"),
    ],
)
def test_a_ray_that_takes_too_long_is_ended_and_the_driver_is_not(drive, phases, limits):
    driver, ray = drive(phases, **limits)

    wait_until(lambda: not is_alive(ray), 30)

    assert driver.poll() is None
    assert driver.communicate(timeout=60)[0] == f"behind it {-signal.SIGKILL}\n"


def test_no_limit_holds_while_trials_run(drive):
    _, ray = drive("starting running", starting=0.5, leaving=0.5)

    time.sleep(1.5)

    assert is_alive(ray)


def test_no_limit_holds_while_the_driver_is_stopped(drive):
    driver, ray = drive("starting", starting=2)

    driver.send_signal(signal.SIGSTOP)
    time.sleep(3)

    assert is_alive(ray)


def test_a_signal_to_the_drivers_group_does_not_end_what_watches_over_it(drive):
    driver, ray = drive("starting running")
    children = Path(f"/proc/{driver.pid}/task/{driver.pid}/children").read_text()
    [watchdog] = {int(pid) for pid in children.split()} - {ray}

    assert os.getpgid(watchdog) == os.getsid(watchdog) == watchdog


def test_a_folder_that_cannot_go_whole_keeps_the_lock_that_the_next_sweep_finds_it_by(
    tmp_path, monkeypatch
):
    (tmp_path / "r").mkdir()
    (tmp_path / "r.log").touch()
    (tmp_path / LOCK).touch()

    with monkeypatch.context() as patched:
        patched.setattr("shutil.rmtree", lambda *args, **options: None)
        remove_folder(str(tmp_path))
    assert sorted(os.listdir(tmp_path)) == ["r", LOCK]

    remove_folder(str(tmp_path))
    assert not tmp_path.exists()
