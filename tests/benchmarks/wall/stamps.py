"""How a contender's processes tell what they did and when: one file of JSON lines each."""

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

STAMPS = "TWOHEAD_WALL_STAMPS"
"""The environment variable that names the folder."""

_open: dict[int, TextIO] = {}


@contextmanager
def part(name: str, number: int | None = None) -> Iterator[None]:
    """Take the time of a block: ``import``, ``load``, ``build``, ``trace``, ..."""
    start = time.time()
    try:
        yield
    finally:
        stamp_part(name, start, time.time(), number)


def stamp_part(name: str, start: float, end: float, number: int | None = None) -> None:
    """Tell what the seconds from ``start`` to ``end`` were spent on, for which trial."""
    _write({"part": name, "start": start, "end": end, "number": number})


def stamp_result(number: int, epoch: int, losses: Mapping[str, float]) -> None:
    """Tell the validation losses by head of a trial after an epoch, which counts from 1."""
    numbers = {head: float(loss) for head, loss in losses.items()}
    _write({"number": number, "epoch": epoch, "losses": numbers, "at": time.time()})


def read_stamps(folder: Path) -> list[list[dict[str, Any]]]:
    """Return what each process told, in its own order."""
    files = sorted(folder.glob("*.jsonl"))
    return [[json.loads(line) for line in file.read_text().splitlines()] for file in files]


def _write(line: Mapping[str, Any]) -> None:
    process = os.getpid()
    if process not in _open:
        path = Path(os.environ[STAMPS]) / f"{process}.jsonl"
        _open[process] = path.open("a", buffering=1)
    _open[process].write(json.dumps(line) + "\n")
