"""What `twohead doctor` finds on ill machines of a cluster that was launched for real.

Of a fit one, and of nodes of one machine: `test_launched`, `tests/integration/test_doctor.py`.
"""

import secrets

import pytest

from tests.cluster.launched import launched
from tests.cluster.namespaces import HOME, REPOSITORY
from tests.cluster.network import SHARED

pytestmark = [pytest.mark.slow, pytest.mark.hosts, pytest.mark.cluster]

TOKEN = f"canary{secrets.token_hex(24)}"
OPEN, LOOSE = f"{HOME}/.ray has mode 0777", f"{HOME}/.ray/auth_token has mode"
SITE = f"{HOME}/site"
"""First in the path of every Python of the nodes."""
CLOCK = "import time; _true = time.time; time.time = lambda: _true() + 60"
METADATA = "Metadata-Version: 2.1\nName: keras\nVersion: 3.1.0\n"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hosts")
    environment = {"PYTHONPATH": f"{SITE}:{REPOSITORY}"}
    with launched(folder, ["one", "two"], token=TOKEN, environment=environment) as cluster:
        cluster.wait_for_workers(2)
        yield cluster


@pytest.fixture(scope="module")
def ill(cluster):
    hosts = cluster.hosts
    hosts.put("one", f"{SITE}/keras-3.1.0.dist-info/METADATA", METADATA)
    hosts.put("one", f"{SITE}/sitecustomize.py", CLOCK)
    hosts.run("one", ["mount", "--bind", "-o", "ro", SHARED, SHARED])
    hosts.run("one", ["chmod", "777", f"{HOME}/.ray"])
    hosts.run("two", ["chmod", "644", f"{HOME}/.ray/auth_token"])
    hosts.run("two", ["umount", "--lazy", SHARED])
    hosts.small_disk("two", "/dev/shm", 132 * 2**20)
    hosts.run("two", ["fallocate", "--length", "32M", "/dev/shm/left-over"])
    with hosts.start("two", ["python", "-m", "http.server", "8000"]) as server:
        found = cluster.doctor()
        server.kill()
    return found


@pytest.mark.parametrize(
    ("check", "state", "said"),
    [
        pytest.param("versions", "FAIL", "{one}: keras 3.1.0 is older than 3.15.1", id="old"),
        pytest.param("clocks", "FAIL", "{one}: its clock is 60.0 s ahead", id="clock"),
        pytest.param("storage", "FAIL", "{one}: cannot write in", id="read_only"),
        pytest.param("storage", "FAIL", "{two}: does not see in", id="not_mounted"),
        pytest.param("token file", "FAIL", "{one}: " + OPEN, id="open_folder"),
        pytest.param("token file", "FAIL", "{two}: " + LOOSE, id="loose"),
        pytest.param("shared memory", "FAIL", "{two}: /dev/shm has 100 MiB free", id="shm"),
        pytest.param("ports", "warn", "8000 (python", id="port"),
    ],
)
def test_each_fault_is_found_on_the_machine_that_has_it(cluster, ill, check, state, said):
    status, found = ill

    each = found["the cluster", check]
    names = {name: cluster.address(name) for name in ("one", "two")}
    assert status == 1
    assert (each["state"], said.format(**names) in each["seen"]) == (state, True), each


def test_a_machine_without_power_is_a_finding_in_time(cluster, ill):
    cluster.hosts.power_off("two")

    _, found = cluster.doctor()

    # Whichever comes first: Ray's knowledge that it has gone, or our question.
    nodes = found["the cluster", "nodes"]
    assert nodes["state"] in {"warn", "FAIL"}
    assert cluster.address("two") in nodes["seen"]
    assert nodes["cures"]
