"""Optuna and nothing else: one process, or several that share a study through its journal."""

import multiprocessing
import sys
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from tests.benchmarks.wall.stamps import part
from tests.benchmarks.wall.task import HEADS, Task, read_task

NAME = "wall"


def run_alone(task: Task) -> None:
    """Optimise in this process, with all of its threads."""
    study = optuna.create_study(directions=["minimize"] * len(HEADS))
    _enqueue(study, task)
    study.optimize(_objective(task, is_alone=True), n_trials=len(task.configs))


def run_processes(task: Task) -> None:
    """Optimise in as many processes as may run side by side."""
    study = optuna.create_study(
        study_name=NAME, storage=_storage(task), directions=["minimize"] * len(HEADS)
    )
    _enqueue(study, task)
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_join, args=(task,)) for _ in range(task.concurrent)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if failed := [process.exitcode for process in processes if process.exitcode]:
        sys.exit(f"a process ended with status {failed[0]}")


def _join(task: Task) -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    objective = _objective(task, is_alone=False)
    study = optuna.load_study(study_name=NAME, storage=_storage(task))
    study.optimize(objective, n_trials=len(task.configs), callbacks=[_stop_at_the_end])


def _stop_at_the_end(study: Any, trial: Any) -> None:
    waiting = (optuna.trial.TrialState.WAITING,)
    if not study.get_trials(deepcopy=False, states=waiting):
        study.stop()


def _enqueue(study: Any, task: Task) -> None:
    for number in task.configs:
        study.enqueue_trial({"number": int(number)})


def _storage(task: Task) -> Any:
    return JournalStorage(JournalFileBackend(str(Path(task.folder) / "journal.log")))


def _objective(task: Task, *, is_alone: bool) -> Any:
    with part("import"):
        import keras

        from tests.benchmarks.wall.plain_keras import PlainTraining, bind_threads
    if not is_alone:
        bind_threads(task)
    training = PlainTraining(task)

    def objective(trial: Any) -> tuple[float, ...]:
        keras.backend.clear_session()  # as in Optuna's example for Keras
        number = trial.suggest_int("number", 0, max(map(int, task.configs)))
        history = training.fit(number, training.build(number)).history
        return tuple(history[f"val_{head}_loss"][-1] for head in HEADS)

    return objective


if __name__ == "__main__":
    from tests.benchmarks.wall import optuna_alone

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    is_shared = "processes" in sys.argv[1:]
    (optuna_alone.run_processes if is_shared else optuna_alone.run_alone)(read_task())
