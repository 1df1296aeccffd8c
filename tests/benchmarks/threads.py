"""Processor time by thread of this process, and by process of a Ray that it started."""

import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

OWN_CLOCK = 6
CLOCK_OF_PROCESS = 2
"""How Linux names the processor clock of a thread of this process, and of any process."""

AGENTS = ("ray::Dashboard", "ray::RuntimeEnv")


def of_threads() -> Counter[str]:
    """Return the processor seconds of this process by name of the thread.

    Threads of one name count together; what has ended since is missing.
    """
    seconds: Counter[str] = Counter()
    main = os.getpid()
    for task in Path("/proc/self/task").iterdir():
        try:
            name = "main thread" if int(task.name) == main else (task / "comm").read_text().strip()
            seconds[name] += _seconds(int(task.name), OWN_CLOCK)
        except OSError:
            continue
    return seconds


def of_children() -> Counter[str]:
    """Return the processor seconds of the processes that descend from this one, by name."""
    seconds: Counter[str] = Counter()
    for process in _descendants(os.getpid()):
        try:
            name = Path(f"/proc/{process}/comm").read_text().strip()
            # A worker has the name of what it is at.
            is_worker = name.startswith("ray::") and not name.startswith(AGENTS)
            seconds["workers" if is_worker else name] += _seconds(process, CLOCK_OF_PROCESS)
        except OSError:
            continue
    return seconds


def _seconds(number: int, clock: int) -> float:
    return time.clock_gettime((~number << 3) | clock)


def _descendants(parent: int) -> Iterator[int]:
    for task in Path(f"/proc/{parent}/task").iterdir():
        try:
            children = (task / "children").read_text().split()
        except OSError:
            continue
        for child in map(int, children):
            yield child
            yield from _descendants(child)
