"""An SSH tunnel to a cluster's dashboard, as ``ray dashboard FILE`` makes it."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

from search.errors import Unreachable
from search.wording import clean

OPEN_SECONDS = 90.0
"""For looking the head up and logging in there."""
CLOSE_SECONDS = 10.0
LOOK_SECONDS = 0.1
RAY = (sys.executable, "-m", "ray.scripts.scripts")
"""The ``ray`` of this Python, wherever ``PATH`` leads."""


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
