"""Decisions on their way into the log."""

from dataclasses import dataclass

from search.decisions import Decision
from search.replay import Replay


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """Decisions that are to become true at the same moment."""

    given: tuple[Decision, ...]
    logged: tuple[Decision, ...]
    """The same, completed."""
    after: Replay
    """The state once they are logged: a preview."""

    def and_then(self, later: "Draft") -> "Draft":
        """Return both in one; ``later`` was tried on what is after this, which is used up."""
        self.after.adopt(later.after)
        return Draft(
            given=self.given + later.given,
            logged=self.logged + later.logged,
            after=self.after,
        )
