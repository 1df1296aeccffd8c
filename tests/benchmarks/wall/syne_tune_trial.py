"""The script that Syne Tune starts for a trial."""

import argparse
from typing import Any

from tests.benchmarks.wall.stamps import part
from tests.benchmarks.wall.task import HEADS, read_task


def main() -> None:
    """Train one config and report every epoch."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--number", type=int, required=True)
    number = parser.parse_known_args()[0].number
    with part("import"):
        import keras
        from syne_tune import Reporter

        from tests.benchmarks.wall.plain_keras import PlainTraining, bind_threads
    report = Reporter()

    class Reporting(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            report(epoch=epoch + 1, **{f"val_{h}_loss": logs[f"val_{h}_loss"] for h in HEADS})

    task = read_task()
    bind_threads(task)
    training = PlainTraining(task)
    training.fit(number, training.build(number), [Reporting()])


if __name__ == "__main__":
    main()
