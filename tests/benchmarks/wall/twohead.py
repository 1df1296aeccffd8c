"""This project as a contender: the command that a user types, read by its own ``show``."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.benchmarks.wall.parts import PARTS, WORK, Losses
from tests.benchmarks.wall.preparing import PARQUET
from tests.benchmarks.wall.task import HEADS, Task

NAME = "wall"
RENAMED = {"open": "load", "save": "checkpoint", "start": "import"}
"""Parts of our ledger by the names that they have here."""


def command(task: Task, python: str) -> list[str]:
    """Write the study file and return the command that runs it."""
    numbers = sorted(map(int, task.configs))
    study = {
        "name": NAME,
        "data": str(Path(task.data) / PARQUET),
        "heads": {HEADS[0]: {"kind": "classification"}, HEADS[1]: {"kind": "box"}},
        "start_with": [_own(task.configs[str(number)]) for number in numbers],
        "budget": {"trials": len(numbers), "epochs": task.epochs},
        "sampler": "random",
        "scheduler": "fifo",
        "reference": False,
        "resources": {"cpu": task.threads, "concurrent": task.concurrent},
        "precision": task.precision,
        "seed": task.seed,
        "storage": str(_storage(task)),
    }
    path = Path(task.folder) / "study.yaml"
    path.write_text(json.dumps(study))  # JSON is YAML
    return [*_program(python), "run", str(path)]


def read(task: Task, python: str, started: float) -> tuple[float | None, Losses, dict[str, float]]:
    """Return when the study's run was over, its losses, and its seconds by part."""
    folder = _storage(task) / NAME
    done = subprocess.run(
        [*_program(python), "show", str(folder), "--json"], capture_output=True, text=True
    )
    if done.returncode:
        raise ValueError(f"`twohead show` failed: {done.stderr.strip()[-300:]}")
    shown = json.loads(done.stdout)
    numbers = sorted(map(int, task.configs))
    losses: Losses = {
        numbers[trial["number"]]: {one["epoch"]: one["losses"] for one in trial["epochs"]}
        for trial in shown["trials"]
    }
    records = sorted(folder.glob("runs/*.json"))
    ended = records[-1].stat().st_mtime if records else None
    return ended, losses, {} if ended is None else parts_of(shown, started, ended)


def parts_of(shown: Mapping[str, Any], started: float, ended: float) -> dict[str, float]:
    """Return the seconds by part of a study of one run, those of its slots averaged.

    Args:
        shown: What ``twohead show --json`` prints.
        started: When the command was started, in seconds since the epoch.
        ended: When its run was over.
    """
    (run,) = shown["runs"]
    slots = run["slots"]
    seconds = dict.fromkeys(PARTS, 0.0)
    for part, took in shown["ledger"]["seconds"].items():
        name = RENAMED.get(part, part)
        # What a later ledger may tell besides stays with the driver.
        if name in WORK:
            seconds[name] += took / slots
    before = ended - run["wall_seconds"] - started
    seconds["start-up"] = before + run["startup_seconds"] / slots
    seconds["idle"] = run["idle_seconds"] / slots
    seconds["driver"] = ended - started - sum(seconds.values())
    return seconds


def _own(config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if not name.endswith("_padding")}


def _storage(task: Task) -> Path:
    return Path(task.folder) / "studies"


def _program(python: str) -> list[str]:
    """Return the installed ``twohead`` beside an interpreter, or the same by its module."""
    installed = Path(python).with_name("twohead")
    return [str(installed)] if installed.exists() else [python, "-m", "search.cli.main"]
