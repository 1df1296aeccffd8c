"""How attempts are lost without ending their trial, how often they may be, and what remains."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from ray.exceptions import ActorUnavailableError, RayActorError, RayTaskError

from search.cluster.starting import replaced
from search.errors import SearchError, StorageError, UnfitNode
from search.record.decisions import WORDS, Cause, Origin
from search.record.history import TrialHistory
from search.study.objective import Objective
from search.study.shares import larger_class, share_words
from trainables.trial.attempt import Envelope, Kept

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


# What Ray 2.60 says, and says nowhere else but in the text.
NODE_DIED = "its node has died"


NODE_WAS_FULL = "due to the node running low on memory"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """How an attempt was lost."""

    loss: Loss
    detail: str = ""
    """What was raised, if anything was."""


@contextmanager
def errors_kept_from_files(
    take: Callable[[str, BaseException | None], None],
) -> Iterator[None]:
    """Give the error of each trial of Tune's that fails to ``take``; let Tune write no file of it.

    Tune would pickle it into a file in Ray's session folder, and at the end of a run unpickle
    what it finds under that name (ray 2.60, ``ResultGrid``): code of whoever may write there.

    Args:
        take: Gets Tune's id of a trial and its error, before anybody else hears of either.
    """
    from ray.tune.experiment import Trial

    def handle(trial: Any, exc: BaseException | None = None) -> None:
        trial.run_metadata.num_failures += 1  # else Tune would try it again by itself
        trial.run_metadata.invalidate_cache()
        take(trial.trial_id, exc)

    with replaced(Trial, "handle_error", handle):
        yield


def why_lost(error: BaseException | None) -> Lost:
    """Return why a Tune trial ended without a final result.

    Args:
        error: What Ray raised of it.

    Raises:
        SearchError: If its process could not even be set up: no other would fare better.
    """
    text = str(error)
    if isinstance(error, RayTaskError):
        if isinstance(error.cause, StorageError):
            return Lost(loss=Loss.STORAGE, detail=str(error.cause))
        if isinstance(error.cause, UnfitNode):
            return Lost(loss=Loss.UNFIT, detail=str(error.cause))
        return Lost(loss=Loss.ACTOR, detail=_one_line(error.cause))
    if isinstance(error, RayActorError):
        if error.actor_init_failed:
            last = (text.strip().splitlines() or [""])[-1]
            raise SearchError(f"trials need a process that can be set up, got {last}")
        if error.preempted:
            return Lost(loss=Loss.PREEMPTED)
        if isinstance(error, ActorUnavailableError) or NODE_DIED in text:
            return Lost(loss=Loss.NODE)
    # Ray's error of a process that it killed for memory is none of the above. The text of every
    # other one tells the reader of the OOM killer, too.
    return Lost(loss=Loss.MEMORY if NODE_WAS_FULL in text else Loss.ACTOR)


def _one_line(error: BaseException | None) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:400]}"
