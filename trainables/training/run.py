"""What the warm actor asks of one training run, whatever does the training."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from trainables.spec.settings import StudySettings

WEIGHT = "model/"
"""How the names of a model's own variables begin in a run's state: what a prediction needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochResult:
    """All that one epoch gave."""

    losses: dict[str, float]
    """The recorded validation loss of each head, by head name (smaller is better)."""

    metrics: dict[str, float]
    """The heads' own figures, named ``val_<head>_<metric>``."""

    training_loss: float
    """Mean over the epoch's samples of the weighted training losses plus regularisation."""

    seconds: dict[str, float] = field(default_factory=dict)
    """Where the time went: ``build``, ``trace``, ``train``, ``validate``."""


class TrialRun(Protocol):
    """One trial in training: epoch after epoch, its state readable in between."""

    @property
    def epoch(self) -> int:
        """Epochs finished so far."""

    def run_epoch(self) -> EpochResult:
        """Train one epoch more and measure it."""

    def state(self) -> dict[str, np.ndarray]:
        """All that the next epochs depend on, as arrays by name (see `WEIGHT`)."""

    def load_state(self, state: Mapping[str, np.ndarray], epoch: int) -> None:
        """Continue from a state that ``state`` returned after ``epoch`` epochs."""


class RunFactory(Protocol):
    """Makes a run; named by the study as ``module:function``. Equal arguments, equal results."""

    def __call__(
        self, settings: StudySettings, config: Mapping[str, Any], *, seed: int, is_reference: bool
    ) -> TrialRun:
        """Build the run of a trial, at epoch 0; of a config with a value for every parameter.

        The seed governs the initial weights, the shuffling and the dropout; ``is_reference`` asks
        for the reference trial's model instead of the study's.
        """
