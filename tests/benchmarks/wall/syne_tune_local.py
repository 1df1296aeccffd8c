"""Syne Tune's local back end: a process for every trial."""

from pathlib import Path

from syne_tune import StoppingCriterion, Tuner
from syne_tune.backend import LocalBackend
from syne_tune.config_space import randint
from syne_tune.optimizer.baselines import RandomSearch

from tests.benchmarks.wall.task import HEADS, Task, read_task

POLL_SECONDS = 0.1
"""How often it looks for results; its default of 5 s is for longer trials."""


def run(task: Task) -> None:
    """Run all trials."""
    numbers = sorted(map(int, task.configs))
    scheduler = RandomSearch(
        {"number": randint(0, max(numbers))},
        metrics=[f"val_{HEADS[0]}_loss"],  # its random search takes one; both are reported
        points_to_evaluate=[{"number": number} for number in numbers],
    )
    tuner = Tuner(
        trial_backend=LocalBackend(str(Path(__file__).with_name("syne_tune_trial.py"))),
        scheduler=scheduler,
        stop_criterion=StoppingCriterion(max_num_trials_started=len(numbers)),
        n_workers=task.concurrent,
        sleep_time=POLL_SECONDS,
        wait_trial_completion_when_stopping=True,
        save_tuner=False,
    )
    tuner.run()


if __name__ == "__main__":
    run(read_task())
