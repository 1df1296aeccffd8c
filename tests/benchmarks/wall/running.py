"""Runs one contender as a process of its own, within a limit, and leaves nothing behind."""

import os
import subprocess
import tempfile
import time
import uuid
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.benchmarks.wall.entries import Entry
from tests.benchmarks.wall.stamps import STAMPS
from tests.benchmarks.wall.task import TASK, Task
from tests.support.processes import TAG, kill_all

ROOT = Path(__file__).resolve().parents[3]
LAST_LINES = 15


def run(entry: Entry, task: Task, *, python: str, limit: float) -> dict[str, Any]:
    """Run a contender once; a failure is part of what is returned.

    Args:
        entry: The contender.
        task: What it trains; its ``folder`` is made here and removed.
        python: Its interpreter.
        limit: Seconds after which it is ended.

    Returns:
        ``wall_seconds`` from the command to the last result, ``exit_seconds`` to the end of its
        process, ``parts``, ``losses`` and ``error``, which is None if all went well.
    """
    # Short, as the names of Ray's sockets have at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="wl", ignore_cleanup_errors=True) as scratch:
        task = replace(task, folder=scratch)
        path = task.write()
        load = os.getloadavg()[0]
        command = entry.command(task, python)
        started = time.time()
        error = _wait(command, _environment(entry, task, path), Path(scratch), limit)
        took = time.time() - started
        found: dict[str, Any] = {"started": started, "exit_seconds": took, "load_before": load}
        return {**found, **_read(entry, task, python, started, error)}


def _wait(
    command: list[str], environment: Mapping[str, str], scratch: Path, limit: float
) -> str | None:
    """Run a command to its end; return what went wrong."""
    output = scratch / "output.txt"
    with output.open("wb") as file:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=scratch,
            )
        except OSError as error:
            return f"could not be started: {error}"
    try:
        status = process.wait(timeout=limit)
    except subprocess.TimeoutExpired:
        return _with_lines(f"did not end within {limit:g} s", output)
    finally:
        kill_all(environment[TAG])
        process.wait()
    return _with_lines(f"ended with status {status}", output) if status else None


def _read(
    entry: Entry, task: Task, python: str, started: float, error: str | None
) -> dict[str, Any]:
    try:
        outcome = entry.outcome(task, python, started)
    except (ValueError, OSError, KeyError) as problem:
        error = error or f"its results cannot be read: {problem}"
        return {"error": error, "wall_seconds": None, "parts": {}, "losses": {}}
    missing = [n for n in task.configs if task.epochs not in outcome.losses.get(int(n), {})]
    if error is None and missing:
        error = _with_lines(
            f"has no result of trials {', '.join(missing)}", Path(task.folder) / "output.txt"
        )
    return {
        "error": error,
        "wall_seconds": None if outcome.ended is None else outcome.ended - started,
        "parts": dict(outcome.parts),
        "losses": outcome.losses,
    }


def _with_lines(what: str, output: Path) -> str:
    lines = output.read_text(errors="replace").splitlines()[-LAST_LINES:]
    return "\n  ".join([what, *lines])


def _environment(entry: Entry, task: Task, path: Path) -> dict[str, str]:
    """Return the environment of a contender: compiled bytecode, no GPU, its own folders."""
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    kept.pop("RAY_ADDRESS", None)
    scratch = str(task.folder)
    own = {
        "CUDA_VISIBLE_DEVICES": "-1",
        "KERAS_BACKEND": "tensorflow",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), kept.get("PYTHONPATH", "")])),
        "RAY_TMPDIR": scratch,
        "RAY_USAGE_STATS_ENABLED": "0",
        "SYNETUNE_FOLDER": scratch,
        "TMPDIR": scratch,
        TASK: str(path),
        STAMPS: str(task.stamps),
        TAG: uuid.uuid4().hex,
    }
    return {**kept, **own, **entry.environment}
