"""Faults planted on one node of a real Ray of three, and what `twohead doctor` says of them."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.planted_ray import PlantedRay

pytestmark = pytest.mark.slow

STORAGE = ("--storage", "~/studies")
"""In the home of each node, so that each can have another."""


@contextmanager
def planted(**options):
    folder = Path(tempfile.mkdtemp(prefix="dr-", dir="/tmp"))
    ray = PlantedRay(folder, **options)
    try:
        yield ray
    finally:
        ray.close()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module", name="ray")
def three_nodes():
    with planted(head={"dashboard_port": free_port()}) as ray:
        ray.add("good")
        ray.add("bad", variables={"TWOHEAD_SIMULATED_GPU": "1"}, num_gpus=1)
        yield ray


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@contextmanager
def old_version(ray):
    info = ray.folder / "bad" / "site" / "keras-3.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: keras\nVersion: 3.1.0\n")
    yield
    shutil.rmtree(info)


@contextmanager
def loose_token(ray):
    token = ray.home("bad") / ".ray" / "auth_token"
    token.chmod(0o644)
    yield
    token.chmod(0o600)


@contextmanager
def open_folder(ray):
    folder = ray.home("bad") / ".ray"
    folder.chmod(0o777)
    yield
    folder.chmod(0o700)


@contextmanager
def storage(ray, make):
    """Put something else in the place of the shared storage on one node."""
    studies = ray.home("bad") / "studies"
    studies.unlink()
    make(studies)
    yield
    shutil.rmtree(studies) if studies.is_dir() else studies.unlink()
    studies.symlink_to(ray.shared)


@contextmanager
def full_disk(ray):
    small = ray.folder / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(small)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting is refused here")
    try:
        with suppress(OSError):
            (small / "filler").write_bytes(bytes(2**20))
        studies = ray.home("bad") / "studies"
        studies.unlink()
        studies.symlink_to(small)
        yield
        studies.unlink()
        studies.symlink_to(ray.shared)
    finally:
        subprocess.run(["umount", "--lazy", str(small)], check=True)


@contextmanager
def wrong_clock(ray):
    skew = ray.folder / "bad" / "skew"
    skew.write_text("60")
    yield
    skew.unlink()


@contextmanager
def open_port(ray):
    with socket.create_server(("0.0.0.0", 0)):
        yield


FAULTS = {
    "old_version": (old_version, "versions", "FAIL", "keras 3.1.0 is older than 3.15.1"),
    "loose_token": (loose_token, "token file", "FAIL", "auth_token has mode 0644"),
    "open_folder": (open_folder, "token file", "FAIL", ".ray has mode 0777"),
    "unwritable": (
        lambda ray: storage(ray, lambda path: path.write_text("")),
        "storage", "FAIL", "cannot write in ~/studies",
    ),
    "node_local": (
        lambda ray: storage(ray, lambda path: path.mkdir()),
        "storage", "FAIL", "does not see in ~/studies what was written by",
    ),
    "full_disk": (full_disk, "disk", "FAIL", "(storage) has 0 MiB free of 0 MiB"),
    "wrong_clock": (wrong_clock, "clocks", "FAIL", "its clock is 60.0 s ahead"),
    "open_port": (open_port, "ports", "warn", "besides Ray and sshd"),
}  # fmt: skip


def test_a_cluster_in_good_health_is_fit_and_refuses_strangers(ray):
    status, found = ray.doctor(*STORAGE)

    assert status == 0, found
    assert found["nodes"]["seen"].startswith("3 nodes")
    assert found["versions"]["seen"].endswith("the same on 3 nodes")
    assert found["GPUs"]["seen"].startswith("1 promised; simulated on")
    refusal = found["refusal"]["seen"]
    assert all(who in refusal for who in ("control service (1)", "dashboard (1)", "raylet (3)"))
    assert found["dashboard"]["seen"].startswith("on 127.0.0.1:")
    assert found["storage"]["seen"] == "~/studies is written, read, listed and cleared by 3 nodes"
    assert list(ray.shared.iterdir()) == []


@pytest.mark.parametrize(
    ("plant", "check", "state", "said"),
    [pytest.param(*fault, id=name) for name, fault in FAULTS.items()],
)
def test_a_fault_of_one_node_is_found(ray, plant, check, state, said):
    with plant(ray):
        status, found = ray.doctor(*STORAGE)

    assert found[check]["state"] == state, found
    assert said in found[check]["seen"]
    assert found[check]["cures"]
    assert status == (1 if state == "FAIL" else 0)


def test_without_its_token_the_driver_is_refused_at_once(ray, tmp_path):
    status, found = ray.doctor(*STORAGE, HOME=str(tmp_path))

    assert status == 1
    assert list(found) == ["token"]
    assert "refuses this machine's token, or its lack of one" in found["token"]["seen"]


def test_gpus_that_are_promised_and_not_seen_and_then_the_dead_node_are_found(ray):
    ray.add("blind", num_gpus=1)

    status, found = ray.doctor(*STORAGE)

    assert (status, found["GPUs"]["state"]) == (1, "FAIL")
    assert "Ray promises 1 GPUs, TensorFlow sees 0" in found["GPUs"]["seen"]

    ray.kill("blind")
    status, found = ray.doctor(*STORAGE)

    assert (status, found["nodes"]["state"]) == (0, "warn")
    assert found["nodes"]["seen"].startswith("1 node died: ")


def test_a_node_whose_token_was_replaced_is_found_though_nothing_starts_there(ray):
    ray.add("other")
    (ray.home("other") / ".ray" / "auth_token").write_text("f" * 64)

    status, found = ray.doctor(*STORAGE)
    ray.kill("other")

    assert (status, found["nodes"]["state"]) == (1, "FAIL")
    assert "its log tells of a token that was refused" in found["nodes"]["seen"]


def test_a_node_that_hangs_is_a_finding_and_not_a_hang(ray):
    ray.add("frozen")
    raylet = ray.raylet("frozen")
    os.kill(raylet, signal.SIGSTOP)

    try:
        status, found = ray.doctor(*STORAGE)
    finally:
        os.kill(raylet, signal.SIGCONT)
        ray.kill("frozen")

    assert (status, found["nodes"]["state"]) == (1, "FAIL")
    assert "its Ray does not answer either" in found["nodes"]["seen"]


def test_a_dashboard_for_all_a_head_that_takes_trials_and_few_open_files_are_found():
    head = {"dashboard_port": free_port(), "dashboard_host": "0.0.0.0", "num_cpus": 2}
    with planted(head=head, open_files=2048) as ray:
        ray.add("one")
        status, found = ray.doctor()

    assert status == 1
    assert (found["dashboard"]["state"], found["head"]["state"]) == ("FAIL", "warn")
    assert "dashboard and jobs listen on 0.0.0.0:" in found["dashboard"]["seen"]
    assert "offers 2 CPUs for trials" in found["head"]["seen"]
    assert "at most 2048" in found["open files"]["seen"]
    assert found["refusal"]["state"] == "ok"
    assert found["storage"]["state"] == "warn"
