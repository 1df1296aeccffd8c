"""The jobs of a cluster that run studies: sent, found, followed and waited for."""

import secrets
import shlex
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import final

from search.errors import ClusterError, InputError, StudyLocked
from search.remote.jobs import Job, JobsApi
from search.remote.package import pack
from search.remote.questions import KIND, ask
from search.remote.request import COMMAND, REQUEST_FILE, JobRequest, check_place
from search.text import clean
from trainables.storage.uri_keys import check_no_key

STOP_SECONDS = 120
"""How long a driver may take to end in order; Ray kills it then."""
FOLLOW_SECONDS = 1.0


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


@final
class StudyJobs:
    """Knows a study's jobs by their metadata."""

    def __init__(self, api: JobsApi) -> None:
        self._api = api

    def send(
        self, request: JobRequest, folder: str | None = None, apart_from: Sequence[str] = ()
    ) -> Submitted:
        """Submit a request as a job, with the modules of a folder apart from some paths."""
        name, storage = request.name, request.storage
        for what, place in (("storage", storage), *(("data", place) for place in apart_from)):
            check_no_key(what, place)
        if storage:
            check_place("storage", storage)
        self.refuse_running(name, storage)
        package = pack(request.to_json(), folder, apart_from=apart_from)
        self._api.upload(package.name, package.content)
        now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        job_id = f"twohead-{name}-{now}-{secrets.token_hex(3)}"
        metadata = {KIND: "study", "name": name, "storage": storage, "version": request.version}
        variables = {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS)}
        environment = {"working_dir": package.uri, "env_vars": variables}
        command = f"exec {shlex.join([*COMMAND, 'run', REQUEST_FILE])}"
        self._api.submit(job_id, command, metadata, environment)
        return Submitted(
            name=name,
            job_id=job_id,
            storage=storage,
            num_files=package.num_files,
            num_bytes=len(package.content),
        )

    def refuse_running(self, name: str, storage: str) -> None:
        """Refuse a study that a job runs already, as far as its head can tell."""
        job = self.newest(name)
        place = "" if job is None else job.metadata.get("storage", "")
        if job is None or job.has_ended or place.rstrip("/") != storage.rstrip("/"):
            return
        if job.status == "RUNNING" and not ask(self._api, "is_running", job_id=job.id):
            return
        raise StudyLocked(
            f"study {name!r} is being run on this cluster by job {job.id} since "
            f"{_when(job.began)}; wait for it (`twohead logs {name} --follow`) or stop it "
            f"(`twohead stop {name}`)"
        )

    def by_name(self) -> dict[str, Job]:
        """Return the newest job of each study, one that runs before those that have ended.

        After a head was started again, Ray takes a minute to see that a job has died (2.60):
        the one that goes on with its study is the newer one.
        """
        jobs = self._api.jobs()
        ours = [j for j in jobs if j.metadata.get(KIND) == "study" and "name" in j.metadata]
        found: dict[str, Job] = {}
        for job in sorted(ours, key=lambda job: job.began):
            before = found.get(job.metadata["name"])
            if before is None or before.has_ended or not job.has_ended:
                found[job.metadata["name"]] = job
        return found

    def newest(self, name: str) -> Job | None:
        """Return the newest job of a study, None without one; see `by_name`."""
        return self.by_name().get(name)

    def storage_of(self, name: str) -> str:
        """Return where a study's newest job has put it; empty for what the nodes say."""
        job = self.newest(name)
        return "" if job is None else job.metadata.get("storage", "")

    def needed(self, name: str) -> Job:
        """Return the newest job of a study; refuse a study without any."""
        known = self.by_name()
        if name not in known:
            raise InputError(
                f"a study needs a job on the cluster at {self._api.address}, got {name!r}; "
                f"there are jobs of {sorted(known) or 'none'}"
            )
        return known[name]

    def lines(self, name: str, *, follow: bool) -> Iterator[str]:
        """Yield what a study's newest job has printed, line by line."""
        job, seen = self.needed(name), 0
        while True:
            now = self._api.job(job.id)
            log = self._api.logs(job.id)
            is_last = not follow or now is None or now.has_ended
            end = len(log) if is_last else max(seen, log.rfind("\n") + 1)
            yield from log[seen:end].splitlines()
            seen = end
            if is_last:
                return
            time.sleep(FOLLOW_SECONDS)

    def last_words(self, job: Job | None) -> str:
        """Return the last line that a job has printed with all that is indented below it.

        Without any, what Ray says of the job.
        """
        if job is None:
            return ""
        lines = [line for line in self._api.logs(job.id).splitlines() if line.strip()]
        lines = lines or [job.message]
        begins = [at for at, line in enumerate(lines) if not line.startswith(" ")]
        last = lines[begins[-1] if begins else -1 :]
        return " ".join(" ".join(last).split())[:500]

    def wait(self, name: str, *, seconds: float | None) -> None:
        """Wait for a study's newest job to end."""
        job = self.needed(name)
        end = None if seconds is None else time.monotonic() + seconds
        while True:
            now = self._api.job(job.id)
            if now is None or now.has_ended:
                return
            if end is not None and time.monotonic() >= end:
                raise ClusterError(f"study {name!r} (job {job.id}) still runs after {seconds:g} s")
            time.sleep(FOLLOW_SECONDS)


def in_words(job: Job) -> str:
    """Say what became of a job."""
    ended = "" if job.ended is None else f" at {_when(job.ended)}"
    return clean(f"job {job.id}, {job.status.lower()}{ended}")


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
