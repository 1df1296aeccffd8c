"""Faults planted on nodes of a real Ray, and what `twohead doctor` says of them."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.planted_ray import PlantedRay

pytestmark = pytest.mark.slow

STORAGE = ("--storage", "~/studies")
"""In the home of each node, so that each can have another."""
SIMULATED = {"variables": {"TWOHEAD_SIMULATED_GPU": "1"}, "num_gpus": 1}


@contextmanager
def planted(**head):
    folder = Path(tempfile.mkdtemp(prefix="dr-", dir="/tmp"))
    ray = None
    try:
        ray = PlantedRay(folder, **head)
        yield ray
    finally:
        if ray is not None:
            ray.close()
        shutil.rmtree(folder, ignore_errors=True)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.fixture(scope="module", name="ray")
def three_nodes():
    with planted(head={"dashboard_port": free_port()}) as ray:
        ray.add("one", **SIMULATED)
        ray.add("two")
        yield ray


@pytest.fixture(scope="module", name="healthy")
def examined_in_good_health(ray):
    return ray.doctor(*STORAGE)


@pytest.fixture(scope="module", name="ill")
def examined_with_faults(ray, healthy):
    """Return what is found when each node has two or three faults that do not touch each other."""
    plant_version(ray, "one", "keras", "3.1.0")
    (ray.folder / "one" / "skew").write_text("60")
    (ray.home("one") / ".ray" / "auth_token").chmod(0o644)
    (ray.home("two") / ".ray").chmod(0o777)
    replaced(ray, "two").write_text("a file")
    with socket.create_server(("0.0.0.0", 0)):
        yield ray.doctor(*STORAGE)


@pytest.fixture(scope="module", name="apart")
def examined_with_other_storages(ray, ill):
    """Return what is found of a folder of one's own, and of a full disk."""
    replaced(ray, "one").mkdir()
    with small_disk(ray.folder / "small") as small:
        replaced(ray, "two").symlink_to(small)
        yield ray.doctor(*STORAGE)


def plant_version(ray, node, name, version):
    info = ray.folder / node / "site" / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def replaced(ray, node):
    """Take a node's storage away, and return where another can be put."""
    studies = ray.home(node) / "studies"
    studies.unlink()
    return studies


@contextmanager
def small_disk(folder):
    """Mount a disk without room for anything, where that is allowed; else yield a folder."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        yield folder
        return
    try:
        (folder / "filler").touch()
        with pytest.raises(OSError, match="No space left"):
            (folder / "filler").write_bytes(bytes(2**20))
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_cluster_in_good_health_is_fit_and_refuses_strangers(ray, healthy):
    status, found = healthy

    assert status == 0, found
    assert found["nodes"]["seen"].startswith("3 nodes")
    assert found["versions"]["seen"].endswith("the same on 3 nodes")
    assert found["GPUs"]["seen"].startswith("1 promised; simulated on one")
    refusal = found["refusal"]["seen"]
    assert all(who in refusal for who in ("control service (1)", "dashboard (1)", "raylet (3)"))
    assert found["dashboard"]["seen"].startswith("on 127.0.0.1:")
    assert found["storage"]["seen"] == "~/studies is written, read, listed and cleared by 3 nodes"
    assert list(ray.shared.iterdir()) == []


@pytest.mark.parametrize(
    ("check", "state", "said"),
    [
        pytest.param("versions", "FAIL", "keras 3.1.0 is older than 3.15.1", id="old_version"),
        pytest.param("clocks", "FAIL", "): its clock is 60.0 s ahead", id="clock"),
        pytest.param("token file", "FAIL", "one/home/.ray/auth_token has mode 0644", id="loose"),
        pytest.param("token file", "FAIL", "two/home/.ray has mode 0777", id="open_folder"),
        pytest.param("storage", "FAIL", "cannot write in ~/studies", id="unwritable"),
        pytest.param("ports", "warn", "besides Ray and SSH", id="open_port"),
    ],
)
def test_each_of_several_faults_is_found_with_its_cure(ill, check, state, said):
    status, found = ill

    assert status == 1
    assert (found[check]["state"], said in found[check]["seen"]) == (state, True), found[check]
    assert found[check]["cures"]


def test_what_is_well_stays_well_beside_the_faults(ill):
    _, found = ill

    failing = {name for name, each in found.items() if each["state"] == "FAIL"}
    assert failing == {"versions", "clocks", "token file", "storage"}
    assert "two (" not in found["clocks"]["seen"]
    assert "one (" not in found["storage"]["seen"]


def test_a_folder_of_a_nodes_own_is_told_from_a_shared_one(apart):
    found = apart[1]["storage"]

    assert found["state"] == "FAIL"
    assert "does not see in ~/studies what was written by" in found["seen"]
    assert "one (" in found["seen"]


def test_a_full_disk_is_found(ray, apart):
    if not (ray.folder / "small").is_mount():
        pytest.skip("mounting is refused here")

    found = apart[1]["disk"]

    assert found["state"] == "FAIL"
    assert "(storage) has 0 MiB free of 0 MiB" in found["seen"]


def test_without_its_token_the_driver_is_refused_at_once(ray, tmp_path):
    status, found = ray.doctor(*STORAGE, HOME=str(tmp_path))

    assert status == 1
    assert list(found) == ["token"]
    assert "refuses this machine's token, or its lack of one" in found["token"]["seen"]


def test_gpus_that_tensorflow_does_not_see_and_then_the_dead_node_are_found(ray):
    ray.add("blind", num_gpus=1)

    _, found = ray.doctor()

    assert found["GPUs"]["state"] == "FAIL", found["GPUs"]
    assert "blind" in found["GPUs"]["seen"]
    assert "Ray promises 1 GPUs, TensorFlow sees 0" in found["GPUs"]["seen"]

    ray.kill("blind")
    _, found = ray.doctor()

    assert (found["nodes"]["state"], "1 node died: " in found["nodes"]["seen"]) == ("warn", True)


def test_a_token_that_was_replaced_and_a_node_that_hangs_are_findings_and_no_hang(ray):
    ray.add("other")
    ray.add("frozen")
    (ray.home("other") / ".ray" / "auth_token").write_text("f" * 64)
    raylet = ray.raylet("frozen")
    os.kill(raylet, signal.SIGSTOP)

    try:
        status, found = ray.doctor()
    finally:
        os.kill(raylet, signal.SIGCONT)
        ray.kill("frozen")
        ray.kill("other")

    assert (status, found["nodes"]["state"]) == (1, "FAIL")
    assert "its log tells of a token that was refused" in found["nodes"]["seen"]
    assert "its Ray does not answer either" in found["nodes"]["seen"]


def test_a_dashboard_for_all_a_head_that_takes_trials_and_few_open_files_are_found():
    head = {"dashboard_port": free_port(), "dashboard_host": "0.0.0.0", "num_cpus": 2}
    with planted(head=head, open_files=2048) as ray:
        ray.add("one")
        status, found = ray.doctor()

    assert status == 1
    assert (found["dashboard"]["state"], found["head"]["state"]) == ("FAIL", "warn"), found
    assert "dashboard and jobs listen on 0.0.0.0:" in found["dashboard"]["seen"]
    assert "offers 2 CPUs for trials" in found["head"]["seen"]
    assert "at most 2048" in found["open files"]["seen"]
    assert found["refusal"]["state"] == "ok"
    assert found["storage"]["state"] == "warn"
