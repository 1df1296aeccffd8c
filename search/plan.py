"""What a conductor needs to know of the trainings that it hands out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from search.decisions import Origin
from search.objective import Objective


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a conductor needs to know of a study."""

    seed: int
    trials: int
    epochs: int
    deadline: float | None = None
    """On the clock of ``time.monotonic``; None for no limit."""
    baselines: Mapping[str, float]
    """Of each head, in the order of the heads."""
    objective: Objective | None = None
    """What is minimised; None: the loss of each head."""
    first: tuple[tuple[Mapping[str, Any], Origin], ...] = ()
    """Configs to try before any that is suggested, and where each comes from."""
    gpu: float = 0.0
    """The share of a GPU that each trial has at first."""
    own: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    """Seed and epochs of the trials, by number, that have others than the study's."""

    def seed_of(self, number: int) -> int:
        """Return the seed with which a trial is trained."""
        return self.own[number][0] if number in self.own else self.seed

    def epochs_of(self, number: int) -> int:
        """Return the epochs after which a trial is complete."""
        return self.own[number][1] if number in self.own else self.epochs
