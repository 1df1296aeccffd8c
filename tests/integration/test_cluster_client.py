import contextlib
import os
import signal
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pytest

import search
from search.cli.main import main
from search.errors import ClusterError, TokenRefused
from search.remote import connection
from tests.integration.head import Head
from tests.support.processes import tagged, wait_until
from tests.support.stub_run import notes
from tests.support.stub_study import SPACE, numbered, stub_study, write_faults

pytestmark = pytest.mark.slow
HOLD = {"kind": "slow", "at": 2, "seconds": 3}
OWN_MODEL = """
from helping import SIZE

def build(*, image_shape, heads, conv1_filters: int):
    import keras
    inputs = keras.Input(image_shape)
    flat = keras.layers.Flatten()(inputs)
    hidden = keras.layers.Dense(conv1_filters * SIZE)(flat)
    outputs = {"c_output": keras.layers.Dense(2, activation="softmax", name="c_output")(hidden),
               "r_output": keras.layers.Dense(1, name="r_output")(hidden)}
    return keras.Model(inputs, outputs)
"""


@pytest.fixture(scope="module")
def head():
    with tempfile.TemporaryDirectory(prefix="h", ignore_cleanup_errors=True) as folder:
        storage = Path(folder, "studies")
        storage.mkdir()
        with contextlib.closing(Head(Path(folder), storage)) as head:
            yield head


@pytest.fixture
def laptop(head, tmp_path, monkeypatch):
    """Stand in a folder of a machine that has the token; return the cluster's storage."""
    monkeypatch.setenv("HOME", str(head.home))
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", head.address)
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return head.folder / "studies"


def study_of(laptop, name, **changes):
    """Return a study whose data are on the cluster; its storage is the default one."""
    return replace(stub_study(laptop, name=name, **changes), storage="studies", module_folder=None)


def printed(capsys, *argv):
    assert main(list(argv)) == 0, capsys.readouterr()
    return capsys.readouterr().out


def test_a_study_runs_there_and_everything_asked_of_it_is_answered_as_there(head, laptop, capsys):
    held = numbered(4)
    write_faults(laptop, {1: {"kind": "wait", "at": 2}})

    with search.connect() as cluster:
        submitted = cluster.submit(study_of(laptop, "whole", **held))
        wait_until(lambda: notes(laptop, "waiting"))
        running = cluster.status("whole")
        with pytest.raises(search.StudyLocked, match=f"by job {submitted.job_id} since "):
            cluster.submit(study_of(laptop, "whole", **held))
        (laptop / "go").touch()
        lines = list(cluster.logs("whole", follow=True))
        ended = cluster.wait("whole", seconds=60)
        best = cluster.best("whole")
        config = cluster.best_config("whole", head="c_output")
        one = next(one for one in cluster.studies() if one.name == "whole")

    local = search.load(str(laptop / "whole"))
    assert (running.state, running.num_trials) == ("running", 4)
    assert running.job_id == submitted.job_id
    assert running.node
    assert any(line.startswith("trial 3 ") for line in lines)
    assert (ended.state, ended.num_ended, ended.best) == ("finished", 4, local.best())
    assert ended.message == "twohead: study whole is finished"
    assert best == local.best()
    assert config == local.best(head="c_output").config
    assert (one.state, one.num_ended) == ("finished", 4)
    for command in (["best"], ["best", "--json", "--policy", "lexicographic"], ["show"]):
        there = printed(capsys, *command, "whole", "--address", head.address)
        assert there == printed(capsys, *command, str(laptop / "whole"))
    assert printed(capsys, "list", "--address", head.address) == printed(
        capsys, "list", str(laptop)
    )
    assert_no_token(head)


def assert_no_token(head):
    """Look for it in all that the cluster shows of its jobs, and in every file of its session."""
    assert head.token not in head.ask("/api/jobs/")
    files = [path for path in (head.folder / "r").rglob("*") if path.is_file()]
    assert any("job-driver-twohead" in path.name for path in files)
    for path in [*files, *(head.folder / "studies").rglob("*"), head.folder / "ray-start.log"]:
        if path.is_file():
            assert head.token.encode() not in path.read_bytes(), path


def test_a_stopped_study_is_interrupted_and_goes_on_with_a_larger_budget(laptop, capsys):
    (laptop / "slow").unlink(missing_ok=True)
    write_faults(laptop, {1: {**HOLD, "seconds": 60}})

    with search.connect() as cluster:
        cluster.submit(study_of(laptop, "stopped", **numbered(3)))
        wait_until(lambda: notes(laptop, "slow"))
        stopped = cluster.stop("stopped")
        with pytest.raises(search.InputError, match="needs a running job to stop, got job"):
            cluster.stop("stopped")
        write_faults(laptop, {})
        cluster.resume("stopped", trials=4)
        ended = cluster.wait("stopped", seconds=120)

    assert (stopped.state, stopped.num_trials) == ("interrupted", 3)
    assert (ended.state, ended.num_ended, ended.num_trials) == ("finished", 4, 4)
    assert printed(capsys, "status", "stopped").splitlines()[1] == "state    finished"


def drivers(head):
    """Return the processes that run a study."""
    found = []
    for pid in tagged(head.tag):
        with contextlib.suppress(OSError):
            if b"\0drive\0" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


def test_a_driver_that_is_killed_is_started_again_and_completes_the_study(head, laptop):
    (laptop / "slow").unlink(missing_ok=True)
    write_faults(laptop, {1: HOLD})

    with search.connect() as cluster:
        cluster.submit(study_of(laptop, "killed", **numbered(3)))
        wait_until(lambda: notes(laptop, "slow"))
        [driver] = drivers(head)
        os.kill(driver, signal.SIGKILL)
        ended = cluster.wait("killed", seconds=120)
        lines = list(cluster.logs("killed"))

    assert (ended.state, ended.num_ended) == ("finished", 3)
    assert "twohead: the driver was ended by SIGKILL: start 1 of 3 in 2 s" in lines
    assert drivers(head) == []


def test_the_users_own_modules_go_along_and_hide_none_of_ours(head, laptop, tmp_path):
    code = tmp_path / "mine"
    code.mkdir()
    (code / "own_net.py").write_text(OWN_MODEL)
    (code / "helping.py").write_text("SIZE = 2")
    for name in ("search.py", "trainables.py", "code.py"):
        (code / name).write_text("raise RuntimeError('a user has a file of this name')")
    space = {name: kind for name, kind in SPACE.items() if name != "pool_size"}
    own = {"model": "own_net:build", "module_folder": str(code), "space": space}
    study = replace(study_of(laptop, "own"), **own)

    with search.connect() as cluster:
        submitted = cluster.submit(study)
        ended = cluster.wait("own", seconds=180)
        lines = list(cluster.logs("own"))
        with pytest.raises(search.InputError, match="needs its module 'own_net' in the current"):
            cluster.resume("own", trials=5)
        cluster.resume("own", trials=5, folder=str(code))
        longer = cluster.wait("own", seconds=180)

    assert submitted.num_files == 5
    assert ended.state == "finished", "\n".join(lines)
    assert (longer.state, longer.num_ended) == ("finished", 5)
    places = {Path(place) for place in notes(laptop, "own-code")}
    assert {place.parent.name for place in places} == {"own-code"}
    assert all(head.folder in place.parents for place in places)


@pytest.mark.parametrize(
    ("token", "message"),
    [
        pytest.param("wrong", "refused this token: copy ~/.ray/auth_token", id="wrong"),
        pytest.param(None, "asks for a token, and there is none here", id="none"),
    ],
)
def test_without_the_right_token_nothing_is_answered(
    head, laptop, token, message, tmp_path, monkeypatch
):
    monkeypatch.setenv("HOME", str(tmp_path))
    if token is not None:
        monkeypatch.setenv("RAY_AUTH_TOKEN", token)

    with pytest.raises(TokenRefused, match=message):
        search.connect()


def test_a_name_that_the_cluster_does_not_know_is_refused(laptop, capsys):
    with search.connect() as cluster:
        with pytest.raises(search.InputError, match="has neither a job nor a folder"):
            cluster.status("never")
        with pytest.raises(search.InputError, match="holds no study"):
            cluster.best("never")
        with pytest.raises(search.InputError, match="needs a job on the cluster at"):
            next(iter(cluster.logs("never")))
        with pytest.raises(search.InputError, match="holds no study"):
            cluster.resume("never")
        address = cluster.address

    assert main(["show", "never", "--address", address]) == 2
    assert "holds no study" in capsys.readouterr().err


def test_a_head_that_dies_meanwhile_ends_the_waiting_with_a_word_of_what_to_do(
    head, laptop, monkeypatch
):
    # The last test here: it ends the head of all.
    monkeypatch.setattr(connection, "PATIENCE_SECONDS", 1.0)
    monkeypatch.setattr(connection, "PAUSE_SECONDS", 0.1)
    (laptop / "slow").unlink(missing_ok=True)
    write_faults(laptop, {0: {**HOLD, "at": 1, "seconds": 60}})

    with search.connect() as cluster:
        cluster.submit(study_of(laptop, "left", **numbered(2)))
        wait_until(lambda: notes(laptop, "slow"))
        head.close()
        began = time.monotonic()
        with pytest.raises(ClusterError, match="no cluster answers at http://127"):
            cluster.wait("left")

    assert time.monotonic() - began < 60
