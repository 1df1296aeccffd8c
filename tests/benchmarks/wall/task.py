"""What every contender is given: data, configs and limits; light to import."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

TASK = "TWOHEAD_WALL_TASK"
"""The environment variable that names a task's file."""

HEADS = ("c_output", "r_output")


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One run of one contender."""

    folder: str
    """Scratch of this run."""

    data: str
    """A folder with the Parquet file and with the same rows as ``<split>_<column>.npy``."""

    configs: Mapping[str, Mapping[str, Any]]
    """By number, as text; complete, and with the padding of each convolution."""

    epochs: int
    concurrent: int
    threads: int
    """Of each of the processes that train side by side."""

    precision: str
    seed: int
    head_activations: Mapping[str, str]

    @property
    def stamps(self) -> Path:
        """Where its processes tell what they did."""
        return Path(self.folder) / "stamps"

    def write(self) -> Path:
        """Write the task into its folder and return the file."""
        self.stamps.mkdir(parents=True, exist_ok=True)
        path = Path(self.folder) / "task.json"
        path.write_text(json.dumps(asdict(self)))
        return path


def read_task() -> Task:
    """Return the task of this process."""
    return Task(**json.loads(Path(os.environ[TASK]).read_text()))


def load_split(task: Task, split: str) -> tuple[Any, dict[str, Any]]:
    """Return images ``(rows, side, side, 1)`` uint8 and labels by head of a split."""
    folder = Path(task.data)
    labels = {head: np.load(folder / f"{split}_{head}.npy") for head in HEADS}
    return np.load(folder / f"{split}_image.npy"), labels


def whole_batch(rows: int, most: int = 256) -> int:
    """Return the largest batch that divides the rows, so that a mean of batches is exact."""
    return max(size for size in range(1, min(rows, most) + 1) if rows % size == 0)
