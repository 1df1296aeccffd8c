"""A limit: warm processes, every epoch one compiled loop, no search system."""

from collections.abc import Iterator

from tests.benchmarks.wall import bare
from tests.benchmarks.wall.stamps import part, stamp_result
from tests.benchmarks.wall.task import HEADS, Task, load_split, read_task


def train(task: Task, numbers: Iterator[int]) -> None:
    """Train some of the configs in this process."""
    with part("import"):
        import numpy as np

        from tests.benchmarks.wall.plain_epoch import PlainEpoch
        from tests.benchmarks.wall.plain_keras import bind_threads
    bind_threads(task)
    with part("load"):
        data = {split: load_split(task, split) for split in ("train", "validation")}
    for number in numbers:
        config = task.configs[str(number)]
        with part("build", number):
            program = PlainEpoch(task, config, data)
        with part("trace", number):
            program.trace()
        shuffle = np.random.default_rng(task.seed)
        for epoch in range(1, task.epochs + 1):
            with part("train", number):
                program.train(shuffle.permutation(len(data["train"][0])))
            with part("validate", number):
                losses = program.validate()
            stamp_result(number, epoch, dict(zip(HEADS, losses, strict=True)))


if __name__ == "__main__":
    from tests.benchmarks.wall import bare_epoch

    bare.run(read_task(), bare_epoch.train)
