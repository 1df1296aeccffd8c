"""Which Ray of this machine ``auto`` stands for: one of this user or of root, and just one."""

import os
import subprocess
import sys

import pytest

from search.cluster import session as ray_address
from search.cluster.session import own_address
from search.doctor.ports import RayNode, processes
from search.errors import InputError

ME, OTHER = os.getuid(), 65534
needs_root = pytest.mark.skipif(ME != 0, reason="only root can start a process as another user")


def raylet(
    address="10.0.0.1:6379", users=(ME, ME, ME), session="/tmp/ray/session_1", name="raylet"
):
    words = [f"/lib/ray/{name}", f"--session_dir={session}", f"--gcs-address={address}"]
    return words, users


@pytest.mark.parametrize(
    ("processes", "found"),
    [
        pytest.param([raylet()], "10.0.0.1:6379", id="mine"),
        pytest.param([raylet(users=(0, 0, 0))], "10.0.0.1:6379", id="roots"),
        pytest.param([raylet(), raylet()], "10.0.0.1:6379", id="two_nodes_of_one"),
        pytest.param(
            [raylet(), raylet("6.6.6.6:1", (OTHER,) * 3)], "10.0.0.1:6379", id="beside_anothers"
        ),
        pytest.param(
            [raylet(), raylet("10.0.0.9:1", session="/tmp/twohead-abcdefgh/r/session_1")],
            "10.0.0.1:6379",
            id="beside_a_studys",
        ),
    ],
)
def test_auto_is_the_one_ray_that_this_user_or_root_has_started(monkeypatch, processes, found):
    monkeypatch.setattr(ray_address, "_processes", lambda: processes)

    assert own_address("auto") == found


@pytest.mark.parametrize(
    ("processes", "message"),
    [
        pytest.param([], "got none; name", id="none"),
        pytest.param([raylet(), raylet("b:2")], "got 10.0.0.1:6379, b:2; name", id="several"),
        pytest.param([raylet(users=(OTHER,) * 3)], "got none; name", id="anothers"),
        pytest.param([raylet(users=(OTHER, 0, 0))], "got none; name", id="roots_run_by_another"),
        pytest.param([raylet(users=())], "got none; name", id="unknown"),
        pytest.param([raylet(name="sleep")], "got none; name", id="no_raylet"),
        pytest.param([([], (ME,) * 3)], "got none; name", id="kernels"),
    ],
)
def test_auto_is_refused_where_no_ray_or_several_can_be_trusted(monkeypatch, processes, message):
    monkeypatch.setattr(ray_address, "_processes", lambda: processes)

    with pytest.raises(InputError, match=f"RAY_ADDRESS 'auto' needs just one .* {message}"):
        own_address("auto")


@pytest.mark.parametrize("address", ["", "10.0.0.1:6379", "ray://10.0.0.1:10001"])
def test_an_address_that_is_named_is_taken_as_it_is(monkeypatch, address):
    monkeypatch.setattr(ray_address, "_processes", lambda: [raylet("other:1")])

    assert own_address(address) == address


BECOME = """
import os, sys
users = {"this": None, "another": (65534, 65534, 65534), "another_as_root": (65534, 0, 0)}
if users[sys.argv[1]]:
    os.setresuid(*users[sys.argv[1]])
print(flush=True)
sys.stdin.read()
"""


@pytest.fixture
def process():
    """Start what looks like a raylet; "another_as_root" is as what another runs by ``su``."""
    begun = []

    def start(who, address):
        command = ["raylet", "-c", BECOME, who, f"--gcs-address={address}"]
        begun.append(
            subprocess.Popen(
                command, executable=sys.executable, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        )
        begun[-1].stdout.readline()
        return begun[-1].pid

    yield start
    for one in begun:
        one.communicate()


def shown():
    return {ray_address._shown(words, users) for words, users in ray_address._processes()}


def is_shown_the_token(pid):
    """Tell whether `doctor` takes a process for the raylet of a node of this user's."""
    return RayNode(raylet=pid).owns(processes()[pid], "raylet")


def test_a_raylet_of_this_user_is_seen_by_its_command(process):
    pid = process("this", "192.0.2.1:1")

    assert "192.0.2.1:1" in shown()
    assert is_shown_the_token(pid)


@needs_root
@pytest.mark.parametrize("who", ["another", "another_as_root"])
def test_what_another_user_runs_under_that_name_is_not_taken_for_ours(process, who):
    pid = process(who, "192.0.2.2:1")

    assert "192.0.2.2:1" not in shown()
    assert not is_shown_the_token(pid)
