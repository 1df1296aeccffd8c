"""Keeps every run as a file, so that rounds and contenders can be run piece by piece."""

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def keep(folder: Path, run: Mapping[str, Any]) -> Path:
    """Write a run into a folder under a name of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    moment = time.strftime("%Y%m%d-%H%M%S", time.gmtime(run["started"]))
    name = f"{moment}-{run['contender']}-{run['precision']}-{uuid.uuid4().hex[:8]}.json"
    path = folder / name
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(run))
    temporary.rename(path)
    return path


def kept(folder: Path, settings: Mapping[str, Any]) -> tuple[list[dict[str, Any]], int]:
    """Return the runs of a folder with these settings, oldest first, and how many have others."""
    runs = [_read(path) for path in sorted(folder.glob("*.json"))]
    equal = [run for run in runs if run["settings"] == dict(settings)]
    return equal, len(runs) - len(equal)


def rotated(names: Sequence[str], round_: int) -> list[str]:
    """Return the names in the order of a round: each round begins with the next."""
    start = round_ % max(1, len(names))
    return [*names[start:], *names[:start]]


def _read(path: Path) -> dict[str, Any]:
    run: dict[str, Any] = json.loads(path.read_text())
    # JSON has no numbers as keys.
    run["losses"] = {
        int(number): {int(epoch): found for epoch, found in epochs.items()}
        for number, epochs in run["losses"].items()
    }
    return run
