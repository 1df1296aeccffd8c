"""A process beside the driver that ends a Ray of ours when the driver hangs, or is gone.

The driver itself cannot: it may be killed, ended by Ray's C++ below Python, or hang there with the
interpreter's lock held (ray 2.60). Ray's own agents outlived a killed driver by 82 s.

This file is also what that process runs, as a script without site-packages: it imports what
belongs to Python, so that it is there within milliseconds.
"""

import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

STARTING_SECONDS = 60.0
"""How long Ray may take to start, each time that it is tried. It takes 1.3 s; beyond 30 s Ray
itself gives up, where it can (ray 2.60)."""
LEAVING_SECONDS = 30.0
"""How long it may take to end; it takes about a second."""
LOOK_SECONDS = 0.5
"""Between two looks at whether the driver is there."""
ENDING_SECONDS = 5.0
"""For how long new processes of a Ray that is being ended are looked for."""
PAUSE_SECONDS = 0.05
LOCK = "ray.lock"
"""The file in the folder whose lock says that its run is alive: the last one that goes."""

_listeners: list[int] = []
"""File descriptors that take lines."""


@contextmanager
def heard_by(listener: int) -> Iterator[None]:
    """Let who reads from a pipe hear what is told; one that has gone is no error."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def tell(line: str) -> None:
    """Tell who watches from outside which phase begins, or begins once more.

    ``starting`` (or joining Ray), ``running``, ``leaving`` or ``ended``: they are to know what
    this process was at when it hangs or ends without a word. Phases are single words.
    """
    for listener in _listeners:
        with suppress(OSError):
            os.write(listener, f"{line}\n".encode(errors="surrogateescape"))


def tell_folder(folder: str) -> None:
    """Tell which study this process has begun to write."""
    tell(f"folder {' '.join(folder.splitlines())}")


@contextmanager
def watchdog(root: str, lock_fd: int) -> Iterator[None]:
    """Have a process watch over the Ray that is going to live below a folder.

    It hears what is told, ends all processes of that Ray when starting or leaving it takes too
    long, and when the block ends. As soon as this process is gone it also removes the folder.
    """
    given = [root, str(os.getpid()), str(STARTING_SECONDS), str(LEAVING_SECONDS)]
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", __file__, *given],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(lock_fd,),
        start_new_session=True,  # what ends the driver's terminal or group is not for it
        cwd="/",
    )
    assert process.stdin is not None, "it is a pipe"
    try:
        with heard_by(process.stdin.fileno()):
            yield
    finally:
        with suppress(BrokenPipeError):  # it has ended; else a forked copy may keep the pipe open
            process.stdin.write(b"ended\n")
            process.stdin.close()
        try:
            process.wait(2 * ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _processes_of(root: str, *, spared: int) -> set[int]:
    """Return the living processes of the Ray below a folder, and what they have begun.

    Ray's own name the folder in their command, or write to files in it; its workers and agents
    change their command to ``ray::...`` (ray 2.60). A process that was merely forked off the
    driver has the driver's files open, too, and is none of them.
    """
    known = parents()
    found = {pid for pid in known if pid != spared and _belongs(pid, root)}
    grows = bool(found)
    while grows:
        begun = {pid for pid, parent in known.items() if parent in found} - found - {spared}
        found |= begun
        grows = bool(begun)
    return found


def end_processes(root: str, *, spared: int) -> None:
    """SIGKILL the processes of the Ray below a folder, until there are none."""
    for _ in range(round(ENDING_SECONDS / PAUSE_SECONDS)):
        found = _processes_of(root, spared=spared)
        if not found:
            return
        for pid in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(PAUSE_SECONDS)


def _belongs(pid: int, root: str) -> bool:
    with suppress(OSError):
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            command = file.read()
        below = root.encode() + b"/"
        if below in command:
            return True
        files = os.listdir(f"/proc/{pid}/fd") if command.startswith(b"ray::") else ("1", "2")
        return any(_is_below(f"/proc/{pid}/fd/{name}", root) for name in files)
    return False


def _is_below(link: str, root: str) -> bool:
    with suppress(OSError):
        return os.readlink(link).startswith(f"{root}/")
    return False


def parents() -> dict[int, int]:
    """Return the parent of each living process of this user but this one, by its id."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdecimal() and int(name) != os.getpid():
            with suppress(OSError):
                if os.stat(f"/proc/{name}").st_uid == os.getuid():
                    state, parent = _state(int(name))
                    if state not in "ZX":
                        found[int(name)] = parent
    return found


def _state(pid: int) -> tuple[str, int]:
    """Return the state of a process, as a letter, and its parent."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        state, parent = file.read().rpartition(b")")[2].split()[:2]
    return state.decode(), int(parent)


def is_stopped(pid: int) -> bool:
    """Tell whether a process was stopped, such as by Ctrl-Z: then it cannot be late."""
    with suppress(OSError):
        return _state(pid)[0] in "Tt"
    return False


def _watch(root: str, driver: int, limits: dict[bytes, float]) -> None:
    """End what the driver does not end by itself; return when it is gone or asks for the end."""
    limit, spent = limits[b"starting"], 0.0
    while os.getppid() == driver:
        if select.select([sys.stdin.fileno()], [], [], LOOK_SECONDS)[0]:
            told = os.read(sys.stdin.fileno(), 65536)
            phases = [line for line in told.split(b"\n") if line and b" " not in line]
            if not told or b"ended" in phases:
                return
            if phases:
                limit, spent = limits.get(phases[-1], 0.0), 0.0
        elif limit and not is_stopped(driver):
            spent += LOOK_SECONDS  # counted in looks: where this process was stopped, too
            if spent >= limit:
                end_processes(root, spared=driver)
                spent = 0.0


def remove_folder(root: str) -> None:
    """Remove the folder of a Ray, whose lock is held, as far as that goes.

    What cannot go, such as that of a Ray whose processes still end, is left to the next sweep,
    with the lock that it is found by.
    """
    with suppress(OSError):
        for entry in list(os.scandir(root)):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            elif entry.name != LOCK:
                os.unlink(entry.path)
        if os.listdir(root) == [LOCK]:
            os.unlink(f"{root}/{LOCK}")
            os.rmdir(root)


def main(root: str, driver: int, starting: float, leaving: float) -> None:
    """Watch over the Ray below a folder; the process' own code."""
    _watch(root, driver, {b"starting": starting, b"leaving": leaving})
    end_processes(root, spared=driver)
    if os.getppid() != driver:  # else the driver removes it
        remove_folder(root)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4]))
