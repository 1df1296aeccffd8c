"""SIGINT and SIGTERM during a run: at once while it prepares, in order while trials train."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Flag:
    """Is set by the first SIGINT or SIGTERM.

    Both raise ``KeyboardInterrupt`` wherever the main thread is, but for the first one within
    `patiently`, where the flag is looked at often.
    """

    def __init__(self) -> None:
        self.is_set = False
        self.is_final = False
        """Whether Ray is left when the run ends: then nothing in it needs to end in order."""
        self._is_patient = False

    def install(self) -> None:
        """Take over the signals; to be repeated after ``ray.init``, which takes SIGTERM."""
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                signal.signal(number, self._handle)

    @contextmanager
    def patiently(self) -> Iterator[None]:
        """Let the first signal only set the flag."""
        self._is_patient = True
        try:
            yield
        finally:
            self._is_patient = False

    def look(self) -> bool:
        """Tell whether a signal has come, or raise ``KeyboardInterrupt`` if nothing needs order.

        A signal to the whole process group may have ended Ray's own processes, and then
        whatever Tune does to end its trials in order waits a minute for them.
        """
        if self.is_set and self.is_final:
            raise KeyboardInterrupt
        return self.is_set

    def _handle(self, number: int, frame: Any) -> None:
        is_first, self.is_set = not self.is_set, True
        if not (is_first and self._is_patient):
            raise KeyboardInterrupt


@contextmanager
def catch_signals() -> Iterator[Flag]:
    """Yield a flag for the time of a run, and give the signals back at its end."""
    former = {number: signal.getsignal(number) for number in SIGNALS}
    flag = Flag()
    flag.install()
    try:
        yield flag
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in former.items():
                signal.signal(number, handler)
