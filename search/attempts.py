"""How attempts are lost without ending their trial, how often they may be, and what remains."""

from collections import Counter
from collections.abc import Mapping
from enum import Enum

from search.decisions import Cause
from search.history import TrialHistory
from trainables.attempt import Kept

MOST_CHARGED = 3
"""Attempts that may be lost through the trial's own doing before it fails."""
MOST_NODE_LOSSES = 20
"""Attempts that may be lost with their node before the trial fails."""


class Loss(Enum):
    """Why an attempt ended without ending its trial."""

    ACTOR = "lost"
    NODE = "node"
    PREEMPTED = "preempted"
    MEMORY = "memory"
    STORAGE = "storage"
    UNFIT = "unfit"


CAUSES: Mapping[Loss, Cause] = {
    Loss.ACTOR: "lost",
    Loss.NODE: "node",
    Loss.PREEMPTED: "preempted",
    Loss.MEMORY: "memory",
}
"""What the log calls it; a failing storage and an unfit node are no causes: they end the study."""
CHARGED = frozenset[Cause]({"lost", "memory"})
"""What counts as a failure of the trial."""
_WORDS: Mapping[Cause, str] = {
    "lost": "its process died",
    "memory": "its node ran out of memory",
    "node": "its node died",
    "preempted": "its node was taken away",
    "recycled": "its process was renewed",
    "driver": "the study was interrupted",
}


def is_given_up(trial: TrialHistory) -> bool:
    """Tell whether so many attempts at a trial were lost that there is no next one."""
    return trial.charged_failures >= MOST_CHARGED or trial.node_losses >= MOST_NODE_LOSSES


def why_given_up(trial: TrialHistory, detail: str) -> str:
    """Say what became of a trial's attempts; ``detail`` is what the last one raised, if known."""
    causes = Counter(_WORDS[release.cause] for release in trial.releases)
    counted = ", ".join(f"{words} ({times}x)" for words, times in causes.items())
    last = f"; the last raised {detail}" if detail else ""
    return f"given up after {len(trial.releases)} lost attempts: {counted}{last}"


def kept_checkpoints(trial: TrialHistory) -> tuple[Kept, ...]:
    """Return the checkpoints that a next attempt may continue from."""
    return tuple(
        Kept(
            epoch=m.epoch,
            folder=m.checkpoint,
            sha256=m.checkpoint_sha256,
            losses=tuple(m.losses.values()),
        )
        for m in trial.resumable
        if m.checkpoint is not None and m.checkpoint_sha256 is not None
    )
