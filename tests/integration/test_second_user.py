"""While a study runs, another user of the machine finds no way in, nor does what one has planted.

Only root can become that other user: elsewhere the test of it is skipped, and says so.
"""

import json
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from search.cluster.ray_folder import BASE_BYTES, SOCKET_BYTES
from search.doctor.ports import _line_of, _role_of, is_loopback, processes
from tests.integration.stranger import Mark
from tests.support import stub_run
from tests.support.driven_study import Driver
from tests.support.processes import kill_all
from tests.support.stub_study import ROOT, numbered, stub_study, trials_of, write_faults

pytestmark = pytest.mark.slow

WITHOUT_RIGHTS = "from tests.integration.stranger import become_another; become_another()"


@pytest.fixture
def second_user():
    """Skip where nobody else can be tried as; a CI that runs as root must not skip."""
    tried = subprocess.run(
        [sys.executable, "-c", WITHOUT_RIGHTS], cwd=ROOT, capture_output=True, text=True
    )
    if tried.returncode == 0:
        return
    why = f"NOT TESTED as a second user of the machine: {tried.stderr.strip()[-200:]}"
    if (os.environ.get("CI") or os.environ.get("TWOHEAD_CI")) and os.getuid() == 0:
        pytest.fail(why)
    pytest.skip(why)


@pytest.fixture(scope="module")
def base():
    """Make a short folder for temporary files, as open to all as /tmp is."""
    made = Path(tempfile.mkdtemp(prefix="b", dir="/tmp"))
    made.chmod(0o1777)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(name="waiting", scope="module")
def waiting_study(base, tmp_path_factory):
    """Run a study whose first trial waits for a file ``go``, and then for its process' death."""
    tmp_path = tmp_path_factory.mktemp("storage")
    study = {**numbered(2), "resources": {"concurrent": 1}}
    write_faults(tmp_path, {0: {"kind": "wait", "at": 1}})
    stub_run.plan_kill(tmp_path, "epoch2", -1)
    driver = Driver(tmp_path, study, RAY_TMPDIR=str(base), TMPDIR=str(base))
    driver.study, driver.storage = stub_study(tmp_path, **study), tmp_path
    driver.wait_for(lambda: stub_run.notes(tmp_path, "waiting"))
    yield driver
    kill_all(driver.tag)
    driver.process.wait()


def descendants(pid):
    """Return a process and all that it has begun, and what these have."""
    found = [pid]
    for one in found:
        for children in Path(f"/proc/{one}/task").glob("*/children"):
            found += map(int, children.read_text().split())
    return found


def listening(driver):
    """Return (who, address, port) of all that a driver and its Ray listen on."""
    own = set(descendants(driver.process.pid))
    sockets = [each for each in psutil.net_connections("tcp") if each.status == "LISTEN"]
    known = processes()
    return [
        (
            _role_of(_line_of(known[each.pid])) or "driver",
            each.laddr.ip.removeprefix("::ffff:"),
            each.laddr.port,
        )
        for each in sockets
        if each.pid in own
    ]


def ask_as_another(root, mark, ports):
    asked = {"root": str(root), "mark": str(mark), "ports": ports}
    stranger = subprocess.run(
        [sys.executable, "-m", "tests.integration.stranger", json.dumps(asked)],
        cwd=ROOT,
        env={**os.environ, "HOME": "/nonexistent"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert stranger.returncode == 0, stranger.stderr
    return json.loads(stranger.stdout)


def plant(root, mark):
    """Put into the place of Tune's own files, as only we can, what must never be read."""
    staged = list(root.glob("tune-*/staging/*/pool/driver_artifacts/000000-*"))
    assert staged
    for folder in staged:
        os.mkfifo(folder / "error.pkl")
        os.mkfifo(folder / "error.txt")
        stored = next(root.glob("tune-*/pool")) / folder.name
        stored.mkdir(exist_ok=True)
        (stored / "error.pkl").write_bytes(pickle.dumps(Mark(mark)))


def test_every_port_of_a_ray_of_ours_is_reached_from_this_machine_alone(waiting):
    ports = listening(waiting)

    assert {who for who, _, _ in ports} >= {"driver", "control service", "raylet", "worker"}
    assert [each for each in ports if not is_loopback(each[1])] == []


def test_another_user_gets_at_nothing_of_a_study_that_runs(base, waiting, second_user):
    (root,) = base.glob("twohead-*")

    found = ask_as_another(root, base / "mark", [port for _, _, port in listening(waiting)])

    expected = {
        **dict.fromkeys(found["tried"], "EACCES"),
        **dict.fromkeys(["open to all", "rename", "remove"], "EPERM"),
    }
    assert found["tried"] == expected
    # Metrics Ray tells whoever asks; all else needs the token.
    assert set(found["told"]) == {"grpc unauthenticated", "http refused", "metrics answered"}
    assert list(Path("/tmp/ray").glob(f"session_*_{waiting.process.pid}")) == []


def test_the_longest_names_of_sockets_fit_below_the_longest_place(base, waiting):
    names = [len(str(name)) for name in base.glob("twohead-*/r/session_2*/sockets/*")]
    longest_pid = max(names) - len(str(waiting.process.pid)) + len("4194304")

    assert longest_pid - len(str(base)) + BASE_BYTES == SOCKET_BYTES


def test_what_is_planted_for_the_error_of_a_lost_process_is_never_read(base, waiting):
    mark = base / "mark"
    (root,) = base.glob("twohead-*")
    plant(root, mark)

    (waiting.storage / "go").touch()  # and the process that waited for it kills itself

    assert waiting.wait() == 0, waiting.err
    assert not mark.exists()
    first = trials_of(waiting.study)[0]
    assert [(each.cause, each.charged) for each in first.releases] == [("lost", True)]
    waiting.assert_nothing_is_left()
    assert list(base.iterdir()) == []
