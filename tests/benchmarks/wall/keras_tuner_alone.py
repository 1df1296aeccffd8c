"""KerasTuner: one process, or its chief and workers on one machine."""

import os
import socket
import subprocess
import sys
import time
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

    class Model(keras_tuner.HyperModel):
        def build(self, hp: Any) -> Any:
            return training.build(hp.Choice("number", numbers))

        def fit(self, hp: Any, model: Any, callbacks: Any = (), **options: Any) -> Any:
            return training.fit(hp.get("number"), model, callbacks)

    class InOrder(keras_tuner.Oracle):
        # Its grid search would let workers wait for one another (keras-tuner 1.4.8).
        def populate_space(self, trial_id: str) -> dict[str, Any]:
            return {"status": "RUNNING", "values": {"number": numbers[len(self.start_order)]}}

    oracle = InOrder(
        objective=[keras_tuner.Objective(f"val_{head}_loss", "min") for head in HEADS],
        max_trials=len(numbers),
        max_consecutive_failed_trials=1,
    )
    if tuner_id and tuner_id != CHIEF:
        _wait_for_chief()
    tuner = keras_tuner.Tuner(
        oracle,
        Model(),
        directory=str(Path(task.folder) / "keras-tuner"),
        project_name=tuner_id or "alone",
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


def _wait_for_chief() -> None:
    """Wait until the chief answers; a worker that is too early tries again only after a minute."""
    address = os.environ["KERASTUNER_ORACLE_IP"], int(os.environ["KERASTUNER_ORACLE_PORT"])
    while True:
        try:
            socket.create_connection(address).close()
            return
        except ConnectionRefusedError:
            time.sleep(0.05)


def _muted(task: Task, name: str) -> dict[str, str]:
    """Keep what the chief imports out of the seconds of those that train."""
    return {STAMPS: task.folder} if name == CHIEF else {}


if __name__ == "__main__":
    if "workers" in sys.argv[1:]:
        run_workers(read_task())
    else:
        search(read_task(), os.environ.get(TUNER_ID, ""))
