import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from search.errors import ClusterError, InputError, TokenRefused, Unreachable
from search.remote import connection
from search.remote.connection import Connection, _dashboard_url
from search.remote.jobs import KIND, Jobs

META = {KIND: "study", "name": "d"}
JOB = {"submission_id": "j1", "status": "RUNNING", "start_time": 5000, "metadata": META}


class Dashboard(BaseHTTPRequestHandler):
    """Answers as it is told, and remembers what it was asked."""

    answers: ClassVar[dict] = {}
    seen: ClassVar[list] = []

    def _answer(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        self.seen.append((self.command, self.path, self.headers.get("Authorization"), body))
        found = self.answers.get((self.command, self.path), (404, b"nothing here"))
        if found is None:
            self.server.released.wait(60)
            return
        status, content = found
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/elsewhere")
        self.end_headers()
        self.wfile.write(content if isinstance(content, bytes) else json.dumps(content).encode())

    do_GET = do_POST = do_PUT = do_DELETE = _answer

    def log_message(self, *args):
        pass


@pytest.fixture
def dashboard(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    answers = {("GET", "/api/version"): (200, {"ray_version": "2.60.0"})}
    handler = type("Handler", (Dashboard,), {"answers": answers, "seen": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.released = threading.Event()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    handler.address = f"127.0.0.1:{server.server_address[1]}"
    yield handler
    server.released.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize(
    ("given", "address"),
    [
        pytest.param("localhost:80", "http://localhost:80", id="host_and_port"),
        pytest.param("127.0.0.1", "http://127.0.0.1:8265", id="host"),
        pytest.param("http://[::1]:8265/", "http://[::1]:8265", id="ipv6"),
        pytest.param("https://ray.example/a/", "https://ray.example:443/a", id="behind_a_proxy"),
    ],
)
def test_an_address_is_told_in_one_form(given, address):
    assert _dashboard_url(given, has_token=True) == address


@pytest.mark.parametrize(
    "given",
    [
        *("ray://h:10001", "ftp://h", "http://", "h:99999", "http://me:pw@h:80", "://", "a b:c"),
        *("a..b:80", "http://h:80/ä"),
    ],
)
def test_what_is_no_address_is_refused(given):
    with pytest.raises(InputError, match="the address of a cluster needs http://host:port"):
        _dashboard_url(given, has_token=False)


def test_a_token_is_never_sent_in_clear_to_another_machine():
    with pytest.raises(InputError, match="with a token needs https or an SSH tunnel"):
        _dashboard_url("http://10.0.0.5:8265", has_token=True)

    plain = "http://10.0.0.5:8265"
    assert _dashboard_url(plain, has_token=False) == plain


def test_jobs_are_read_and_sent_with_the_token(dashboard, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "t")
    api = Jobs(Connection(dashboard.address))
    agent = {"driver_agent_http_address": "http://10.0.0.7:52365", "driver_exit_code": 1}
    ended = {**JOB, "status": "FAILED", "end_time": 7000, "metadata": {"name": "d"}, **agent}
    dashboard.answers |= {
        ("GET", "/api/jobs/"): (200, [JOB, {"submission_id": None, "status": "RUNNING"}]),
        ("GET", "/api/jobs/j1"): (200, ended),
        ("GET", "/api/jobs/j1/logs"): (200, {"logs": "hello\n"}),
        ("POST", "/api/jobs/"): (200, {"submission_id": "j2"}),
    }

    [running] = api.of_studies().values()
    job = api.job("j1")
    api.submit("j2", "exec x", {"a": "b"}, {})

    assert (running.id, running.has_ended, running.began) == ("j1", False, 5.0)
    assert (job.has_ended, job.ended, job.node, job.exit_status) == (True, 7.0, "10.0.0.7", 1)
    assert api.job("gone") is None
    assert (api.logs("j1"), api.logs("gone")) == ("hello\n", "")
    assert {authorization for _, _, authorization, _ in dashboard.seen} == {"Bearer t"}
    sent = [json.loads(body) for method, _, _, body in dashboard.seen if method == "POST"]
    assert sent[0]["entrypoint"] == "exec x"


def test_a_package_is_sent_once(dashboard):
    api = Jobs(Connection(dashboard.address))
    dashboard.answers["PUT", "/api/packages/gcs/p.zip"] = (200, b"")

    api.upload("p.zip", b"content")
    dashboard.answers["GET", "/api/packages/gcs/p.zip"] = (200, b"")
    api.upload("p.zip", b"content")

    assert [method for method, *_ in dashboard.seen].count("PUT") == 1


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        pytest.param((401, b"no"), TokenRefused, "asks for a token, and there is none", id="401"),
        pytest.param((403, b"no"), TokenRefused, "copy ~/.ray/auth_token from its head", id="403"),
        pytest.param((200, b"<html>"), ClusterError, "not as the dashboard of a Ray", id="html"),
        pytest.param((200, [1]), ClusterError, "not as the dashboard of a Ray", id="other_json"),
        pytest.param((404, b""), ClusterError, "not as the dashboard of a Ray", id="not_found"),
        pytest.param((302, b""), ClusterError, "302, no reason", id="no_redirect_is_followed"),
        pytest.param(
            (500, b"Traceback\n  File\nOSError: the disk\n"),
            ClusterError,
            "could not answer GET /api/version: 500, OSError: the disk$",
            id="500",
        ),
    ],
)
def test_what_answers_otherwise_is_an_error_of_ours(dashboard, answer, error, message):
    dashboard.answers["GET", "/api/version"] = answer

    with pytest.raises(error, match=message):
        Connection(dashboard.address)


def test_who_does_not_answer_is_not_waited_for_without_end(dashboard, monkeypatch):
    api = Jobs(Connection(dashboard.address))
    monkeypatch.setattr(connection, "ANSWER_SECONDS", 0.2)
    dashboard.answers["GET", "/api/jobs/"] = None

    with pytest.raises(Unreachable, match="no cluster answers at http://127"):
        api.of_studies()


def test_where_nothing_listens_the_cure_is_named(dashboard):
    with pytest.raises(Unreachable, match="start the tunnel with `ray dashboard FILE`"):
        Connection("127.0.0.1:1")
