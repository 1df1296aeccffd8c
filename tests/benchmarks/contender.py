"""What competes on a table: something that suggests configs and stops trainings."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from search.space.space import SearchSpace

EndState = Literal["complete", "stopped", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What a contender is told before it begins."""

    space: SearchSpace
    baselines: Mapping[str, float]
    """Of each head, in the order of the heads."""
    epochs: int
    """Of a training that is not stopped."""
    seed: int

    @property
    def heads(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(self.baselines)


class Contender(Protocol):
    """Suggests what free workers train, and ends what is not worth going on."""

    def ask(self) -> tuple[int, Mapping[str, Any]] | None:
        """Return a trial's number and its config; None: nothing now, maybe after a result.

        A number that was stopped goes on from its last epoch, as from a checkpoint.
        """

    def report(self, number: int, epoch: int, losses: Mapping[str, float]) -> bool:
        """Take in the finite losses after an epoch; return whether the trial stops with it.

        After the last epoch the answer does not matter.
        """

    def ended(self, number: int, state: EndState) -> None:
        """Take in that a trial ended: trained in full, stopped, or failed with a loss like NaN."""
