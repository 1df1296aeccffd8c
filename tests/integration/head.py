"""A Ray of one node as `ray start` makes it, with its Jobs API and a token."""

import json
import os
import secrets
import socket
import subprocess
import sys
import urllib.error
import urllib.request
import uuid
from pathlib import Path

from search.cli.job import TEST_FACTORY
from tests.support.processes import TAG, kill_all, wait_until
from tests.support.stub_run import FACTORY
from tests.support.stub_study import ROOT

PORTS = ("port", "dashboard-port", "dashboard-agent-listen-port", "dashboard-agent-grpc-port")
MORE_PORTS = ("metrics-export-port", "ray-client-server-port", "runtime-env-agent-port")


class Head:
    """Starts when it is made.

    Args:
        folder: Of its own; short, as it has sockets.
        storage: What ``TWOHEAD_STORAGE`` says on the node; None to leave it unset.
    """

    def __init__(self, folder: Path, storage: Path | None, **environment: str) -> None:
        self.tag = uuid.uuid4().hex
        self.token = "canary" + secrets.token_hex(24)
        self.home = folder / "home"
        self.file = self.home / ".ray" / "auth_token"
        self.file.parent.mkdir(parents=True, mode=0o700)
        self.file.write_text(self.token)
        self.file.chmod(0o600)
        ports = dict(zip((*PORTS, *MORE_PORTS), _free_ports(7), strict=True))
        self.address = f"http://127.0.0.1:{ports['dashboard-port']}"
        self.folder = folder
        self.said = (folder / "ray-start.log").open("wb")
        binaries = str(Path(sys.executable).parent)
        environment = {
            "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": ROOT,
            "HOME": str(self.home),
            "RAY_AUTH_MODE": "token",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_LOG_TO_DRIVER": "0",
            "LANG": "C.UTF-8",
            TAG: self.tag,
            TEST_FACTORY: FACTORY,
            **({} if storage is None else {"TWOHEAD_STORAGE": str(storage)}),
            **environment,
        }
        options = [f"--{name}={port}" for name, port in ports.items()]
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"),
                *("--num-cpus=2", "--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1"),
                *("--object-store-memory=100000000", f"--temp-dir={folder / 'r'}", *options),
            ],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self.said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        wait_until(lambda: self._answers() or self.process.poll() is not None, 120)
        assert self.process.poll() is None, (folder / "ray-start.log").read_text()[-2000:]

    def close(self) -> None:
        """Kill all of it; a second call does nothing."""
        kill_all(self.tag)
        self.process.wait(30)
        self.said.close()

    def ask(self, path: str) -> str:
        """Return what the dashboard says, as text."""
        headers = {"Authorization": f"Bearer {self.token}"}
        request = urllib.request.Request(self.address + path, headers=headers)
        with urllib.request.urlopen(request, timeout=30) as response:
            return str(response.read().decode())

    def _answers(self) -> bool:
        try:
            return bool(json.loads(self.ask("/api/version"))["ray_version"])
        except (OSError, urllib.error.URLError):
            return False


def _free_ports(num: int) -> list[int]:
    sockets = [socket.socket() for _ in range(num)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
