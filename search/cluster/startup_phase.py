"""Where this process stands with its Ray, told to the processes that watch over it from outside.

They are to know what it was at when it hangs or ends without a word: in C++ it may do both, with
the interpreter's lock held.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Literal

Phase = Literal["starting", "running", "leaving", "ended"]
"""``starting``: Ray starts here, or is joined. ``leaving``: it ends here, or is left."""

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


def tell(phase: Phase) -> None:
    """Tell that a phase begins; also when it begins once more."""
    _write(phase)


def tell_folder(folder: str) -> None:
    """Tell which study this process has begun to write."""
    _write(f"folder {' '.join(folder.splitlines())}")


def tell_status(status: int) -> None:
    """Tell the exit status of a command that has said all it has to say."""
    _write(f"status {status}")


def _write(line: str) -> None:
    for listener in _listeners:
        with suppress(OSError):
            os.write(listener, f"{line}\n".encode(errors="surrogateescape"))
