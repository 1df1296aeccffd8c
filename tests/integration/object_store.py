"""An S3 server on this machine, behind a relay, in processes that tests stop and kill."""

import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from tests.support.processes import wait_until

BUCKET = "studies"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_EC2_METADATA_DISABLED": "true",
}

# The server keeps all in its memory; what is killed and started again is the relay in front.
RELAY = """
import socket, sys, threading
def pump(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass
    finally:
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
listening = socket.socket()
listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listening.bind(("127.0.0.1", int(sys.argv[1])))
listening.listen(100)
while True:
    near, _ = listening.accept()
    try:
        far = socket.create_connection(("127.0.0.1", int(sys.argv[2])))
    except OSError:
        near.close()
        continue
    for ends in ((near, far), (far, near)):
        threading.Thread(target=pump, args=ends, daemon=True).start()
"""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class ObjectStore:
    """The server and its relay; nothing of them outlives the test."""

    def __init__(self) -> None:
        self.port, self._behind = free_port(), free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self._behind)]
        quiet = subprocess.DEVNULL
        self.server = subprocess.Popen(
            command, env={**os.environ, **CREDENTIALS}, stdout=quiet, stderr=quiet
        )
        self.relay = self.start_relay()
        wait_until(self.answers)
        bucket = urllib.request.Request(f"{self.endpoint}/{BUCKET}", method="PUT")
        urllib.request.urlopen(bucket, timeout=30).close()

    def start_relay(self) -> "subprocess.Popen[bytes]":
        self.relay = subprocess.Popen(
            [sys.executable, "-c", RELAY, str(self.port), str(self._behind)]
        )
        return self.relay

    def answers(self) -> bool:
        with suppress(OSError):
            urllib.request.urlopen(f"{self.endpoint}/moto-api/", timeout=30).close()
            return True
        return False

    def uri(self, name: str) -> str:
        options = f"endpoint_override=127.0.0.1:{self.port}&scheme=http"
        return f"s3://{BUCKET}/{name}?{options}"

    def end(self) -> None:
        for process in (self.relay, self.server):
            process.kill()
            process.wait()


@contextmanager
def object_store() -> Iterator[ObjectStore]:
    """Yield the server; this process has its keys, which no URI may hold, in the environment."""
    store = ObjectStore()
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in CREDENTIALS.items():
                patch.setenv(name, value)
            yield store
    finally:
        store.end()
