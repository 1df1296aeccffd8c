import os
import re
import socket
from pathlib import Path

import pytest

from search.doctor.access import judge_ports
from search.doctor.doctor import judge_own_ports, judge_ray_folder
from search.doctor.ports import is_loopback, listeners, parse_address, raylet_of_this
from tests.doctor_facts import healthy, with_head_saying

NO_RAY = {"gcs": "", "is_head": False}


@pytest.mark.parametrize(
    ("text", "address"),
    [
        pytest.param("0100007F:2049", ("127.0.0.1", 8265), id="loopback"),
        pytest.param("00000000:0016", ("0.0.0.0", 22), id="all"),
        pytest.param("0" * 24 + "01000000:1F90", ("::1", 8080), id="loopback_6"),
        pytest.param("0" * 32 + ":18EB", ("::", 6379), id="all_6"),
        pytest.param("0" * 16 + "FFFF00000100007F:2711", ("127.0.0.1", 10001), id="mapped"),
    ],
)
def test_the_kernels_addresses_are_read(text, address):
    assert parse_address(text) == address


@pytest.mark.parametrize(
    ("address", "expected"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True),
     ("0.0.0.0", False), ("::", False), ("10.0.0.5", False), ("fe80::1", False)],
)  # fmt: skip
def test_what_only_this_machine_reaches_is_told_from_the_rest(address, expected):
    assert is_loopback(address) is expected


@pytest.mark.parametrize(
    ("family", "address"),
    [
        pytest.param(socket.AF_INET, "0.0.0.0", id="4"),
        pytest.param(socket.AF_INET, "127.0.0.1", id="loopback"),
        pytest.param(socket.AF_INET6, "::", id="6"),
    ],
)
def test_an_open_port_is_found_with_its_holder(family, address):
    with socket.create_server((address, 0), family=family) as server:
        port = server.getsockname()[1]
        found = {(each["address"], each["port"]): each for each in listeners(None, NO_RAY)}

    here = found[address, port]
    assert here["holder"] == Path(f"/proc/{os.getpid()}/comm").read_text().strip()
    assert here["is_rays"] is here["is_this_rays"] is False
    assert here["answer"] is None


def test_a_port_that_other_machines_reach_is_a_warning_with_its_number_and_holder():
    with socket.create_server(("0.0.0.0", 0)) as server:
        port = server.getsockname()[1]
        facts = with_head_saying(healthy(), listeners=listeners(None, NO_RAY))

    own = [each for each in facts.places[0].facts["listeners"] if each["port"] == port]
    found = judge_ports(with_head_saying(facts, listeners=own).places)

    assert found.state == "warn"
    assert f"{port} ({own[0]['holder']})" in found.seen


def test_outside_of_ray_there_is_no_raylet():
    assert raylet_of_this() is None


def listener(holder, address, *, is_rays=True):
    return {"holder": holder, "address": address, "port": 6379, "is_rays": is_rays}


@pytest.mark.parametrize(
    ("found", "mode", "state", "seen"),
    [
        pytest.param(("raylet", "127.0.0.1"), "", "ok", "on 127.0.0.1 alone", id="ours"),
        pytest.param(("raylet", "::"), "", "warn", "here: raylet on :::6379", id="anybodys"),
        pytest.param(("raylet", "::1"), "Disabled", "warn", "any user of this", id="no_token"),
    ],
)
def test_who_reaches_a_ray_on_this_machine_is_told(found, mode, state, seen):
    facts = {"listeners": [listener(*found), listener("sshd", "0.0.0.0", is_rays=False)]}

    told = judge_own_ports(facts, mode)

    assert told.state == state
    assert seen in told.seen


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
    told = judge_ray_folder([(Path(base), problem) for base, problem in found])

    assert told.state == state
    assert re.search(seen, told.seen)
