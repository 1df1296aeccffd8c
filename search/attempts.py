"""How attempts are lost without ending their trial, how often they may be, and what remains."""

from collections import Counter
from collections.abc import Mapping
from enum import Enum

from search.decisions import Cause
from search.history import TrialHistory
from search.peaks import larger_class, share_words
from search.plan import Plan
from trainables.attempt import Envelope, Kept
from trainables.errors import StorageError, UnfitNode

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
WORDS: Mapping[Cause, str] = {
    "lost": "its process died",
    "memory": "its node ran out of memory",
    "node": "its node died",
    "preempted": "its node was taken away",
    "recycled": "its process was renewed",
    "driver": "the study was interrupted",
    "share": "its share of a GPU had too little memory",
}
"""What became of an attempt, for people."""
LOST = frozenset[Cause]({"lost", "memory", "node", "preempted", "share"})
"""Causes that nobody meant."""


def check_may_go_on(number: int, loss: Loss, detail: str) -> None:
    """Refuse to try a trial again where no attempt could do better.

    Raises:
        StorageError: If the study's storage failed it.
        UnfitNode: If its node can train none: it would take and lose one after the other.
    """
    if loss is Loss.UNFIT:
        raise UnfitNode(f"{detail}; nothing is lost: `twohead resume` continues the study")
    if loss is Loss.STORAGE:
        raise StorageError(
            f"trial {number} cannot go on with what the storage does: {detail}; once that is in "
            "order, resume the study"
        )


def is_given_up(trial: TrialHistory) -> bool:
    """Tell whether so many attempts at a trial were lost that there is no next one."""
    return trial.charged_failures >= MOST_CHARGED or trial.node_losses >= MOST_NODE_LOSSES


def why_given_up(trial: TrialHistory, detail: str) -> str:
    """Say what became of a trial's attempts; ``detail`` is what the last one raised, if known."""
    causes = Counter(WORDS[release.cause] for release in trial.releases)
    counted = ", ".join(f"{words} ({times}x)" for words, times in causes.items())
    last = f"; the last raised {detail}" if detail else ""
    return f"given up after {len(trial.releases)} lost attempts: {counted}{last}"


def envelope_of(trial: TrialHistory, plan: Plan) -> Envelope:
    """Return what the actor of a trial's newest attempt is handed."""
    newest, gpu = trial.attempts[-1], share_of(trial, plan.gpu)
    return Envelope(
        number=trial.number,
        attempt=newest.attempt,
        generation=newest.generation,
        config=dict(trial.config),
        seed=plan.seed_of(trial.number),
        epochs=plan.epochs_of(trial.number),
        is_reference=trial.is_reference,
        kept=kept_checkpoints(trial),
        gpu=None if gpu == plan.gpu else gpu,
    )


def share_of(trial: TrialHistory, gpu: float) -> float:
    """Return the share of a GPU that a trial's next attempt has.

    The next larger one, once an attempt had too little memory with the study's.
    """
    has_outgrown = any(release.cause == "share" for release in trial.releases)
    return (larger_class(gpu) or gpu) if has_outgrown else gpu


def why_failed(
    failure: str, is_out_of_memory: bool, trial: TrialHistory, gpu: float
) -> str | None:
    """Return the reason with which a trial fails; None if it may have more of a GPU, once.

    Args:
        failure: What went wrong with its newest attempt.
        is_out_of_memory: Whether that was too little memory.
        trial: The trial.
        gpu: The share of a GPU that all trials of the study have at first.
    """
    has = share_of(trial, gpu)
    if not (is_out_of_memory and has):
        return failure
    if has == gpu and larger_class(gpu) is not None:
        return None
    tried = f", and before {share_words(gpu)}" if has != gpu else ""
    return f"{failure}; it had {share_words(has)}{tried}"


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
