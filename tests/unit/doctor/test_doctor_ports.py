import re
import socket
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from search.doctor.checks import CLUSTER, MACHINE
from search.doctor.facts import ClusterFacts
from search.doctor.findings import judge
from search.doctor.ports import RayNode, is_loopback, listeners, raylet_of_this
from tests.unit.doctor.doctor_facts import healthy, listener, with_head_saying

OTHERS = 65534


def told(checks, name, facts):
    return judge([check for check in checks if check.name == name], facts)[0]


@pytest.mark.parametrize(
    ("address", "expected"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True),
     ("0.0.0.0", False), ("::", False), ("10.0.0.5", False), ("fe80::1", False)],
)  # fmt: skip
def test_what_only_this_machine_reaches_is_told_from_the_rest(address, expected):
    assert is_loopback(address) is expected


@pytest.mark.parametrize(
    ("family", "address", "told"),
    [
        pytest.param(socket.AF_INET, "0.0.0.0", "0.0.0.0", id="4"),
        pytest.param(socket.AF_INET, "127.0.0.1", "127.0.0.1", id="loopback"),
        pytest.param(socket.AF_INET6, "::", "::", id="6"),
        pytest.param(socket.AF_INET6, "::ffff:127.0.0.1", "127.0.0.1", id="mapped"),
    ],
)
def test_an_open_port_is_found_with_its_holder(family, address, told):
    is_mapped = address != told
    with socket.create_server((address, 0), family=family, dualstack_ipv6=is_mapped) as server:
        port = server.getsockname()[1]
        found = {(one.address, one.port): one for one in listeners(RayNode())}

    here = found[told, port]
    assert here.holder == psutil.Process().name()
    assert here.is_rays is here.is_this_rays is False
    assert here.answers is None


def test_a_port_that_other_machines_reach_is_a_warning_with_its_number_and_holder():
    with socket.create_server(("0.0.0.0", 0)) as server:
        port = server.getsockname()[1]
        (own,) = (one for one in listeners(RayNode()) if one.port == port)

    found = told(CLUSTER, "ports", with_head_saying(healthy(), listeners=[own]))

    assert found.state == "warn"
    assert f"{port} ({own.holder})" in found.seen


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({}, True, id="ours"),
        pytest.param({"raylet": None}, False, id="outside_of_ray"),
        pytest.param({"raylet": 1}, False, id="of_another_node"),
        pytest.param({"uids": (OTHERS, OTHERS, OTHERS)}, False, id="of_another_user"),
        pytest.param({"uids": (OTHERS, 0, 0)}, False, id="roots_run_by_another"),
        pytest.param({"uids": None}, False, id="unknown"),
    ],
)
def test_a_process_is_shown_the_token_only_if_it_is_this_nodes_and_this_users(changes, expected):
    process = psutil.Process()
    process.info = {"uids": process.uids(), "ppid": 4711, "cmdline": ["raylet"], **changes}
    node = RayNode(raylet=changes.get("raylet", 4711))

    assert node.owns(process, "raylet") is expected


def test_outside_of_ray_there_is_no_raylet():
    assert raylet_of_this() is None


@pytest.mark.parametrize(
    ("holder", "address", "mode", "state", "seen"),
    [
        pytest.param("raylet", "127.0.0.1", "", "ok", "on 127.0.0.1 alone", id="ours"),
        pytest.param("raylet", "::", "", "warn", "here: raylet on :::6379", id="anybodys"),
        pytest.param("raylet", "::1", "Disabled", "warn", "any user of this", id="no_token"),
    ],
)
def test_who_reaches_a_ray_on_this_machine_is_told(holder, address, mode, state, seen):
    found = [listener(holder, 6379, address), listener("sshd", 22, is_rays=False)]
    facts = with_head_saying(healthy(), listeners=found)

    own = told(MACHINE, "ports", replace(facts, machines=facts.machines[:1], auth_mode=mode))

    assert own.state == state
    assert seen in own.seen


@pytest.mark.parametrize(
    ("found", "state", "seen"),
    [
        pytest.param([("/tmp", None)], "ok", "lives in /tmp, where no other user", id="usual"),
        pytest.param([("/a", None), ("/tmp", "is no folder")], "ok", "lives in /a", id="named"),
        pytest.param([("/a", "is long"), ("/tmp", None)], "warn", "as /a is long", id="passed"),
        pytest.param([("/a", "is long")], "FAIL", "no place for .*: /a is long", id="none"),
    ],
)
def test_where_a_studys_ray_would_lie_is_told_and_why_not_where_it_was_meant(found, state, seen):
    folders = [(Path(base), problem) for base, problem in found]

    own = told(MACHINE, "private folder", ClusterFacts(machines=[], ray_folders=folders))

    assert own.state == state
    assert re.search(seen, own.seen)
