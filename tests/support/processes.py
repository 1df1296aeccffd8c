"""Finds and ends the processes that a test has started, whoever their parent is by now."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

TAG = "TWOHEAD_TEST_TAG"
"""An environment variable that all descendants of a process inherit."""


def tagged(tag: str) -> list[int]:
    """Return the living processes that carry this tag."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and _carries(folder, tag):
            found.append(int(folder.name))
    return found


def kill_all(tag: str) -> int:
    """SIGKILL all processes with this tag, this one last; return how many there were."""
    killed: set[int] = set()
    while others := [pid for pid in tagged(tag) if pid != os.getpid()]:
        for pid in others:
            kill(pid)
            killed.add(pid)
        time.sleep(0.02)
    if os.environ.get(TAG) == tag:
        kill(os.getpid())
    return len(killed)


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def is_alive(pid: int) -> bool:
    """Tell whether a process is there and no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in {"Z", "X"}


def wait_until(holds: Callable[[], bool], seconds: float = 120.0) -> None:
    """Wait for something that must come; the limit is there for hangs alone."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"waited {seconds:g} s for nothing"
        time.sleep(0.02)


def _carries(folder: Path, tag: str) -> bool:
    try:
        environment = (folder / "environ").read_bytes().split(b"\0")
    except OSError:
        return False
    return f"{TAG}={tag}".encode() in environment and is_alive(int(folder.name))
