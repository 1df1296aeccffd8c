"""KerasTuner: one process, or its chief and workers on one machine; a grid of the numbers."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.benchmarks.wall.stamps import STAMPS, part
from tests.benchmarks.wall.task import HEADS, Task, read_task

TUNER_ID = "KERASTUNER_TUNER_ID"
CHIEF = "chief"


def search(task: Task, tuner_id: str) -> None:
    """Search in this process; as the chief answer the others instead."""
    with part("import"):
        import keras_tuner

        from tests.benchmarks.wall.plain_keras import PlainTraining, bind_threads
    if tuner_id:
        bind_threads(task)
    training = PlainTraining(task)
    numbers = sorted(map(int, task.configs))

    class Model(keras_tuner.HyperModel):  # type: ignore[misc]
        def build(self, hp: Any) -> Any:
            return training.build(hp.Choice("number", numbers))

        def fit(self, hp: Any, model: Any, callbacks: Any = (), **options: Any) -> Any:
            return training.fit(hp.get("number"), model, callbacks)

    tuner = keras_tuner.GridSearch(
        Model(),
        objective=[keras_tuner.Objective(f"val_{head}_loss", "min") for head in HEADS],
        max_trials=len(numbers),
        directory=str(Path(task.folder) / "keras-tuner"),
        project_name=tuner_id or "alone",
        max_consecutive_failed_trials=1,
    )
    tuner.search(verbose=0)


def run_workers(task: Task) -> None:
    """Start the chief and the workers, each with its own environment, as documented."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {"KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": port}
    names = [CHIEF, *(f"tuner{number}" for number in range(task.concurrent))]
    command = [sys.executable, "-m", "tests.benchmarks.wall.keras_tuner_alone"]
    chief, *workers = [
        subprocess.Popen(
            command, env={**os.environ, **common, TUNER_ID: name, **_muted(task, name)}
        )
        for name in names
    ]
    if failed := [status for worker in workers if (status := worker.wait())]:
        chief.kill()
        sys.exit(f"a worker ended with status {failed[0]}")
    chief.wait()  # it looks every 20 s whether it may end


def _muted(task: Task, name: str) -> dict[str, str]:
    """Keep what the chief imports out of the seconds of those that train."""
    return {STAMPS: task.folder} if name == CHIEF else {}


if __name__ == "__main__":
    if "workers" in sys.argv[1:]:
        run_workers(read_task())
    else:
        search(read_task(), os.environ.get(TUNER_ID, ""))
