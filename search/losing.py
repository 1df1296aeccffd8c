"""Why Ray lost an attempt: told by the error itself, before Tune would write it to a file."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ray.exceptions import ActorUnavailableError, RayActorError, RayTaskError

from search.attempts import Loss
from search.errors import SearchError, StorageError, UnfitNode
from search.starting import replaced

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
