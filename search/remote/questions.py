"""Questions about a cluster's studies: small jobs that read, whose logs hold the answers.

A question is a name and options (`search.cli.head_answers` has the functions that answer), the
answer JSON. It is packed between two marks, as others write to a job's log as well.
"""

import base64
import json
import secrets
import shlex
import time
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Self, TypeVar

import msgspec

from search.errors import (
    ClusterError,
    InputError,
    NoCandidate,
    SearchError,
    StorageError,
    StudyDiffers,
    StudyLocked,
)
from search.remote.jobs import KIND, Job, Jobs
from search.remote.request import COMMAND
from search.results.points import Point
from search.text import clean
from trainables.spec.plain_values import plain
from trainables.storage.uri_keys import check_no_key

START_SECONDS = 120.0
"""How long a question may wait for the head to take it up."""
ANSWER_SECONDS = 300.0
"""How long a question may take then."""
LOOK_SECONDS = 0.25

MARK = "twohead-answer"
ERRORS: Mapping[str, type[SearchError]] = {
    kind.__name__: kind
    for kind in (InputError, NoCandidate, StorageError, StudyDiffers, StudyLocked)
}

INTERRUPTED = 130
"""Exit status of a driver that was told to end."""

Told = TypeVar("Told")


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandOutput:
    """What a `twohead` command ended with and printed on the cluster."""

    status: int
    out: str
    err: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyStatus:
    """A study on a cluster at one moment."""

    name: str
    state: str
    """``pending``, ``running``, ``finished``, ``interrupted``, ``failed``, ``not begun`` or
    ``unreadable``."""
    num_ended: int | None = None
    """Trials that have ended; None where it could not be told."""
    num_trials: int | None = None
    """Of the budget."""
    best: Point | None = None
    """The best so far by the default policy."""
    folder: str = ""
    """Where the study lies, as the cluster sees it; empty if that is not known."""
    job_id: str = ""
    """Of its newest job; empty if this cluster ran none."""
    node: str = ""
    """Where the driver of that job runs, or ran."""
    since: float = 0.0
    """When that job began: seconds since 1970; 0 without one."""
    message: str = ""
    """The last thing that was said."""

    def with_job(self, job: Job | None, message: str = "") -> Self:
        """Return what the storage says of a study, joined with what its newest job says."""
        known = replace(self, message=message or self.message)
        if job is None:
            return known
        state = self.state
        if not job.has_ended:
            state = job.status.lower()
        elif job.status == "FAILED" and job.exit_status != INTERRUPTED:
            state = state if state in {"finished", "running"} else "failed"
        return replace(known, state=state, job_id=job.id, node=job.node, since=job.began)


def ask(
    jobs: Jobs, what: str, *, storage: str = "", seconds: float = ANSWER_SECONDS, **options: Any
) -> Any:
    """Return what the function of that name in `search.cli.head_answers` returns on the head.

    It is called there with where studies lie, empty for what the nodes say, and with the options,
    plain values. The error that it raises is raised here.
    """
    job_id = f"twohead-ask-{secrets.token_hex(16)}"
    asked = _as_text({"what": what, "storage": storage, "options": options})
    command = shlex.join([*COMMAND, "ask", job_id, asked])
    jobs.submit(job_id, f"exec {command}", {KIND: "ask"}, {})
    try:
        job = _wait(jobs, job_id, seconds)
        log = jobs.logs(job_id)
    except BaseException:
        with suppress(ClusterError):
            jobs.stop(job_id)
        raise
    with suppress(ClusterError):  # its answer is here; a job more in a list does no harm
        jobs.delete(job_id)
    answer = _from_log(log, job_id)
    if answer is None:
        raise ClusterError(_why_no_answer(job, log))
    if "error" in answer:
        raise _error_of(answer["error"])
    return answer["value"]


def read_answer(told: Any, kind: type[Told]) -> Told:
    """Return an answer as a value; `ClusterError` if a head of another version gave another."""
    try:
        return msgspec.convert(told, kind)
    except msgspec.ValidationError as error:
        raise ClusterError(
            f"the cluster answered in another form ({error}): install the same twohead-search "
            "on the cluster and here"
        ) from error


def _wait(jobs: Jobs, job_id: str, seconds: float) -> Job:
    """Wait for a question's job to end."""
    began = time.monotonic()
    while True:
        job = jobs.job(job_id)
        if job is None:
            raise ClusterError(
                f"the cluster at {jobs.address} has lost a question: its head was "
                "started again; ask once more"
            )
        if job.has_ended:
            return job
        limit = START_SECONDS if job.status == "PENDING" else START_SECONDS + seconds
        if time.monotonic() - began > limit:
            raise ClusterError(
                f"the cluster at {jobs.address} gave no answer within {limit:g} s "
                f"({clean(job.message)}): `twohead doctor` says what is wrong with it"
            )
        time.sleep(LOOK_SECONDS)


def _as_text(asked: Mapping[str, Any]) -> str:
    """Return a question as it travels; refuse one with a key in it."""
    try:
        text = json.dumps(plain(asked))
    except (TypeError, ValueError) as error:
        raise InputError(f"a question to a cluster needs plain values, got {error}") from None
    # It travels as a job's command line, which all who reach the cluster see.
    for said in _texts(asked):
        check_no_key("a question to a cluster", said)
    return text


def _texts(value: Any) -> list[str]:
    """Return every text in a value."""
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, Mapping) else value
    return [text for one in inner for text in _texts(one)] if hasattr(inner, "__iter__") else []


def _why_no_answer(job: Job, log: str) -> str:
    """Say why a job of ours ended without the answer that it was to give."""
    lines = [line for line in log.splitlines() if line.strip()]
    last = clean(" ".join((lines or [job.message])[-1].split())[:300])
    if "No module named" in last or "not found" in last:
        return (
            f"the cluster cannot run twohead ({last}): install twohead-search on its nodes, for "
            "the `python` that is first in PATH where `ray start` runs (cluster.yaml does)"
        )
    return f"the cluster gave no answer ({job.status.lower()}: {last})"


def to_log(answer: Mapping[str, Any], question: str) -> str:
    """Return an answer as lines of plain letters between two marks.

    ``question`` is made of letters that nobody else knows: whatever a study's names and reasons
    say, they cannot forge a mark.
    """
    packed = zlib.compress(json.dumps(answer, default=msgspec.to_builtins).encode())
    lines = base64.encodebytes(packed).decode()
    return f"{MARK} {question} begins\n{lines}{MARK} {question} ends\n"


def _from_log(log: str, question: str) -> dict[str, Any] | None:
    """Return the answer that a log holds, None if it holds none to this question."""
    _, begin, rest = log.partition(f"{MARK} {question} begins\n")
    body, end, _ = rest.partition(f"{MARK} {question} ends")
    if not begin or not end:
        return None
    try:
        answer = json.loads(zlib.decompress(base64.b64decode("".join(body.split()))))
    except (ValueError, zlib.error):
        return None
    return answer if isinstance(answer, dict) else None


def error_to_plain(error: SearchError) -> dict[str, str]:
    """Return an error as plain values."""
    kind = type(error).__name__
    if kind not in ERRORS and isinstance(error, InputError):
        kind = InputError.__name__
    return {"kind": kind, "message": str(error)}


def _error_of(values: Mapping[str, str]) -> SearchError:
    """Return the error that `error_to_plain` was made from, or its nearest kin."""
    return ERRORS.get(values["kind"], ClusterError)(values["message"])
