"""What happens when an attempt is lost with its process, its node or its memory."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from search.errors import SearchError, StorageError, UnfitNode
from search.record.decisions import WORDS, Cause
from search.record.history import TrialRecord
from search.running.plan import Plan
from search.study.shares import larger_class, share_words
from search.text import quoted
from trainables.storage.store import Store
from trainables.storage.study_folder import StudyFolder
from trainables.trial.attempt import Envelope, TrialFailure

MOST_CHARGED = 3
"""Attempts that may be lost through the trial's own doing before it fails."""
MOST_NODE_LOSSES = 20
"""Attempts that may be lost with their node before the trial fails."""
SAME_FAILURES = 3
"""Trials that fail alike, when none has come further, before a study pauses."""
CHARGED = frozenset[Cause]({"lost", "memory"})
"""What counts as a failure of the trial."""
OWN_ENDS: Mapping[str, Cause] = {"recycled": "recycled", "left": "preempted"}
"""Folders where processes say that they ended themselves, and what the log calls it."""

_VARYING = re.compile(r"(?:[\w.+-]*/)+[\w.+-]*|0x[0-9a-fA-F]+|\d+(?:\.\d+)?(?:e[+-]?\d+)?")
"""Paths, addresses and numbers, in which equal failures may differ."""

# What Ray 2.60 says, and says nowhere else but in the text.
NODE_DIED = "its node has died"
NODE_WAS_FULL = "due to the node running low on memory"


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptEnd:
    """How an attempt ended without ending its trial."""

    how: Literal["lost", "node", "preempted", "memory", "storage", "unfit"] = "lost"
    """As the log calls it, but for a failing storage and an unfit node: these end the study."""
    detail: str = ""
    """What was raised, if anything was."""

    def cause(self, number: int) -> Cause:
        """Return what the log calls it."""
        if self.how == "unfit":
            resume = "nothing is lost: `twohead resume` continues the study"
            raise UnfitNode(f"{self.detail}; {resume}")
        if self.how == "storage":
            raise StorageError(
                f"trial {number} cannot go on with what the storage does: {self.detail}; once "
                "that is in order, resume the study"
            )
        return self.how


def why_lost(error: BaseException | None) -> AttemptEnd:
    """Return why a Tune trial ended without a final result, from what Ray raised of it."""
    from ray.exceptions import ActorUnavailableError, RayActorError, RayTaskError

    text = str(error)
    if isinstance(error, RayTaskError):
        cause = error.cause
        if isinstance(cause, StorageError | UnfitNode):
            is_storage = isinstance(cause, StorageError)
            return AttemptEnd(how="storage" if is_storage else "unfit", detail=str(cause))
        said = " ".join(str(cause).split())[:400]
        return AttemptEnd(detail=f"{type(cause).__name__}: {said}")
    if isinstance(error, RayActorError):
        if error.actor_init_failed:
            last = (text.strip().splitlines() or [""])[-1]
            raise SearchError(f"trials need a process that can be set up, got {last}")
        if error.preempted:
            return AttemptEnd(how="preempted")
        if isinstance(error, ActorUnavailableError) or NODE_DIED in text:
            return AttemptEnd(how="node")
    # Ray's error of a process that it killed for memory is none of the above. The text of every
    # other one tells the reader of the OOM killer, too.
    return AttemptEnd(how="memory" if NODE_WAS_FULL in text else "lost")


def own_end(store: Store, generation: int, number: int, attempt: int) -> Cause | None:
    """Return why the process of an attempt ended itself; None if it did not."""
    name = f"{generation:06d}-{number:06d}-{attempt:03d}"
    found = (cause for folder, cause in OWN_ENDS.items() if store.exists(f"{folder}/{name}"))
    return next(found, None)


def why_given_up(trial: TrialRecord, detail: str) -> str | None:
    """Say why there is no next attempt at a trial; None if there is one.

    ``detail``: what the last one raised, if that is known.
    """
    if trial.charged_failures < MOST_CHARGED and trial.node_losses < MOST_NODE_LOSSES:
        return None
    causes = Counter(WORDS[release.cause] for release in trial.counted_releases)
    counted = ", ".join(f"{words} ({times}x)" for words, times in causes.items())
    last = f"; the last raised {detail}" if detail else ""
    return f"given up after {len(trial.counted_releases)} lost attempts: {counted}{last}"


def why_failed(failure: TrialFailure, trial: TrialRecord, gpu: float) -> str | None:
    """Return the reason with which a trial fails; None if it may have more of a GPU, once."""
    has = _share_of(trial, gpu)
    if not (failure.is_out_of_memory and has):
        return failure.reason
    if has == gpu and larger_class(gpu) is not None:
        return None
    tried = f", and before {share_words(gpu)}" if has != gpu else ""
    return f"{failure.reason}; it had {share_words(has)}{tried}"


def same_failures(failed: Sequence[TrialRecord], furthest: int) -> tuple[TrialRecord, ...]:
    """Return the trials that failed as the newest did, if they are enough to say that all will.

    ``furthest``: the epochs of the trial in flight that has most. One that has come as far as
    those failed shows that it can be done.
    """
    kind = _VARYING.sub("", failed[-1].reason)
    same = tuple(trial for trial in failed if _VARYING.sub("", trial.reason) == kind)
    is_passed = furthest > max(trial.num_epochs for trial in failed)
    return () if is_passed or len(same) < SAME_FAILURES else same


def pause_words(same: Sequence[TrialRecord], folder: StudyFolder) -> str:
    """Return why a study pauses whose trials failed alike, and how it goes on."""
    newest = same[-1]
    place = f"{StudyFolder.FAILURES}/{_attempt_name(newest)}.txt"
    whole = f"; the whole traceback is in {folder.uri}/{place}" if folder.exists(place) else ""
    numbers = ", ".join(str(trial.number) for trial in same)
    command = f"`twohead resume {quoted(folder.uri)} --retry-failed`"
    return (
        f"is paused: {len(same)} trials ({numbers}) failed in the same way and none came further: "
        f"{newest.reason}{whole}; nothing is lost: once the cause is mended, {command} trains "
        "these again and goes on; without --retry-failed it goes on with others"
    )


def _attempt_name(trial: TrialRecord) -> str:
    """Return how files are named that a trial's newest attempt left of itself."""
    newest = trial.attempts[-1]
    return f"{newest.generation:06d}-{trial.number:06d}-{newest.attempt:03d}"


def _share_of(trial: TrialRecord, gpu: float) -> float:
    """Return the share of a GPU that a trial has: a larger one, once the study's was too small."""
    has_outgrown = any(release.cause == "share" for release in trial.releases)
    return (larger_class(gpu) or gpu) if has_outgrown else gpu


def next_attempt(trial: TrialRecord, plan: Plan) -> Envelope:
    """Return what the process of a trial's newest attempt is handed."""
    newest, gpu = trial.attempts[-1], _share_of(trial, plan.gpu)
    return Envelope(
        number=trial.number,
        attempt=newest.attempt,
        generation=newest.generation,
        config=dict(trial.config),
        seed=plan.seed_of(trial.number),
        epochs=plan.epochs_of(trial.number),
        is_reference=trial.is_reference,
        kept=trial.resumable,
        gpu=None if gpu == plan.gpu else gpu,
    )
