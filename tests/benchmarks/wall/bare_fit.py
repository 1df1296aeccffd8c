"""A limit: warm processes, ``fit``, no search system."""

from collections.abc import Iterator

from tests.benchmarks.wall import bare
from tests.benchmarks.wall.stamps import part
from tests.benchmarks.wall.task import Task, read_task


def train(task: Task, numbers: Iterator[int]) -> None:
    """Train some of the configs in this process."""
    with part("import"):
        from tests.benchmarks.wall.plain_keras import PlainTraining, bind_threads
    bind_threads(task)
    training = PlainTraining(task)
    for number in numbers:
        training.fit(number, training.build(number))


if __name__ == "__main__":
    from tests.benchmarks.wall import bare_fit

    bare.run(read_task(), bare_fit.train)
