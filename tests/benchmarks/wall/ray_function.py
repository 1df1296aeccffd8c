"""Ray Tune as its documentation shows it: a function and the callback for Keras."""

from typing import Any

import ray
from ray import tune

from tests.benchmarks.wall.stamps import part
from tests.benchmarks.wall.task import HEADS, Task, read_task


def train(config: dict[str, Any]) -> None:
    """Train one config in a fresh actor."""
    with part("import"):
        from ray.tune.integration.keras import TuneReportCheckpointCallback

        from tests.benchmarks.wall.plain_keras import PlainTraining, bind_threads
    task = read_task()
    bind_threads(task)
    training = PlainTraining(task)
    metrics = [f"val_{head}_loss" for head in HEADS]
    # As in Ray's example for Keras: no checkpoints.
    callback = TuneReportCheckpointCallback(checkpoint_on=[], metrics=metrics)
    training.fit(config["number"], training.build(config["number"]), [callback])


def run(task: Task) -> None:
    """Run all trials."""
    ray.init(num_cpus=task.concurrent * task.threads, include_dashboard=False)
    tuner = tune.Tuner(
        tune.with_resources(train, {"cpu": task.threads}),
        param_space={"number": tune.grid_search(sorted(map(int, task.configs)))},
        run_config=tune.RunConfig(storage_path=task.folder, name="function", verbose=0),
    )
    tuner.fit()


if __name__ == "__main__":
    run(read_task())
