"""How the slots of a run were used: what the wall time, times the slots, went into."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from trainables.store import Store


class Usage:
    """Takes note of when each process began its first trial and ended its last.

    Args:
        slots: Trials that run side by side.
        now: Seconds since the epoch.
    """

    def __init__(self, slots: int, now: Callable[[], float] = time.time) -> None:
        self._slots = slots
        self._now = now
        self._started = now()
        self._closed = self._started
        self._began: dict[str, float] = {}
        self._last_end: dict[str, float] = {}
        self._trials: list[tuple[int, int, float]] = []

    def seen(self, process: str, began_at: float) -> None:
        """Note a result of a process, which began its first trial at ``began_at``."""
        self._began.setdefault(process, began_at)

    def ended(self, process: str, number: int, attempt: int) -> None:
        """Note that a process has ended this attempt at a trial, and with it the trial, just now.

        All since it ended the one before, or began its first, is this one's.
        """
        now = self._now()
        since = self._last_end.get(process, self._began.get(process, now))
        self._trials.append((number, attempt, round(now - since, 6)))
        self._last_end[process] = now

    def close(self) -> None:
        """Note that the run is over."""
        self._closed = self._now()

    def to_dict(self) -> dict[str, Any]:
        """Return the figures, in seconds, each summed over the slots but for the wall time.

        ``startup_seconds``: until each slot's first process began its first trial.
        ``idle_seconds``: from each process' last trial to the end, when none was left for it.
        ``trial_seconds``: number, attempt and seconds of a slot of each trial that ended.
        """
        began = sorted(self._began.values())[: self._slots]
        unused = self._slots - len(began)
        wall = self._closed - self._started
        return {
            "wall_seconds": wall,
            "slots": self._slots,
            "startup_seconds": sum(max(0.0, b - self._started) for b in began) + unused * wall,
            "idle_seconds": sum(max(0.0, self._closed - end) for end in self._ends()),
            "trials": len(self._trials),
            "trial_seconds": [list(trial) for trial in self._trials],
        }

    def _ends(self) -> list[float]:
        """Return when each slot ended its last trial."""
        return sorted(self._last_end.values(), reverse=True)[: self._slots]


@contextmanager
def recorded(usage: Usage, store: Store, generation: int) -> Iterator[None]:
    """Write a run's usage to ``runs/`` when it is over, however it ends.

    What ended the run is raised, also where its usage cannot be written.

    Args:
        usage: What takes note meanwhile.
        store: The study's folder.
        generation: The owner of the study during the run.
    """
    try:
        yield
    except BaseException:
        with suppress(Exception):
            _write(usage, store, generation)
        raise
    _write(usage, store, generation)


def _write(usage: Usage, store: Store, generation: int) -> None:
    usage.close()
    figures = {"generation": generation, **usage.to_dict()}
    store.put(f"runs/{generation:06d}.json", json.dumps(figures).encode())
