"""Runs what reads foreign files in a process of its own, with limits of memory and time.

A damaged or hostile file can end a process (pyarrow 26: ``metadata.row_group(i).column(j)`` of a
damaged footer aborts), can have it allocate without end, or keep it busy for ever. Here that
ends the process that reads, and becomes an `InputError` that names the file.
"""

import os
import pickle
import resource
import select
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, TypeVar, final

from trainables.errors import InputError

T = TypeVar("T")

ANSWER_SECONDS = 300
"""An answer that takes longer never comes: a file system that hangs, or an endless loop."""
CPU_SECONDS = 120
"""The same in seconds of work. The kernel sees to this one, also when nobody waits any more."""

SMALLEST_LIMIT, LARGEST_LIMIT = 2**30, 16 * 2**30
"""Bytes that a reader may take: half of what is free, within these."""

_CODE = """
import sys
sys.path.insert(0, sys.argv[1])
import trainables
del sys.path[0]
from trainables.data.guarded import main
main(int(sys.argv[2]))
"""
"""Without the folders that the parent imports from: other packages of our names may lie there."""
_ENVIRONMENT = {
    "ARROW_DEFAULT_MEMORY_POOL": "system",  # others reserve far more than they use
    "OPENBLAS_NUM_THREADS": "1",  # of NumPy: each thread's stack counts
}
_ANSWER, _END, _ERROR = "answer", "end", "error"
_HEAD_BYTES = 8
_ENDING_SECONDS = 10.0


@final
class Readers:
    """Processes that answer one question after the other, as many as are asked at once.

    They end with this object, and with this process.
    """

    def __init__(self) -> None:
        self._idle: list[_Reader] = []
        weakref.finalize(self, _end_all, self._idle)

    def ask(self, who: str, function: Callable[..., Iterable[T]], *arguments: Any) -> Iterator[T]:
        """Call a function of a module there; yield what it yields.

        Args:
            who: The file that it reads, for messages.
            function: Its items, as the arguments, can be pickled.
            *arguments: Its arguments.

        Raises:
            InputError: If the process ended, or came to a limit.
            Exception: What the function raised.
        """
        reader = self._take()
        try:
            yield from reader.ask(function, arguments)
        except _ReaderLost as lost:
            raise InputError(f"{who} cannot be read: the reader {lost}") from None
        finally:
            if reader.is_idle:
                self._idle.append(reader)
            else:
                reader.end()

    def _take(self) -> "_Reader":
        """Return a process that waits, if any still does, or a new one."""
        with suppress(IndexError):  # another thread may take the last one
            while True:
                reader = self._idle.pop()
                if reader.is_alive:
                    return reader
                reader.end()
        return _Reader()


def shared_readers() -> Readers:
    """Return the readers that this process has; new ones if nobody holds any."""
    found = None if _shared is None else _shared()
    return found or _renewed()


class _ReaderLost(Exception):
    """Why a process answers no more."""


class _Reader:
    """One process, seen by who asks it."""

    def __init__(self) -> None:
        self.is_idle = True
        self._limit = _memory_limit()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _CODE, str(Path(__file__).parents[2]), str(self._limit)],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # what the C++ runtime says when it aborts
            env={**os.environ, **_ENVIRONMENT},
            start_new_session=True,  # a Ctrl-C is not its to take; it ends when its input does
        )
        assert self._process.stdout is not None
        self._answers = self._process.stdout
        self._poll = select.poll()
        self._poll.register(self._answers, select.POLLIN)

    def ask(self, function: Callable[..., Iterable[T]], arguments: tuple[Any, ...]) -> Iterator[T]:
        """Yield the items; the next one is made while the caller has the one before."""
        self.is_idle = False
        self._send((function, arguments))
        kind, value = self._receive()
        while kind == _ANSWER:
            self._send(True)
            try:
                yield value
            except GeneratorExit:
                self._stop()
                raise
            kind, value = self._receive()
        if isinstance(value, MemoryError):
            gib = self._limit / 2**30
            raise _ReaderLost(f"used more than {gib:.1f} GiB: make room, or write smaller pieces")
        self.is_idle = True
        if kind == _ERROR:
            raise value

    @property
    def is_alive(self) -> bool:
        """Whether the process has not ended, as where memory was short."""
        return self._process.poll() is None

    def end(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.wait()

    def _stop(self) -> None:
        """Let the function go; what it has made already comes first."""
        with suppress(_ReaderLost):
            kind, _ = self._receive()
            if kind == _ANSWER:
                self._send(False)
            self.is_idle = True

    def _send(self, message: Any) -> None:
        assert self._process.stdin is not None
        try:
            _write(self._process.stdin, message)
        except BrokenPipeError:
            raise self._lost() from None

    def _receive(self) -> tuple[str, Any]:
        size = int.from_bytes(self._read(_HEAD_BYTES), "little")
        kind, value = pickle.loads(self._read(size))
        return kind, value

    def _read(self, size: int) -> bytearray:
        data = bytearray(size)
        got = 0
        while got < size:
            if not self._poll.poll(ANSWER_SECONDS * 1000):
                raise _ReaderLost(f"took longer than {ANSWER_SECONDS} s")
            num = self._answers.readinto(memoryview(data)[got:])  # type: ignore[attr-defined]
            if not num:
                raise self._lost()
            got += num
        return data

    def _lost(self) -> _ReaderLost:
        try:
            status = self._process.wait(_ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            return _ReaderLost("closed its output")
        if status == -signal.SIGXCPU:
            return _ReaderLost(f"took longer than {CPU_SECONDS} s")
        if status < 0:
            return _ReaderLost(f"ended by signal {signal.Signals(-status).name}")
        return _ReaderLost(f"ended with status {status}")


def _memory_limit() -> int:
    """Return the bytes that a reader may take now: half of what this machine or group has free."""
    return min(max(_free_bytes() // 2, SMALLEST_LIMIT), LARGEST_LIMIT)


def main(limit: int) -> None:
    """Answer what the parent asks until its end; the process' own code."""
    _set_limit(resource.RLIMIT_DATA, limit)
    _set_limit(resource.RLIMIT_CORE, 0)
    questions = os.fdopen(os.dup(sys.stdin.fileno()), "rb")
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever is printed is no answer
    with suppress(BrokenPipeError):
        while asked := _next_from(questions):
            for message in _messages(*asked):
                _write(answers, message)
                if message[0] == _ANSWER and not _next_from(questions):
                    break


def _messages(
    function: Callable[..., Iterable[Any]], arguments: tuple[Any, ...]
) -> Iterator[tuple[str, Any]]:
    try:
        _renew_time()
        for answer in function(*arguments):
            yield _ANSWER, answer
            _renew_time()
    except MemoryError as error:
        yield _ERROR, MemoryError(str(error))
    except Exception as error:
        yield _ERROR, _plain_error(error)
    else:
        yield _END, None


def _next_from(questions: IO[bytes]) -> Any:
    """Return what the parent sent; None once it is gone."""
    head = questions.read(_HEAD_BYTES)
    return pickle.loads(questions.read(int.from_bytes(head, "little"))) if head else None


def _plain_error(error: Exception) -> Exception:
    """Return an error that can be unpickled, with the same text."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # one with arguments of its own
        return ValueError(str(error))
    return error


def _renew_time() -> None:
    _set_limit(resource.RLIMIT_CPU, int(time.process_time()) + 1 + CPU_SECONDS)


def _set_limit(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    soft = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (soft, hard))


def _write(pipe: Any, message: Any) -> None:
    data = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    left = memoryview(len(data).to_bytes(_HEAD_BYTES, "little") + data)
    while left:
        left = left[pipe.write(left) :]


def _free_bytes() -> int:
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        found = next(line for line in lines if line.startswith("MemAvailable:"))
        free = int(found.split()[1]) * 1024
    with suppress(OSError, ValueError):  # "max" where a container has no limit
        group = Path("/sys/fs/cgroup")
        most = int((group / "memory.max").read_text())
        free = min(free, most - int((group / "memory.current").read_text()))
    return free


def _end_all(readers: list[_Reader]) -> None:
    while readers:
        readers.pop().end()


def _renewed() -> Readers:
    global _shared
    readers = Readers()
    _shared = weakref.ref(readers)
    return readers


_shared: "weakref.ref[Readers] | None" = None
