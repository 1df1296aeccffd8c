"""Why Ray lost an attempt: read from the error that Tune keeps of it."""

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.exceptions import ActorUnavailableError, RayActorError, RayTaskError

from search.attempts import Loss
from search.errors import SearchError, StorageError, UnfitNode

# What Ray 2.60 says, and says nowhere else but in the text.
NODE_DIED = "its node has died"
NODE_WAS_FULL = "due to the node running low on memory"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """How an attempt was lost."""

    loss: Loss
    detail: str = ""
    """What was raised, if anything was."""


def why_lost(trial: Any) -> Lost:
    """Return why a Tune trial ended without a final result.

    Args:
        trial: A ``ray.tune.experiment.Trial`` that has just failed.

    Raises:
        SearchError: If its process could not even be set up: no other would fare better.
    """
    error, text = _error(trial)
    if isinstance(error, RayTaskError):
        if isinstance(error.cause, StorageError):
            return Lost(loss=Loss.STORAGE, detail=str(error.cause))
        if isinstance(error.cause, UnfitNode):
            return Lost(loss=Loss.UNFIT, detail=str(error.cause))
        return Lost(loss=Loss.ACTOR, detail=_one_line(error.cause))
    if isinstance(error, RayActorError):
        if error.actor_init_failed:
            last = text.strip().splitlines()[-1]
            raise SearchError(f"trials need a process that can be set up, got {last}")
        if error.preempted:
            return Lost(loss=Loss.PREEMPTED)
        if isinstance(error, ActorUnavailableError) or NODE_DIED in text:
            return Lost(loss=Loss.NODE)
    # Ray's error of a process that it killed for memory is none of the above, and Tune keeps
    # its text only. Every other one tells the reader of the OOM killer, too.
    return Lost(loss=Loss.MEMORY if NODE_WAS_FULL in text else Loss.ACTOR)


def _error(trial: Any) -> tuple[BaseException | None, str]:
    """Return the error, if Tune kept it, and its text.

    ``trial.get_pickled_error()`` looks into the storage, where Tune copies the file to only at
    the end (ray 2.60); here it is read where this process has just written it.
    """
    error, text = None, ""
    if trial.error_file is not None:
        text = Path(trial.error_file).read_text(errors="replace")
    if trial.pickled_error_file is not None:
        try:
            error = pickle.loads(Path(trial.pickled_error_file).read_bytes())
        except Exception:  # of a class that only the worker knows: its text has to do
            error = None
    return error, text


def _one_line(error: BaseException | None) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:400]}"
