import contextlib
import os
import sys

import pytest

from search.errors import InputError, Unreachable
from search.remote import connection
from search.remote.connection import Connection, _Tunnel
from tests.support.processes import is_alive, wait_until

VERSION = {"ray_version": "2.60.0"}
FORWARD = """
import http.server, json, os, pathlib, subprocess, sys
folder = pathlib.Path(sys.argv[2]).parent
(folder / "pids").open("a").write(f"{os.getpid()}\\n")
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
(folder / "pids").open("a").write(f"{child.pid}\\n")
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"ray_version": "2.60.0"}).encode())
        if (folder / "dies").exists():
            child.kill()
            os._exit(1)
    def log_message(self, *args): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[4])), Answer).serve_forever()
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Return a cluster's file, with a program that makes its tunnels without a cluster."""
    program = tmp_path / "ray.py"
    program.write_text(FORWARD)
    monkeypatch.setattr(connection, "RAY", (sys.executable, str(program)))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "cluster.yaml"
    path.touch()
    return path


def pids(file):
    return [int(pid) for pid in (file.parent / "pids").read_text().split()]


def test_the_file_of_a_cluster_gets_a_tunnel_that_ends_with_the_connection(file):
    with contextlib.closing(Connection(str(file))) as there:
        assert there.json("GET", "/api/version") == VERSION
        assert there.address.startswith("http://127.0.0.1:")
        assert all(is_alive(pid) for pid in pids(file))

    wait_until(lambda: not any(is_alive(pid) for pid in pids(file)), 30)


def test_a_tunnel_that_has_ended_is_opened_again(file):
    with contextlib.closing(Connection(str(file))) as there:
        before = pids(file)
        for pid in before:
            os.kill(pid, 9)
        wait_until(lambda: not any(is_alive(pid) for pid in before), 30)

        assert there.json("GET", "/api/version") == VERSION
        assert len(pids(file)) == 2 * len(before)


def test_a_tunnel_that_leads_nowhere_says_what_its_program_said(file, monkeypatch):
    program = "import sys; print('ssh: no route'); sys.exit(1)"
    monkeypatch.setattr(connection, "RAY", (sys.executable, "-c", program))

    with pytest.raises(Unreachable, match=r"is it up \(`ray up .*it said: ssh: no route") as told:
        _Tunnel(file).open()
    assert "Traceback" not in str(told.value)


def test_a_tunnel_that_hangs_is_given_up_and_ended(file, monkeypatch):
    note = file.parent / "pids"
    program = f"import os, time; open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep(99)"
    monkeypatch.setattr(connection, "RAY", (sys.executable, "-c", program))
    monkeypatch.setattr(connection, "OPEN_SECONDS", 1.0)

    with pytest.raises(Unreachable, match="nothing answered within 1 s; it said nothing"):
        _Tunnel(file).open()

    wait_until(lambda: not any(is_alive(pid) for pid in pids(file)), 30)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        pytest.param("x.yaml", r"file of a cluster needs to be there, got 'x\.yaml'", id="file"),
        pytest.param(8265, "address of a cluster needs text or a path, got 8265", id="number"),
    ],
)
def test_what_is_neither_an_address_nor_a_file_is_refused(file, said, message):
    with pytest.raises(InputError, match=message):
        Connection(said)


def test_a_file_may_be_given_from_the_home_folder_or_as_a_path(file):
    for said in ("~/cluster.yaml", file):
        with contextlib.closing(Connection(said)) as there:
            assert there.json("GET", "/api/version") == VERSION


@pytest.mark.parametrize(
    ("said", "environment", "address"),
    [
        pytest.param("127.0.0.1:1", "127.0.0.1:2", "http://127.0.0.1:1", id="said"),
        pytest.param(None, "127.0.0.1:2", "http://127.0.0.1:2", id="environment"),
        pytest.param("127.0.0.1:1/", "", "http://127.0.0.1:1", id="slash"),
        pytest.param("127.0.0.1:1/#/jobs", "", "http://127.0.0.1:1", id="as_a_browser_shows_it"),
    ],
)
def test_an_address_that_is_said_goes_before_the_environments(
    file, said, environment, address, monkeypatch
):
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", environment)

    with pytest.raises(Unreachable, match=f"no cluster answers at {address} "):
        Connection(said)


def test_what_only_looks_waits_for_a_cluster_to_come_back_but_not_for_ever(file, monkeypatch):
    monkeypatch.setattr(connection, "PATIENCE_SECONDS", 0.3)
    monkeypatch.setattr(connection, "PAUSE_SECONDS", 0.1)
    tries = []

    def answer(*asked):
        tries.append(asked)
        if len(tries) != 3:
            raise Unreachable("gone")
        return 200, b'"back"'

    with contextlib.closing(Connection(str(file))) as there:
        monkeypatch.setattr(there, "_send", answer)
        assert there.look("/") == "back"
        with pytest.raises(Unreachable, match="gone"):
            there.look("/")
    assert len(tries) > 4
