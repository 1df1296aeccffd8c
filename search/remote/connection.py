"""The way to a cluster's dashboard: an address, or a file whose tunnel is opened and kept up."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, final
from urllib.parse import urlsplit

from search.cluster.token import find_token
from search.errors import ClusterError, InputError, TokenRefused, Unreachable
from search.text import clean

DEFAULT = "http://127.0.0.1:8265"
ADDRESS = "RAY_API_SERVER_ADDRESS"
PORT = 8265
LOOPBACK = ("127.0.0.1", "::1", "localhost")
CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 60.0
LARGEST_ANSWER = 256 * 2**20
PATIENCE_SECONDS = 60.0
"""How long a cluster that answered may be gone while something is waited for."""
PAUSE_SECONDS = 2.0

OPEN_SECONDS = 90.0
"""For looking the head up and logging in there."""
CLOSE_SECONDS = 10.0
LOOK_SECONDS = 0.1
RAY = (sys.executable, "-m", "ray.scripts.scripts")
"""The ``ray`` of this Python, wherever ``PATH`` leads."""

_WITH_PORT = re.compile(r"[^/]+:\d+/")
"""``host:port/...``, as a browser shows an address."""


@final
class Connection:
    """Calls the dashboard of one cluster over HTTP: bounded in time, with errors of ours.

    Ray's own client waits without limit for an answer, takes the token of the whole process as
    it was when ray was imported, and takes two seconds to import (ray 2.60).
    """

    def __init__(self, address: str | os.PathLike[str] | None = None) -> None:
        said = _as_text(address) or os.environ.get(ADDRESS, "").strip() or DEFAULT
        self._token = find_token()
        self._tunnel = _Tunnel(Path(said).expanduser()) if _is_file(said) else None
        if self._tunnel is None:
            self.address = _dashboard_url(said, has_token=bool(self._token))
        else:
            self.address = self._tunnel.open()
        try:
            answer = self.json("GET", "/api/version")
            if not isinstance(answer, dict) or not isinstance(answer.get("ray_version"), str):
                raise self._no_ray()
        except BaseException:
            self.close()
            raise

    def json(self, method: str, path: str, given: Any = None) -> Any:
        """Return the value that is answered, None where there is no such thing."""
        body = None if given is None else json.dumps(given).encode()
        status, content = self.call(method, path, body)
        if status == 404:
            return None
        if status != 200:
            raise self.error(method, path, status, content)
        try:
            return json.loads(content)
        except ValueError:
            raise self._no_ray() from None

    def look(self, path: str) -> Any:
        """Return the value at a path, though the cluster be gone for a while."""
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return self.json("GET", path)
            except Unreachable:
                if time.monotonic() >= end:
                    raise
            time.sleep(PAUSE_SECONDS)

    def call(
        self, method: str, path: str, body: bytes | None = None, *, seconds: float | None = None
    ) -> tuple[int, bytes]:
        """Return the status and the content of an answer; a tunnel that has ended is reopened."""
        seconds = seconds or ANSWER_SECONDS
        try:
            return self._send(method, path, body, seconds)
        except Unreachable:
            if self._tunnel is None or self._tunnel.is_open:
                raise
        self.address = self._tunnel.open()
        return self._send(method, path, body, seconds)

    def error(self, method: str, path: str, status: int, content: bytes) -> ClusterError:
        """Return the error that says what was answered in place of a value."""
        lines = [line for line in content.decode("utf-8", "replace").splitlines() if line.strip()]
        last = lines[-1].strip()[:300] if lines else "no reason"
        return ClusterError(
            f"the cluster at {self.address} could not answer {method} {path}: {status}, {last}"
        )

    def close(self) -> None:
        """End the tunnel, if there is one."""
        if self._tunnel is not None:
            self._tunnel.close()

    def _no_ray(self) -> ClusterError:
        return ClusterError(f"{self.address} answers, but not as the dashboard of a Ray")

    def _send(
        self, method: str, path: str, body: bytes | None, seconds: float
    ) -> tuple[int, bytes]:
        headers = {} if body is None else {"Content-Type": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        connection = http_connection(self.address, CONNECT_SECONDS)
        try:
            connection.connect()
            if connection.sock is not None:
                connection.sock.settimeout(seconds)
            connection.request(method, urlsplit(self.address).path + path, body, headers)
            response = connection.getresponse()
            content = response.read(LARGEST_ANSWER)
        except (OSError, http.client.HTTPException) as error:
            why = str(error) or type(error).__name__
            raise Unreachable(
                f"no cluster answers at {self.address} ({why}): start the tunnel with `ray "
                "dashboard FILE`, or give FILE as the address"
            ) from None
        finally:
            connection.close()
        if response.status in {401, 403}:
            has = (
                "refused this token" if self._token else "asks for a token, and there is none here"
            )
            raise TokenRefused(
                f"the cluster at {self.address} {has}: copy ~/.ray/auth_token from its head to "
                "~/.ray/auth_token here and `chmod 600` it"
            )
        return response.status, content


def _dashboard_url(said: str, *, has_token: bool) -> str:
    """Return an address in its plain form: ``http://host:port``, or ``https`` with a path."""
    given = said if "://" in said else f"http://{said}"
    try:
        parts = urlsplit(given)
        host, port = parts.hostname, parts.port
        (host or "").encode("idna"), parts.path.encode("ascii")
    except ValueError:  # also of letters that no address has
        host, port, parts = None, None, urlsplit("")
    if parts.scheme not in {"http", "https"} or not host or parts.username is not None:
        rule = "http://host:port, host:port, or the file that `ray up` was given"
        raise InputError(f"the address of a cluster needs {rule}, got {said!r}")
    if has_token and parts.scheme == "http" and host not in LOOPBACK:
        raise InputError(
            f"the address of a cluster with a token needs https or an SSH tunnel, got "
            f"{said!r}: give the file that `ray up` was given, or run `ray dashboard "
            "FILE` and leave the address out"
        )
    known = port or (PORT if parts.scheme == "http" else 443)
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}:{known}{parts.path.rstrip('/')}"


def http_connection(url: str, seconds: float) -> http.client.HTTPConnection:
    """Return a connection to who is at a URL, not opened yet."""
    parts = urlsplit(url)
    is_secure = parts.scheme == "https"
    kind = http.client.HTTPSConnection if is_secure else http.client.HTTPConnection
    return kind(parts.hostname or "", parts.port, timeout=seconds)


def _as_text(address: object) -> str:
    said = os.fspath(address) if isinstance(address, os.PathLike) else address or ""
    if not isinstance(said, str):
        raise InputError(f"the address of a cluster needs text or a path, got {said!r}")
    return said.strip()


def _is_file(said: str) -> bool:
    """Tell whether an address is a cluster's file; refuse what looks like one and is not there."""
    path = Path(said).expanduser()
    if "://" in said:
        return False
    if path.is_file():
        return True
    if path.suffix in {".yaml", ".yml"} or ("/" in said and not _WITH_PORT.match(said)):
        raise InputError(f"the file of a cluster needs to be there, got {said!r}")
    return False


@final
class _Tunnel:
    """A port of this machine that leads to a cluster's dashboard over SSH, until it is closed."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_open(self) -> bool:
        """Whether its process lives."""
        return self._process is not None and self._process.poll() is None

    def open(self) -> str:
        """Make the tunnel, anew if there was one, and return the URL that it leads from.

        Raise `Unreachable` if it leads nowhere.
        """
        self.close()
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        with tempfile.TemporaryFile() as said:
            self._process = subprocess.Popen(
                [*RAY, "dashboard", str(self._file), "--port", str(port)],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0"},
                start_new_session=True,  # nobody is asked for a passphrase; all of it can be ended
            )
            try:
                self._wait(port, said)
            except BaseException:
                self.close()
                raise
        return f"http://127.0.0.1:{port}"

    def close(self) -> None:
        """End the tunnel; a second call does nothing."""
        process, self._process = self._process, None
        if process is not None:
            _end(process)

    def _wait(self, port: int, said: IO[bytes]) -> None:
        """Wait until it leads to a dashboard; ``said`` is what its process prints to."""
        end = time.monotonic() + OPEN_SECONDS
        while not _leads_somewhere(port):
            if not self.is_open:
                raise self._failed(said, "")
            if time.monotonic() >= end:
                raise self._failed(said, f"nothing answered within {OPEN_SECONDS:g} s; ")
            time.sleep(LOOK_SECONDS)

    def _failed(self, said: IO[bytes], why: str) -> Unreachable:
        """Return the error with the last lines of what the tunnel's process printed."""
        said.seek(0)
        lines = said.read().decode("utf-8", "replace").splitlines()
        last = [" ".join(line.split()) for line in lines if line.strip()][-3:]
        told = clean("it said: " + " / ".join(last)) if last else "it said nothing"
        return Unreachable(
            f"no tunnel to the cluster of {self._file}: is it up (`ray up {self._file}`)? "
            f"{why}{told}"
        )


def _leads_somewhere(port: int) -> bool:
    """Tell whether what answers at the port speaks HTTP: ssh takes connections to nowhere."""
    try:
        with socket.create_connection(("127.0.0.1", port), 2.0) as connection:
            connection.settimeout(5.0)
            connection.sendall(b"GET /api/version HTTP/1.0\r\nHost: localhost\r\n\r\n")
            return connection.recv(5) == b"HTTP/"
    except OSError:
        return False


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a process that leads its own group, and all in it."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(CLOSE_SECONDS)
            break
