"""Where the driver's time goes: stopwatches around its parts, each without what it calls."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

WAITING = "waiting for results"
"""What is not the driver's work."""


class Parts:
    """Seconds by part of the driver's one thread: wall and processor time, and calls.

    A part that is called by another is not counted as the other's.
    """

    def __init__(self) -> None:
        self.wall: dict[str, float] = defaultdict(float)
        self.cpu: dict[str, float] = defaultdict(float)
        self.calls: dict[str, int] = defaultdict(int)
        self._open: list[str] = ["else"]
        self._at = (time.perf_counter(), time.thread_time())

    def begin(self, name: str) -> None:
        """Count for this part from now on."""
        self._lap()
        self.calls[name] += 1
        self._open.append(name)

    def end(self) -> None:
        """Count for the part that called this one again."""
        self._lap()
        self._open.pop()

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function with a stopwatch around it."""

        def call(*given: Any, **named: Any) -> Any:
            self.begin(name)
            try:
                return function(*given, **named)
            finally:
                self.end()

        return call

    def _lap(self) -> None:
        at = (time.perf_counter(), time.thread_time())
        name = self._open[-1]
        self.wall[name] += at[0] - self._at[0]
        self.cpu[name] += at[1] - self._at[1]
        self._at = at


@contextmanager
def instrument(parts: Parts) -> Iterator[None]:
    """Put stopwatches around the parts of a run's driver, as far as its main thread runs them."""
    import ray
    from ray.tune.execution.tune_controller import TuneController

    import search.cluster.session
    import search.running.run
    from search.record.log import StudyLog
    from search.running.checkpoints import Checkpoints
    from search.running.conductor import Conductor
    from search.sampling.suggest import Suggester
    from trainables.storage.local import LocalFiles

    places: list[tuple[Any, str, str]] = [
        (TuneController, "step", "Ray Tune"),
        (ray, "wait", WAITING),
        (Conductor, "measured", "conductor: result"),
        (Conductor, "ask", "conductor: ask"),
        (Conductor, "_take_up", "taking up"),
        (StudyLog, "record", "record"),
        (StudyLog, "_write", "record"),
        (StudyLog, "trial", "record"),
        (StudyLog, "fold", "fold"),
        (StudyLog, "open_for_writing", "opening"),
        (LocalFiles, "sync", "fsync"),
        (LocalFiles, "sync_folder", "fsync"),
        (LocalFiles, "scan", "listing"),
        (Suggester, "put", "memory"),
        (Suggester, "suggest", "suggest"),
        (Checkpoints, "tidy", "tidy"),
        (Checkpoints, "tidy_all", "tidy all"),
        (search.running.run, "prepare", "prepare"),
        (search.running.run, "stored_study", "reading"),
        (search.running.run, "is_done", "reading"),
        (search.running.run, "read", "reading"),
        (search.running.run, "check_data", "checking data"),
        (search.running.run, "find_room", "room"),
        (search.cluster.session, "_init", "Ray's start"),
    ]
    main = threading.main_thread()
    with ExitStack() as stack:
        for owner, attribute, name in places:
            function = getattr(owner, attribute)
            timed = parts.timed(name, function)

            def either(*given: Any, _pair: Any = (function, timed), **named: Any) -> Any:
                return _pair[threading.current_thread() is main](*given, **named)

            stack.enter_context(patch.object(owner, attribute, either))
        yield
