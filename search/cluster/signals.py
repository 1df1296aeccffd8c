"""SIGINT, SIGTERM and SIGHUP in a run: at once while it prepares, in order while trials train."""

import errno
import fcntl
import os
import signal
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from search.cluster.ray_patches import replaced
from search.errors import ClusterLost
from trainables.errors import SearchError

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def leave_lost_terminal() -> None:
    """Let output go nowhere where it went to a terminal that is gone: writing would raise.

    A process that hears SIGHUP has lost its terminal, mostly.
    """
    for number in (1, 2):
        try:
            fcntl.ioctl(number, termios.TIOCGWINSZ, b"\0" * 8)
        except OSError as error:
            if error.errno == errno.EIO:
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, number)
                os.close(nowhere)


class Flag:
    """Is set by the first SIGINT, SIGTERM or SIGHUP.

    They raise ``KeyboardInterrupt`` wherever the main thread is, but for the first one within
    `patiently`, where the flag is looked at often.
    """

    def __init__(self) -> None:
        self.is_set = False
        self.is_final = False
        """Whether Ray is left when the run ends: then nothing in it needs to end in order."""
        self._is_patient = False

    def install(self) -> None:
        """Take over the signals, but SIGHUP where it is ignored, as by ``nohup``."""
        if threading.current_thread() is threading.main_thread():
            is_kept = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            for number in SIGNALS[:-1] if is_kept else SIGNALS:
                signal.signal(number, self._handle)

    @contextmanager
    def patiently(self) -> Iterator[None]:
        """Let the first signal only set the flag."""
        self._is_patient = True
        try:
            yield
        finally:
            self._is_patient = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the first signal, and raise ``KeyboardInterrupt`` for it afterwards.

        For starting and ending Ray: cut short, either leaves processes behind. ``ray.init``
        puts handlers of its own in the place of ours; only the main thread can, and it is busy
        here, so ``signal.signal`` is left without effect meanwhile.
        A blocked mask would not do, as Ray's processes would inherit it.
        Not held is a SIGTERM in the last half second of ``ray.init``: Ray's C++ aborts for it.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        was_set, was_patient, set_handler = self.is_set, self._is_patient, signal.signal

        def keep(number: int, handler: Any) -> Any:
            return signal.getsignal(number) if number in SIGNALS else set_handler(number, handler)

        self._is_patient = True
        try:
            with replaced(signal, "signal", keep):
                yield
        finally:
            self.install()  # Ray's C++ has taken SIGTERM, below what Python knows of
            self._is_patient = was_patient
            if self.is_set and not was_set:
                raise KeyboardInterrupt

    def check(self) -> None:
        """Raise ``KeyboardInterrupt`` if a signal has come, whatever became of it then.

        An import of pyarrow and pandas swallows it, for one (pyarrow 23): the run would go on.
        """
        if self.is_set:
            raise KeyboardInterrupt

    def look(self) -> bool:
        """Tell whether a signal has come, or raise ``KeyboardInterrupt`` if nothing needs order.

        A signal to the whole process group may have ended Ray's own processes, and then
        whatever Tune does to end its trials in order waits a minute for them.
        """
        if self.is_set and self.is_final:
            raise KeyboardInterrupt
        return self.is_set

    def _handle(self, number: int, frame: Any) -> None:
        if number == signal.SIGHUP:
            leave_lost_terminal()
        is_first, self.is_set = not self.is_set, True
        if not (is_first and self._is_patient):
            raise KeyboardInterrupt


@contextmanager
def catch_signals() -> Iterator[Flag]:
    """Yield a flag for the time of a run, and give the signals back at its end.

    A foreign error after a signal comes of that: what was cut short does not work any more. So
    does the loss of Ray, whose processes a signal to the whole process group ends.
    """
    former = {number: signal.getsignal(number) for number in SIGNALS}
    flag = Flag()
    flag.install()
    try:
        yield flag
    except Exception as error:
        if isinstance(error, ClusterLost) or not isinstance(error, SearchError):
            flag.check()
        raise
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in former.items():
                signal.signal(number, handler)
