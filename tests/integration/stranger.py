"""Another user, who tries to get at a study: ``python -m tests.integration.stranger JSON``.

Started by root, whose files it may not read once it is another user: so it imports all it needs
before. It prints, as JSON, what became of each attempt.
"""

import errno
import json
import os
import pickle
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

UID = 65534


class Mark:
    """Leaves a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def become_another() -> None:
    """Become a user without any right, for good.

    Raises:
        OSError: If that cannot be done here.
    """
    os.setgroups([])
    os.setgid(UID)
    os.setuid(UID)


def outcome(attempt: Callable[[], Any]) -> str:
    """Return the name of the error of an attempt; "done" if there was none."""
    try:
        attempt()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    return "done"


def attempts(root: Path, mark: Path) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield what to try on a private folder and on what lies in it."""
    session = root / "r" / "session_latest"
    planted = session / "artifacts" / "error.pkl"
    yield "list", lambda: os.listdir(root)
    yield "enter", lambda: os.chdir(root)
    yield "open to all", lambda: root.chmod(0o777)
    yield "rename", lambda: root.rename(root.with_name("theirs"))
    yield "remove", root.rmdir
    yield "write", (root / "file").touch
    yield "lock", lambda: os.open(root / "ray.lock", os.O_RDONLY)
    yield "read a log", lambda: (session / "logs" / "gcs_server.out").read_bytes()
    yield "plant a link in logs", lambda: (session / "logs" / "link").symlink_to("/etc/passwd")
    yield "plant a FIFO", lambda: os.mkfifo(planted)
    yield "plant a pickle", lambda: planted.write_bytes(pickle.dumps(Mark(mark)))
    for name in ("raylet", "plasma_store"):
        yield f"connect to {name}", lambda name=name: connect(session / "sockets" / name)


def connect(path: Path) -> None:
    # A name of any length: it is the kernel that refuses, not the limit of 107 bytes.
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


METHODS = (
    "InternalKVGcsService/InternalKVGet",
    "NodeManagerService/GetSystemConfig",
    "ObjectManagerService/Pull",
    "CoreWorkerService/PushTask",
)
"""What would run code or tell data, of each process that speaks gRPC (ray 2.60)."""


def told(port: int) -> str:
    """Return what a port says to somebody without a token: how it speaks, and what it answers."""
    from search.doctor.ports import _ask_http

    by, answer = _ask_http("127.0.0.1", port, None)
    return f"{by} {answer}" if answer else f"grpc {' '.join(asked(port))}"


def asked(port: int) -> list[str]:
    """Return what a port says to all methods, if it has them; each once."""
    import grpc

    found = set()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        for method in METHODS:
            try:
                channel.unary_unary(f"/ray.rpc.{method}")(b"", timeout=10)
                found.add("answered")
            except grpc.RpcError as error:
                found.add(error.code().name.lower())
    return sorted(found - {"unimplemented"})


def main() -> None:
    given = json.loads(sys.argv[1])
    told(1), asked(1)  # whatever they import only now
    become_another()
    tried = attempts(Path(given["root"]), Path(given["mark"]))
    answers = [told(port) for port in given["ports"]]
    found = {name: outcome(attempt) for name, attempt in tried}
    print(json.dumps({"tried": found, "told": answers}))


if __name__ == "__main__":
    main()
