"""The way to a cluster: an address, or a file whose tunnel is opened and kept up."""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self, TypeVar

from search.cluster.token import find_token
from search.errors import InputError, Unreachable
from search.remote.jobs import JobsApi
from search.text import clean

Answer = TypeVar("Answer")


DEFAULT = "http://127.0.0.1:8265"


ADDRESS = "RAY_API_SERVER_ADDRESS"


PATIENCE_SECONDS = 60.0
"""How long a cluster that answered may be gone while something is waited for."""


PAUSE_SECONDS = 2.0


_WITH_PORT = re.compile(r"[^/]+:\d+/")
"""``host:port/...``, as a browser shows an address."""


OPEN_SECONDS = 90.0
"""For looking the head up and logging in there."""


class Tunnel:
    """A port of this machine that leads to the dashboard of a cluster, until it is closed."""

    def __init__(self, file: Path, *, command: tuple[str, ...] | None = None) -> None:
        self._file = file
        self._command = command or RAY
        self._process: subprocess.Popen[bytes] | None = None
        self._said: IO[bytes] | None = None
        self.port = 0

    @property
    def address(self) -> str:
        """What the dashboard answers to."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def is_open(self) -> bool:
        """Whether its process lives."""
        return self._process is not None and self._process.poll() is None

    def open(self, *, seconds: float = OPEN_SECONDS) -> None:
        """Make the tunnel, anew if there was one.

        Raises:
            Unreachable: If it does not lead anywhere in time; with what the last lines said.
        """
        self.close()
        self.port = _free_port()
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        self._process = subprocess.Popen(
            [*self._command, "dashboard", str(self._file), "--port", str(self.port)],
            stdin=subprocess.DEVNULL,
            stdout=self._said,
            stderr=subprocess.STDOUT,
            env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0"},
            start_new_session=True,  # nobody is asked for a passphrase, and all of it can be ended
        )
        end = time.monotonic() + seconds
        try:
            while not _leads_somewhere(self.port):
                if not self.is_open:
                    raise Unreachable(f"{self._failed()} {self._last_words()}")
                if time.monotonic() >= end:
                    raise Unreachable(
                        f"{self._failed()} nothing answered within {seconds:g} s; "
                        f"{self._last_words()}"
                    )
                time.sleep(LOOK_SECONDS)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the tunnel; a second call does nothing."""
        process, self._process = self._process, None
        if process is not None:
            _end(process)
        if self._said is not None:
            self._said.close()
            self._said = None

    def _failed(self) -> str:
        return f"no tunnel to the cluster of {self._file}: is it up (`ray up {self._file}`)?"

    def _last_words(self) -> str:
        """Return the last lines of what the tunnel's process printed."""
        if self._said is None:
            return ""
        self._said.seek(0)
        lines = self._said.read().decode("utf-8", "replace").splitlines()
        last = [" ".join(line.split()) for line in lines if line.strip()][-3:]
        return clean("it said: " + " / ".join(last)) if last else "it said nothing"


class Connection:
    """Calls Ray's Jobs API of one cluster.

    Args:
        address: A URL, ``host:port``, or the file that `ray up` was given; None for what
            ``RAY_API_SERVER_ADDRESS`` says, else the port that `ray dashboard` opens.

    Raises:
        InputError: If it is no address, or the token is not safe.
        ClusterError: If nothing answers there.
        TokenRefused: If the cluster wants another token.
    """

    def __init__(self, address: str | os.PathLike[str] | None = None) -> None:
        said = _plain(address) or os.environ.get(ADDRESS, "").strip() or DEFAULT
        self._token = find_token()
        self._tunnel = Tunnel(Path(said).expanduser()) if _is_file(said) else None
        if self._tunnel is None:
            self._api = JobsApi(address=said, token=self._token)
        else:
            self._open_tunnel(self._tunnel)
        try:
            self.ray_version = self._api.check()
        except BaseException:
            self.close()
            raise

    def call(self, ask: Callable[[JobsApi], Answer]) -> Answer:
        """Return what a call gives; a tunnel that has ended is opened once more."""
        try:
            return ask(self._api)
        except Unreachable:
            if self._tunnel is None or self._tunnel.is_open:
                raise
        self._open_tunnel(self._tunnel)
        return ask(self._api)

    def call_patiently(self, ask: Callable[[JobsApi], Answer]) -> Answer:
        """Return what a call gives that only looks, though the cluster be gone for a while.

        Raises:
            ClusterError: If it is not back in time.
        """
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return self.call(ask)
            except Unreachable:
                if time.monotonic() >= end:
                    raise
            time.sleep(PAUSE_SECONDS)

    @property
    def address(self) -> str:
        """The URL that is called."""
        return self._api.address

    def close(self) -> None:
        """End the tunnel, if there is one."""
        if self._tunnel is not None:
            self._tunnel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _open_tunnel(self, tunnel: Tunnel) -> None:
        tunnel.open()
        self._api = JobsApi(address=tunnel.address, token=self._token)


def _plain(address: object) -> str:
    said = os.fspath(address) if isinstance(address, os.PathLike) else address or ""
    if not isinstance(said, str):
        raise InputError(f"the address of a cluster needs text or a path, got {said!r}")
    return said.strip()


def _is_file(said: str) -> bool:
    """Tell whether an address is a cluster's file.

    Raises:
        InputError: If it looks like one and is not there.
    """
    if "://" in said:
        return False
    path = Path(said).expanduser()
    if path.is_file():
        return True
    if path.suffix in {".yaml", ".yml"} or ("/" in said and not _WITH_PORT.match(said)):
        raise InputError(f"the file of a cluster needs to be there, got {said!r}")
    return False


CLOSE_SECONDS = 10.0


LOOK_SECONDS = 0.1


RAY = (sys.executable, "-m", "ray.scripts.scripts")
"""The ``ray`` of this Python, wherever ``PATH`` leads."""


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


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
