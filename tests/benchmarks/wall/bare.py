"""Warm processes that take configs from one counter: no search system at all."""

import multiprocessing
import sys
from collections.abc import Callable, Iterator
from typing import Any

from tests.benchmarks.wall.task import Task

Train = Callable[[Task, Iterator[int]], None]


def run(task: Task, train: Train) -> None:
    """Train all configs in as many processes as may run side by side, and wait for them.

    Args:
        task: What is to be trained.
        train: Runs in each process, which it imports; trains the numbers that it is given.
    """
    context = multiprocessing.get_context("spawn")
    counter = context.Value("i", 0)
    processes = [
        context.Process(target=_train, args=(task, train, counter)) for _ in range(task.concurrent)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if failed := [process.exitcode for process in processes if process.exitcode]:
        sys.exit(f"a process ended with status {failed[0]}")


def _train(task: Task, train: Train, counter: Any) -> None:
    train(task, _numbers(task, counter))


def _numbers(task: Task, counter: Any) -> Iterator[int]:
    numbers = sorted(map(int, task.configs))
    while True:
        with counter.get_lock():
            place = counter.value
            counter.value += 1
        if place >= len(numbers):
            return
        yield numbers[place]
