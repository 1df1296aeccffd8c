"""A study with stub trainings, for runs on a real Ray that need no TensorFlow."""

import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import search
from search.cluster.session import OBJECT_STORE_BYTES, prepare_environment
from search.record.history import TrialRecord
from search.record.reader import StudyReader
from search.running.run import Silent
from tests.support import data_sets
from trainables.storage.store import Store

ROOT = str(Path(__file__).parents[2])
SPACE = {
    "conv1_filters": {"choice": [4, 8, 16]},
    "learning_rate": {"float": [1e-4, 1e-1], "log": True},
    "batch_size": 4,
    "pool_size": 2,
}
HEADS = {"c_output": {"kind": "classification"}, "r_output": {"kind": "regression"}}


def stub_study(storage: Path, **changes: Any) -> search.Study:
    """Return the study; its data set is written where it is missing."""
    data = storage / "data.parquet"
    if not data.exists():
        data_sets.write(data)
    values = {
        "name": "stub",
        "data": str(data),
        "heads": HEADS,
        "image_size": (16, 16),
        "space": SPACE,
        "budget": {"trials": 4, "epochs": 4},
        "resources": {"concurrent": 1},
        "reference": False,
        "storage": str(storage),
        "module_folder": ROOT,
    }
    return search.Study(**{**values, **changes})


def rate_of(number: int) -> float:
    return round(0.001 * (number + 1), 3)


def numbered(trials: int) -> dict[str, Any]:
    """Return changes that give trial ``n`` the learning rate ``rate_of(n)``."""
    configs = [
        {"learning_rate": rate_of(n), "conv1_filters": 8, "pool_size": 2} for n in range(trials)
    ]
    return {"start_with": configs, "budget": {"trials": trials, "epochs": 4}}


def write_faults(storage: Path, faults: dict[int, dict[str, Any]]) -> None:
    storage.mkdir(parents=True, exist_ok=True)
    named = {repr(rate_of(number)): what for number, what in faults.items()}
    (storage / "faults.json").write_text(json.dumps(named))


def trials_of(study: search.Study) -> tuple[TrialRecord, ...]:
    return StudyReader(Store(study.folder)).read().trials


def table(study: search.Study) -> list[tuple[Any, ...]]:
    return rows_of(trials_of(study))


def rows_of(trials: Iterable[Any]) -> list[tuple[Any, ...]]:
    """Return what a study found: all but its attempts, its owners and the time that it took."""
    rows: list[tuple[Any, ...]] = []
    for trial in trials:
        rows.append((trial.number, trial.state, trial.reason, dict(trial.config)))
        rows += [(trial.number, m.epoch, dict(m.losses)) for m in trial.measurements]
    return rows


def num_ends(study: search.Study) -> dict[int, int]:
    """Return how often the log says of each number that it ended."""
    reader = StudyReader(Store(study.folder))
    reader.read()
    counted: dict[int, int] = {}
    for _, segment in reader.segments.read():
        for decision in segment:
            if decision.kind == "ended":
                counted[decision.number] = counted.get(decision.number, 0) + 1
    return counted


@contextmanager
def embedded_ray(folder: Path, num_cpus: int = 2) -> Iterator[None]:
    """Start a Ray that studies of this process join, whose workers can import the tests."""
    prepare_environment()
    import ray

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", ROOT)
        ray.init(
            num_cpus=num_cpus,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="error",
            object_store_memory=OBJECT_STORE_BYTES,
            _temp_dir=str(folder),
        )
        try:
            yield
        finally:
            ray.shutdown()


@contextmanager
def ray_in_short_folder() -> Iterator[Path]:
    """Start a Ray as `embedded_ray` in a folder of its own, which goes with it; yield that.

    Ray's sockets need a short path, which `tmp_path` is not.
    """
    folder = Path(tempfile.mkdtemp(prefix="ray-"))
    with embedded_ray(folder):
        yield folder
    shutil.rmtree(folder, ignore_errors=True)


class Listener(Silent):
    """Keeps the lines that a run tells."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def told(self, line: str) -> None:
        self.lines.append(line)
