"""Holds a node's share while models are measured there; lives in an actor of Ray."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from trainables.errors import SearchError
from trainables.model.device import gpu_bytes
from trainables.spec.settings import StudySettings


class Probe:
    """An actor that starts a process for what TensorFlow has to measure; see `measuring`."""

    def is_placed(self) -> bool:
        """Answer, which an actor does once it has its place."""
        return True

    def measure(
        self, settings: StudySettings, jobs: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """Return the answer to each job.

        Raises:
            SearchError: If the process ended before it had answered all of them.
        """
        # Without the current folder, which may be a user's and have a `search` of its own.
        command = [sys.executable, "-P", "-m", "trainables.probing.measure"]
        paths = os.pathsep.join(os.path.abspath(path) for path in sys.path if path)
        done = subprocess.run(
            command,
            input=json.dumps({"settings": asdict(settings), "jobs": list(jobs)}),
            env={**os.environ, "PYTHONPATH": paths},
            capture_output=True,
            text=True,
            check=False,
        )
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        if len(answers) < len(jobs):
            last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
            raise SearchError(f"models could not be measured: {last[:400]}")
        return answers


def gpu_bytes_here() -> int:
    """Return the memory of each GPU of this node; runs there, in a process that has none.

    From such a process Ray hides all of them (ray 2.60).

    Raises:
        UnfitNode: If it cannot be read.
    """
    if not os.environ.get("CUDA_VISIBLE_DEVICES"):
        os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    return gpu_bytes()
