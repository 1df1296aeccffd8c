"""Questions about a cluster's studies: small jobs that read, whose logs hold the answers."""

import json
import secrets
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, final

from search.errors import ClusterError, InputError
from search.remote.answers import error_of, from_log
from search.remote.connection import Connection
from search.remote.job import COMMAND
from search.remote.jobs_api import Job
from search.remote.values import Answer
from search.wording import clean
from trainables.plain_values import plain
from trainables.uri_keys import check_no_key

KIND = "twohead"
"""The key of a job's metadata that says what it is to us."""
START_SECONDS = 120.0
"""How long a question may wait for the head to take it up."""
ANSWER_SECONDS = 300.0
"""How long a question may take then."""
TEST_SECONDS = 1800.0
"""The same where a model is measured for the answer."""
LOOK_SECONDS = 0.25


@final
class Questions:
    """Asks a cluster about its studies.

    Args:
        connection: To the cluster.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def relay(self, argv: Sequence[str], *, storage: str, columns: int | None) -> Answer:
        """Run a `twohead` command there that only reads; see `search.remote.job_ask.relay`.

        Raises:
            InputError: If it is none of those, or there are no studies to look at.
            ClusterError: If no answer comes in time.
        """
        seconds = TEST_SECONDS if "--test" in argv else ANSWER_SECONDS
        asked = {"argv": list(argv), "columns": columns, "storage": storage}
        answer = self._ask(asked, seconds)
        return Answer(status=answer["status"], out=answer["out"], err=answer["err"])

    def tell(self, what: str, *, storage: str = "", **options: Any) -> Any:
        """Return a value; see `search.remote.job_ask.tell`.

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
