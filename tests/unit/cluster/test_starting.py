"""A Ray of ours: what is started, how often it is tried, and what is left of a try."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import search.cluster.session
from search.cluster.starting import PRELOAD, has_a_slot_per_core, num_cpus, start_ray
from search.errors import SearchError
from tests.support.processes import is_alive, wait_until
from tests.support.stub_study import ROOT, stub_study


def arguments(folder):
    return {
        "address": "local",
        "num_cpus": 1,
        "include_dashboard": False,
        "log_to_driver": False,
        "logging_level": "error",
        "object_store_memory": 80 * 2**20,
        "_temp_dir": str(folder),
    }


@pytest.fixture
def short_folder():
    import shutil
    import tempfile

    folder = tempfile.mkdtemp(prefix="st-", dir="/tmp")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def commands():
    """Return the command line of every process below this one, by its id."""
    found, open_pids = {}, [os.getpid()]
    while open_pids:
        pid = open_pids.pop()
        try:
            listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            for one in listed:
                found[int(one)] = Path(f"/proc/{one}/cmdline").read_text().replace("\0", " ")
        except FileNotFoundError:
            continue
        open_pids += [int(one) for one in listed]
    return found


def running(name):
    return [pid for pid, line in commands().items() if name in line]


@pytest.mark.parametrize(
    ("resources", "cores", "expected"),
    [
        pytest.param({"concurrent": 2}, 8, (True, 2), id="as_many_as_will_train"),
        pytest.param({"concurrent": "auto"}, 8, (True, 8), id="all"),
        pytest.param({"concurrent": 16}, 8, (True, 8), id="no_more_than_there_are"),
        pytest.param({"concurrent": 2, "cpu": 4}, 8, (False, 8), id="several_cores_each"),
        pytest.param({"concurrent": 1, "gpu": 1}, 8, (False, 8), id="gpu"),
    ],
)
def test_processes_are_warmed_only_where_each_of_them_will_train(
    tmp_path, monkeypatch, resources, cores, expected
):
    monkeypatch.setattr("search.cluster.starting.local_cores", lambda: cores)
    study = stub_study(tmp_path, resources=resources)

    assert (has_a_slot_per_core(study), num_cpus(study)) == expected


def test_a_start_that_fails_for_another_reason_is_not_tried_again(tmp_path, monkeypatch):
    import ray

    tries = []

    def fail(**given):
        tries.append(os.environ.get(PRELOAD))
        raise RuntimeError("no such thing")

    monkeypatch.setattr(ray, "init", fail)
    monkeypatch.delenv(PRELOAD, raising=False)
    with pytest.raises(RuntimeError, match="no such thing"):
        start_ray({"num_cpus": 1, "_temp_dir": str(tmp_path)}, warms=True)

    assert tries == ["tensorflow,keras"]
    assert PRELOAD not in os.environ


@pytest.mark.parametrize(
    "words",
    [
        pytest.param("The current node timed out during startup. This could", id="busy"),
        pytest.param("Timed out waiting for file /r/gcs_server_port_1", id="gcs_has_died"),
    ],
)
def test_a_start_that_times_out_twice_is_told_in_our_words(tmp_path, monkeypatch, words):
    import ray

    tries = []

    def time_out(**given):
        tries.append(given)
        raise Exception(words)

    monkeypatch.setattr(ray, "init", time_out)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    given = {"num_cpus": 1, "_temp_dir": str(tmp_path)}
    with pytest.raises(SearchError, match=r"could not be started .*(?i:timed out) (during|wait)"):
        search.cluster.session._init(given)

    assert tries == [given] * 2


DIES_ONCE = """
import os, pathlib, signal, sys
folder = pathlib.Path(os.environ["TWOHEAD_TEST_FOLDER"])
if any("default_worker.py" in one for one in sys.orig_argv):
    try:
        (folder / "dead").touch(exist_ok=False)
    except FileExistsError:
        (folder / f"alive-{os.getpid()}").touch()
    else:
        os.kill(os.getpid(), signal.SIGKILL)
"""
START = """
import json, os, sys
from search.cluster.starting import start_ray
start_ray(json.loads(sys.argv[1]), warms=False)
import ray
class Actor:
    def pid(self):
        return os.getpid()
print(ray.get(ray.remote(Actor).remote().pid.remote(), timeout=60))
ray.shutdown()
"""


@pytest.mark.slow
def test_ray_starts_though_a_process_that_it_starts_beforehand_dies_and_actors_take_the_others(
    tmp_path, short_folder
):
    """Ray's own start would wait for ever for that process to register (ray 2.60)."""
    (tmp_path / "sitecustomize.py").write_text(DIES_ONCE)
    given = {**arguments(short_folder), "num_cpus": 2}
    path = os.pathsep.join([str(tmp_path), ROOT])
    changes = {"TWOHEAD_TEST_FOLDER": str(tmp_path), "PYTHONPATH": path}

    done = subprocess.run(
        [sys.executable, "-c", START, json.dumps(given)],
        env={**os.environ, **changes},
        stdout=subprocess.PIPE,
        text=True,
        timeout=120,
        check=True,
    )

    assert (tmp_path / "dead").exists()
    assert [path.name for path in tmp_path.glob("alive-*")] == [f"alive-{done.stdout.strip()}"]


@pytest.mark.slow
def test_a_start_that_times_out_is_tried_once_more_and_nothing_is_left_of_the_first(
    monkeypatch, short_folder
):
    import ray
    from ray._private.node import Node

    start = Node.start_ray_processes
    seen = []

    def time_out_once(node):
        seen.append(len(running("gcs_server")))
        if len(seen) == 1:
            raise Exception("The current node timed out during startup. This could happen")
        start(node)

    monkeypatch.setattr(Node, "start_ray_processes", time_out_once)
    start_ray(arguments(short_folder), warms=False)
    try:
        assert ray.is_initialized()
        assert seen == [1, 1]  # the first one's was gone before the second one's
        onlookers = ("dashboard/dashboard.py", "monitor.py")
        assert [one for one in onlookers if running(one)] == []
        assert len(running("raylet/raylet")) == 1
        # The raylet's own command holds the agent's, which may not have begun yet.
        agents = [line for line in commands().values() if "dashboard/agent.py" in line]
        assert [" --minimal" in line for line in agents] == [True] * max(1, len(agents))
    finally:
        ray.shutdown()
    assert running("gcs_server") == []
    assert Node.start_ray_processes is time_out_once


def agents():
    """Return the processes that a raylet begins by itself; it is begun with their commands."""
    lines = commands().items()
    return [pid for pid, line in lines if "/agent" in line and "raylet/raylet" not in line]


@pytest.mark.slow
def test_what_a_start_that_fails_late_has_begun_ends_with_it(monkeypatch, short_folder):
    from ray._private.node import Node

    start = Node.start_ray_processes
    seen = {}

    def fail_late(node):
        start(node)
        wait_until(lambda: len(agents()) == 2)
        seen.update(commands())
        raise KeyboardInterrupt

    monkeypatch.setattr(Node, "start_ray_processes", fail_late)
    with pytest.raises(KeyboardInterrupt):
        start_ray(arguments(short_folder), warms=False)

    wait_until(lambda: not any(map(is_alive, seen)), 30)
