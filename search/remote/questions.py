"""Questions about a cluster's studies: small jobs that read, whose logs hold the answers."""

import base64
import json
import secrets
import shlex
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, final

from search.errors import (
    ClusterError,
    InputError,
    NoCandidate,
    SearchError,
    StorageError,
    StudyDiffers,
    StudyLocked,
)
from search.remote.connection import Connection
from search.remote.jobs import Job
from search.remote.request import COMMAND
from search.results.points import Figures, Point
from search.text import clean
from trainables.spec.plain_values import plain
from trainables.storage.uri_keys import check_no_key

KIND = "twohead"
"""The key of a job's metadata that says what it is to us."""


START_SECONDS = 120.0
"""How long a question may wait for the head to take it up."""


ANSWER_SECONDS = 300.0
"""How long a question may take then."""


TEST_SECONDS = 1800.0
"""The same where a model is measured for the answer."""


LOOK_SECONDS = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a `twohead` command printed on the cluster."""

    status: int
    """Its exit status."""
    out: str
    err: str


@final
class Questions:
    """Asks a cluster about its studies.

    Args:
        connection: To the cluster.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def relay(self, argv: Sequence[str], *, storage: str, columns: int | None) -> Answer:
        """Run a `twohead` command there that only reads; see `search.cli.answer.relay`.

        Raises:
            InputError: If it is none of those, or there are no studies to look at.
            ClusterError: If no answer comes in time.
        """
        seconds = TEST_SECONDS if "--test" in argv else ANSWER_SECONDS
        asked = {"argv": list(argv), "columns": columns, "storage": storage}
        answer = self._ask(asked, seconds)
        return Answer(status=answer["status"], out=answer["out"], err=answer["err"])

    def tell(self, what: str, *, storage: str = "", **options: Any) -> Any:
        """Return a value; see `search.cli.answer.tell`.

        Raises:
            SearchError: The error that the cluster gave instead.
            ClusterError: If no answer comes in time.
        """
        asked = {"what": what, "options": options, "storage": storage}
        return self._ask(asked, ANSWER_SECONDS)["value"]

    def _ask(self, asked: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        question = secrets.token_hex(16)
        job_id = f"twohead-ask-{question[:12]}"
        command = shlex.join([*COMMAND, "ask", question, _as_text(asked)])
        self._connection.call(lambda api: api.submit(job_id, f"exec {command}", {KIND: "ask"}, {}))
        try:
            job = self._wait(job_id, seconds)
            log = self._connection.call_patiently(lambda api: api.logs(job_id))
        except BaseException:
            with suppress(ClusterError):
                self._connection.call(lambda api: api.stop(job_id))
            raise
        answer = from_log(log, question)
        with suppress(ClusterError):  # its answer is here; a job more in a list does no harm
            self._connection.call(lambda api: api.delete(job_id))
        if answer is None:
            raise ClusterError(why_no_answer(job, log))
        if "error" in answer:
            raise error_of(answer["error"])
        return answer

    def _wait(self, job_id: str, seconds: float) -> Job:
        """Wait for a question's job to end."""
        began = time.monotonic()
        while True:
            job = self._connection.call_patiently(lambda api: api.job(job_id))
            if job is None:
                raise ClusterError(
                    f"the cluster at {self._connection.address} has lost a question: its head was "
                    "started again; ask once more"
                )
            if job.has_ended:
                return job
            limit = START_SECONDS if job.status == "PENDING" else START_SECONDS + seconds
            if time.monotonic() - began > limit:
                raise ClusterError(
                    f"the cluster at {self._connection.address} gave no answer within {limit:g} s "
                    f"({clean(job.message)}): `twohead doctor` says what is wrong with it"
                )
            time.sleep(LOOK_SECONDS)


def _as_text(asked: Mapping[str, Any]) -> str:
    try:
        text = json.dumps(plain(asked))
    except (TypeError, ValueError) as error:
        raise InputError(f"a question to a cluster needs plain values, got {error}") from None
    # It travels as a job's command line, which all who reach the cluster see.
    for place in _texts(asked):
        check_no_key("a question to a cluster", place)
    return text


def _texts(value: Any) -> Iterator[str]:
    """Yield every text in a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from _texts(list(value.values()))
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _texts(one)


def why_no_answer(job: Job, log: str) -> str:
    """Say why a job of ours ended without the answer that it was to give."""
    lines = [line for line in log.splitlines() if line.strip()]
    last = clean(" ".join((lines or [job.message])[-1].split())[:300])
    if "No module named" in last or "not found" in last:
        return (
            f"the cluster cannot run twohead ({last}): install twohead-search on its nodes, for "
            "the `python` that is first in PATH where `ray start` runs (cluster.yaml does)"
        )
    return f"the cluster gave no answer ({job.status.lower()}: {last})"


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


def study_status(
    name: str, job: Job | None, known: Mapping[str, Any], message: str
) -> StudyStatus:
    """Join what the cluster's jobs and its storage say of one study.

    Args:
        name: Of the study.
        job: Its newest job, None if this cluster has run none.
        known: What the storage holds, as `search.cli.answer` tells it.
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


MARK = "twohead-answer"


WIDTH = 4096
"""Characters of a line of an answer."""


KINDS = {kind.__name__: kind for kind in (InputError, NoCandidate, StorageError, StudyDiffers)} | {
    "StudyLocked": StudyLocked
}


def to_log(answer: Mapping[str, Any], question: str) -> str:
    """Return an answer as lines of plain letters between two marks.

    Args:
        answer: Plain JSON values.
        question: Letters and digits that nobody else knows: whatever a study's names and
            reasons say, they cannot forge a mark.
    """
    packed = base64.b64encode(zlib.compress(json.dumps(answer).encode())).decode()
    lines = [packed[at : at + WIDTH] for at in range(0, len(packed), WIDTH)]
    return "\n".join([f"{MARK} {question} begins", *lines, f"{MARK} {question} ends", ""])


def from_log(log: str, question: str) -> dict[str, Any] | None:
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
    kind = next((name for name, known in KINDS.items() if type(error) is known), None)
    if kind is None:
        kind = "InputError" if isinstance(error, InputError) else "SearchError"
    return {"kind": kind, "message": str(error)}


def error_of(values: Mapping[str, str]) -> SearchError:
    """Return the error that `error_to_plain` was made from, or its nearest kin."""
    kind: type[SearchError] = KINDS.get(values["kind"], ClusterError)
    return kind(values["message"])


def point_to_plain(point: Point) -> dict[str, Any]:
    """Return a point as plain values, whole."""
    values = {name: getattr(point, name) for name in Point.__slots__}
    values |= {name: dict(values[name]) for name in ("config", "losses", "metrics")}
    if point.test is not None:
        values["test"] = [dict(point.test.losses), dict(point.test.metrics)]
    values["others"] = {name: point_to_plain(other) for name, other in point.others.items()}
    return values


def point_of(values: Mapping[str, Any]) -> Point:
    """Return the point that `point_to_plain` was made from."""
    test = values["test"]
    figures = None if test is None else Figures(losses=test[0], metrics=test[1])
    others = {name: point_of(other) for name, other in values["others"].items()}
    return Point(**{**values, "test": figures, "others": others})
