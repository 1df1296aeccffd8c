"""Ray Tune with a class whose actors are reused: they stay warm from trial to trial."""

from typing import Any

import ray
from ray import tune

from tests.benchmarks.wall.stamps import part
from tests.benchmarks.wall.task import HEADS, Task, read_task


class Training(tune.Trainable):
    """Trains one epoch at each step."""

    def setup(self, config: dict[str, Any]) -> None:
        """Import, load, and build the first model."""
        with part("import"):
            from tests.benchmarks.wall.plain_keras import PlainTraining, bind_threads
        self._task = read_task()
        bind_threads(self._task)
        self._training = PlainTraining(self._task)
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Build the next model."""
        import keras

        keras.utils.clear_session()
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Train an epoch more."""
        epochs = range(self.training_iteration, self.training_iteration + 1)
        history = self._training.fit(self._number, self._model, epochs=epochs).history
        return {f"val_{head}_loss": history[f"val_{head}_loss"][-1] for head in HEADS}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Save nothing."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Load nothing."""

    def _begin(self, config: dict[str, Any]) -> None:
        self._number = config["number"]
        self._model = self._training.build(self._number)


def run(task: Task) -> None:
    """Run all trials."""
    ray.init(num_cpus=task.concurrent * task.threads, include_dashboard=False)
    tuner = tune.Tuner(
        tune.with_resources(Training, {"cpu": task.threads}),
        param_space={"number": tune.grid_search(sorted(map(int, task.configs)))},
        tune_config=tune.TuneConfig(reuse_actors=True),
        run_config=tune.RunConfig(
            storage_path=task.folder,
            name="class",
            verbose=0,
            stop={"training_iteration": task.epochs},
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )
    tuner.fit()


if __name__ == "__main__":
    from tests.benchmarks.wall import ray_class

    ray_class.run(read_task())
