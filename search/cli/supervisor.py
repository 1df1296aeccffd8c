"""A command's parent process: hands signals on, sets limits, and has the last word if need be.

What drives Ray may hang or be ended below Python, in Ray's C++, and cannot say so then. So it is
a child: whoever started the command has a process before them that always ends in words.
"""

import ctypes
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from search.cluster.signals import leave_lost_terminal
from search.cluster.watchdog import (
    LEAVING_SECONDS,
    STARTING_SECONDS,
    heard_by,
    is_stopped,
    parents,
    tell,
)
from search.text import quoted

FAILED, INTERRUPTED = 1, 130
"""Exit statuses of a child that could not tell its own."""
MARGIN_SECONDS = 15.0
"""What a child gets beyond the limit after which its watchdog has ended Ray's processes."""
LIMITS = {
    "starting": STARTING_SECONDS + MARGIN_SECONDS,
    "leaving": LEAVING_SECONDS + MARGIN_SECONDS,
    "told": MARGIN_SECONDS,
}
"""Seconds, by phase; ``told``: after a child has said all it has to say."""
GRACE_SECONDS = 5.0
"""How long a child may take to end after a second signal."""
SAME_SECONDS = 0.05
"""Signals this close are one: `timeout` sends its signal to the process and to its group."""
ORPHANS_SECONDS = 5.0
"""How long what a child leaves may take to end: its watchdog ends Ray in this time."""
LOOK_SECONDS = 0.5
WORDS = {
    "": "while it prepared the study",
    "starting": "while Ray started",
    "running": "while the study ran",
    "leaving": "while it left Ray",
    "ended": "at the end",
}
_SET_PARENT_DEATH_SIGNAL, _SET_CHILD_SUBREAPER = 1, 36  # of prctl, linux/prctl.h


def supervise(drive: Callable[[], int], say: Callable[[str], None]) -> int:
    """Run what drives a study in a child process, and return its exit status.

    It must be called before anything has begun a thread. SIGINT, SIGTERM and SIGHUP go on to the
    child; a second one ends it after `GRACE_SECONDS` at most, a third one at once. A child that
    hangs while Ray starts, or is ended there without a word, is started once more. Where this
    process is killed the child ends with it. In the child this raises ``SystemExit``; in this
    process, which is to end now, the signals are blocked on return.
    """
    _prctl(_SET_CHILD_SUBREAPER, 1)
    spared = _children()  # of a shell that became this process: such as the `tee` of its output
    for is_last in (False, True):
        child = _begin(drive)
        with child.signals_handed_on():
            child.wait()
            _end_orphans(spared)
        if child.status is not None:
            return child.status
        _show_cursor()
        if child.num_signals:
            say("interrupted; what was recorded is kept")
            return INTERRUPTED
        if is_last or child.phase != "starting":
            say(f"{child.end_in_words()}; {child.advice()}")
            return FAILED
        say(f"{child.end_in_words()}; it is started once more")
    raise AssertionError("the second try is the last one")


@dataclass(slots=True)
class _Child:
    """A child process, as far as it is known from outside."""

    pid: int
    told: int
    """The pipe that it tells where it stands by."""
    phase: str = ""
    folder: str = ""
    status: int | None = None
    """The exit status, if it has told one."""
    num_signals: int = 0
    _end: int | None = None
    _hung: bool = False
    _rest: bytes = b""
    _limit: float = 0.0
    _spent: float = 0.0
    _last_signal: float = field(default=-1.0)

    def wait(self) -> None:
        """Wait until the child has ended; end it where it takes longer than it may."""
        began = time.monotonic()
        while not self._has_ended():
            if select.select([self.told], [], [], LOOK_SECONDS)[0]:
                self._hear()
            now = time.monotonic()
            # A pause of this process itself, or of the machine, is not the child's.
            passed, began = min(now - began, 2 * LOOK_SECONDS), now
            if self._limit and (self.num_signals >= 2 or not is_stopped(self.pid)):
                self._spent += passed
                if self._spent >= self._limit:
                    self._hung = self.num_signals < 2
                    self.kill()
        self._hear()
        os.close(self.told)

    def end_in_words(self) -> str:
        """Return how it ended without a word of its own."""
        when = WORDS.get(self.phase, self.phase)
        if self._hung or self._end is None:
            return f"the process that drives the study did not go on {when}"
        if os.WIFSIGNALED(self._end):
            by = signal.Signals(os.WTERMSIG(self._end)).name
            return f"the process that drives the study was ended by {by} {when}"
        status = os.waitstatus_to_exitcode(self._end)
        return f"Ray ended the process that drives the study (status {status}) {when}"

    def advice(self) -> str:
        """Return what to do then."""
        again = f"`twohead resume {quoted(self.folder)}`" if self.folder else "the same command"
        return (
            "perhaps memory was short, or a process of Ray's was killed; what was recorded is "
            f"kept: {again} goes on with it"
        )

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send it a signal, unless it has ended."""
        if self._end is None:
            os.kill(self.pid, number)

    @contextmanager
    def signals_handed_on(self) -> Iterator[None]:
        """Hand on to the child what comes while it runs; what comes later stays blocked."""
        handlers: dict[int, Any] = {
            signal.SIGINT: self._hand_on,
            signal.SIGTERM: self._hand_on,
            signal.SIGHUP: self._hand_on,
            signal.SIGTSTP: self._stop,
            signal.SIGCONT: self._continue,
        }
        former = {number: signal.getsignal(number) for number in handlers}
        for number, handler in handlers.items():
            if number not in (signal.SIGHUP, signal.SIGTSTP) or former[number] != signal.SIG_IGN:
                signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD)
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
            for number, handler in former.items():
                signal.signal(number, handler)

    def _hand_on(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            leave_lost_terminal()
        now = time.monotonic()
        if self.num_signals and now - self._last_signal < SAME_SECONDS:
            return
        self._last_signal = now  # of what counts: a key that is held down comes every 0.03 s
        self.num_signals += 1
        self.kill(number if self.num_signals < 3 else signal.SIGKILL)
        if self.num_signals == 2:
            self._limit, self._spent = GRACE_SECONDS, 0.0

    def _stop(self, number: int, frame: FrameType | None) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGSTOP)
        _show_cursor()
        os.kill(os.getpid(), signal.SIGSTOP)

    def _continue(self, number: int, frame: FrameType | None) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGCONT)

    def _hear(self) -> None:
        """Take in what the child has told."""
        try:
            data = os.read(self.told, 65536)
        except BlockingIOError:
            return
        if not data:
            time.sleep(SAME_SECONDS)  # it ends, or has closed its pipe: no reason to spin
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._take(line.decode(errors="surrogateescape"))

    def _take(self, line: str) -> None:
        kind, _, value = line.partition(" ")
        if kind == "folder":
            self.folder = value
        elif kind == "status":
            self.status = int(value)
            self._set_limit("told")
        else:
            self.phase = kind
            self._set_limit(kind)

    def _set_limit(self, phase: str) -> None:
        if self.num_signals < 2:
            self._limit, self._spent = LIMITS.get(phase, 0.0), 0.0

    def _has_ended(self) -> bool:
        ended, status = os.waitpid(self.pid, os.WNOHANG)
        if ended:
            self._end = status
        return bool(ended)


_HELD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP, signal.SIGCONT)


def _begin(drive: Callable[[], int]) -> _Child:
    """Fork a child that drives; signals stay blocked in the parent."""
    sys.stdout.flush()
    sys.stderr.flush()
    told, telling = os.pipe()
    parent = os.getpid()
    signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
    pid = os.fork()
    if pid == 0:
        os.close(told)
        _drive(drive, telling, parent)
    os.close(telling)
    os.set_blocking(told, False)
    with suppress(OSError):  # whichever of the two comes first
        os.setpgid(pid, pid)
    return _Child(pid=pid, told=told)


def _drive(drive: Callable[[], int], telling: int, parent: int) -> None:
    """Be the child: in a process group of its own, so that a Ctrl-C comes by the parent alone."""
    with suppress(OSError):
        os.setpgid(0, 0)
    if not ends_with(parent, signal.SIGKILL):
        os._exit(FAILED)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # it writes to the terminal all the same
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's job may ignore it
    with heard_by(telling):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD)
        status = drive()
        sys.stdout.flush()
        tell(f"status {status}")
        sys.exit(status)


def _end_orphans(spared: set[int]) -> None:
    """Wait for what the child has left, which is this process' now; then end it."""
    end = time.monotonic() + ORPHANS_SECONDS
    while True:
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        orphans = _children() - spared
        if not orphans:
            return
        if time.monotonic() >= end:
            for orphan in orphans:
                with suppress(ProcessLookupError):
                    os.kill(orphan, signal.SIGKILL)
        time.sleep(SAME_SECONDS)


def _children() -> set[int]:
    return {pid for pid, parent in parents().items() if parent == os.getpid()}


def _show_cursor() -> None:
    """Show the terminal's cursor again, which a live view hides until it ends in order."""
    if sys.stdout.isatty():
        sys.stdout.write("\x1b[?25h\n")
        sys.stdout.flush()


def ends_with(parent: int, number: int) -> bool:
    """Have a signal sent to this process when its parent dies; False if it has died already."""
    _prctl(_SET_PARENT_DEATH_SIGNAL, number)
    return os.getppid() == parent


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None).prctl(option, value)
