"""A training that takes no time, for benchmarks of all the rest."""

import math
import random
from collections.abc import Mapping
from typing import Any

import numpy as np

from trainables.spec.settings import StudySettings
from trainables.training.run import EpochResult, TrialRun

FACTORY = "tests.benchmarks.noop_run:make"
HEADS = ("c_output", "r_output")


def make(settings: StudySettings, config: Mapping[str, Any], **options: Any) -> TrialRun:
    """Build the run, at epoch 0; a `trainables.training.run.RunFactory`."""
    return NoopRun(config)


def losses_of(config: Mapping[str, Any], epoch: int) -> dict[str, float]:
    """Return losses that fall from epoch to epoch; no config is the best of both heads."""
    rate = math.log10(config["learning_rate"]) + 3.0
    luck = random.Random(f"{rate} {config['dropout']}")
    fall = 0.9**epoch
    return {
        "c_output": 0.1 + rate**2 / 4 + fall + 0.2 * luck.random(),
        "r_output": 0.1 + (rate - 0.7) ** 2 / 4 + fall + 0.2 * luck.random(),
    }


class NoopRun:
    """Losses without a training; eight numbers of state."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config
        self._epoch = 0

    @property
    def epoch(self) -> int:
        return self._epoch

    def run_epoch(self) -> EpochResult:
        self._epoch += 1
        losses = losses_of(self._config, self._epoch)
        return EpochResult(
            losses=losses,
            metrics={"val_c_output_accuracy": 1 / (1 + losses["c_output"])},
            training_loss=sum(losses.values()),
            seconds={"build": 0.0, "trace": 0.0, "train": 0.0, "validate": 0.0},
        )

    def state(self) -> dict[str, np.ndarray]:
        return {"model/0000/weights": np.zeros(8)}

    def load_state(self, state: Mapping[str, np.ndarray], epoch: int) -> None:
        self._epoch = epoch
