"""What a result is made of: trials, and points that can be chosen."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from search.decisions import Released
from search.history import State
from search.metrics import point_words
from search.wording import count, one_line
from trainables.measurement import Measurement


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Losses and metrics of one point on one split."""

    losses: Mapping[str, float]
    """By head name, unweighted, exact means."""

    metrics: Mapping[str, float]
    """By ``<head>_<metric>``."""

    def __repr__(self) -> str:
        return one_line(self, lambda: point_words(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One trial after one epoch, with both losses from that epoch and its weights kept."""

    number: int
    epoch: int
    config: Mapping[str, Any]
    losses: Mapping[str, float]
    """Validation loss by head name: unweighted, the exact mean over the validation rows."""
    metrics: Mapping[str, float]
    """By ``val_<head>_<metric>``."""
    state: State
    is_reference: bool
    checkpoint: str
    """Folder of the weights, relative to the study's."""
    checkpoint_sha256: str
    test: Figures | None = None
    """The same on the test split, where it was measured."""
    policy: str = ""
    """The policy that chose this point, if one did."""
    why: str = ""
    """Why that policy chose it, in a sentence."""
    others: Mapping[str, "Point"] = field(default_factory=dict)
    """What the other policies would have chosen: by policy, and ``head:<head>`` for each head."""

    @property
    def name(self) -> str:
        """The trial and the epoch in words."""
        reference = " (reference)" if self.is_reference else ""
        return f"trial {self.number}{reference} after {count(self.epoch, 'epoch')}"

    def __repr__(self) -> str:
        return one_line(self, lambda: f"{self.name}: {point_words(self)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRecord:
    """One trial as it stands."""

    number: int
    config: Mapping[str, Any]
    state: State
    reason: str
    """Why it failed or was interrupted; empty otherwise."""
    is_reference: bool
    origin: str
    """``reference``, ``start_with`` or ``sampler``."""
    num_attempts: int
    releases: tuple[Released, ...]
    """The attempts that were lost or given up without ending the trial: the cause of each, and
    whether it is charged to the trial."""
    taken_up_after: int
    """The epoch after which it had ended and was taken up again; 0 if it was not."""
    measurements: tuple[Measurement, ...]
    """One per epoch, from 1."""

    @property
    def num_epochs(self) -> int:
        """Epochs that were measured."""
        return len(self.measurements)

    def __repr__(self) -> str:
        return one_line(self, self._words)

    def _words(self) -> str:
        reference = " (reference)" if self.is_reference else ""
        said = f"{self.number}{reference}: {self.state}, {count(self.num_epochs, 'epoch')}"
        said += f", {self.reason}" if self.reason else ""
        last = f", last {point_words(self.measurements[-1])}" if self.measurements else ""
        return f"{said}{last}"

    @property
    def nodes(self) -> tuple[str, ...]:
        """The machines that trained it, in the order of its epochs."""
        return tuple(dict.fromkeys(m.node for m in self.measurements if m.node))
