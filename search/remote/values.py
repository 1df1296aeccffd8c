"""What a client of a cluster returns: frozen values."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from search.points import Point
from search.remote.answers import point_of
from search.remote.jobs_api import Job

ACTIVE = {"PENDING": "pending", "RUNNING": "running"}
INTERRUPTED = 130
"""Exit status of a driver that was told to end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """A study that a cluster was given to run."""

    name: str
    job_id: str
    storage: str
    """As the cluster was told; empty for what its nodes say."""
    num_files: int
    """Of the user's own modules, which went along."""
    num_bytes: int
    """Of all that was sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyStatus:
    """A study on a cluster at one moment."""

    name: str
    state: str
    """``pending``, ``running``, ``finished``, ``interrupted``, ``failed``, ``not begun`` or
    ``unreadable``."""
    num_ended: int | None
    """Trials that have ended; None where it could not be told."""
    num_trials: int | None
    """Of the budget."""
    best: Point | None
    """The best so far by the default policy."""
    folder: str
    """Where the study lies, as the cluster sees it; empty if that is not known."""
    job_id: str
    """Of its newest job; empty if this cluster ran none."""
    node: str
    """Where the driver of that job runs, or ran."""
    since: float
    """When that job began: seconds since 1970; 0 without one."""
    message: str
    """The last thing that was said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a `twohead` command printed on the cluster."""

    status: int
    """Its exit status."""
    out: str
    err: str


def study_status(
    name: str, job: Job | None, known: Mapping[str, Any], message: str
) -> StudyStatus:
    """Join what the cluster's jobs and its storage say of one study.

    Args:
        name: Of the study.
        job: Its newest job, None if this cluster has run none.
        known: What the storage holds, as `search.remote.job_ask` tells it.
        message: The last thing that was said.
    """
    best = known.get("best")
    return StudyStatus(
        name=name,
        state=_state(job, known["state"]),
        num_ended=known.get("ended"),
        num_trials=known.get("trials"),
        best=None if best is None else point_of(best),
        folder=known.get("folder", ""),
        job_id="" if job is None else job.id,
        node="" if job is None else job.node,
        since=0.0 if job is None else job.began,
        message=message or known.get("message", ""),
    )


def _state(job: Job | None, stored: str) -> str:
    """Return a study's state: that of a job that runs, else what is recorded."""
    if job is not None and not job.has_ended:
        return ACTIVE[job.status]
    has_failed = job is not None and job.status == "FAILED" and job.exit_status != INTERRUPTED
    return "failed" if has_failed and stored not in {"finished", "running"} else stored
