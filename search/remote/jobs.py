"""Ray's Jobs API: the jobs of one cluster, and the packages of files that they are given."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, Self, final
from urllib.parse import quote, urlsplit

from search.errors import InputError
from search.remote.connection import Connection
from search.text import clean

UPLOAD_SECONDS = 600.0

KIND = "twohead"
"""The key of a job's metadata that says what it is to us."""
Status = Literal["PENDING", "RUNNING", "STOPPED", "SUCCEEDED", "FAILED"]
ENDED = ("STOPPED", "SUCCEEDED", "FAILED")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job of a cluster."""

    id: str
    status: Status
    message: str
    metadata: Mapping[str, str]
    began: float
    """Seconds since 1970; 0 if it has not begun."""
    ended: float | None
    node: str
    """Where its driver runs or ran; empty before."""
    exit_status: int | None

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Return the job that Ray describes."""
        agent = str(values.get("driver_agent_http_address") or "")
        return cls(
            id=str(values["submission_id"]),
            status=values["status"],
            message=str(values.get("message") or ""),
            metadata=dict(values.get("metadata") or {}),
            began=(values.get("start_time") or 0) / 1000,
            ended=None if not values.get("end_time") else values["end_time"] / 1000,
            node=str(urlsplit(agent).hostname or ""),
            exit_status=values.get("driver_exit_code"),
        )

    @property
    def has_ended(self) -> bool:
        """Whether nothing of it runs any more."""
        return self.status in ENDED

    @property
    def storage(self) -> str:
        """Where it has put its study; empty for what the nodes say."""
        return self.metadata.get("storage", "")

    def in_words(self) -> str:
        """Say what became of it."""
        ended = "" if self.ended is None else f" at {moment(self.ended)}"
        return clean(f"job {self.id}, {self.status.lower()}{ended}")


def moment(seconds: float) -> str:
    """Return a time since 1970 as a person reads it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


@final
class Jobs:
    """The jobs of one cluster; what only looks at one waits for a cluster that is gone.

    Those that run a study are known by their metadata.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def address(self) -> str:
        """The URL that is called."""
        return self._connection.address

    def job(self, job_id: str) -> Job | None:
        """Return one job, None if the cluster knows none of this name."""
        found = self._connection.look(f"/api/jobs/{quote(job_id)}")
        return None if found is None else Job.of(found)

    def logs(self, job_id: str) -> str:
        """Return what a job has printed so far."""
        found = self._connection.look(f"/api/jobs/{quote(job_id)}/logs")
        return "" if found is None else str(found["logs"])

    def submit(
        self, job_id: str, command: str, metadata: dict[str, str], environment: dict[str, Any]
    ) -> None:
        """Have a shell command run on the head."""
        given = {"metadata": metadata, "runtime_env": environment}
        asked = {"submission_id": job_id, "entrypoint": command, **given}
        self._connection.json("POST", "/api/jobs/", asked)

    def stop(self, job_id: str) -> None:
        """Ask a job to end; nothing is waited for."""
        self._connection.json("POST", f"/api/jobs/{quote(job_id)}/stop")

    def delete(self, job_id: str) -> None:
        """Forget a job that has ended."""
        self._connection.json("DELETE", f"/api/jobs/{quote(job_id)}")

    def upload(self, name: str, content: bytes) -> None:
        """Send a package unless it is there."""
        path = f"/api/packages/gcs/{quote(name)}"
        if self._connection.call("GET", path)[0] == 200:
            return
        status, body = self._connection.call("PUT", path, content, seconds=UPLOAD_SECONDS)
        if status != 200:
            raise self._connection.error("PUT", path, status, body)

    def of_studies(self) -> dict[str, Job]:
        """Return the newest job of each study, one that runs before those that have ended.

        After a head was started again, Ray takes a minute to see that a job has died (2.60):
        the one that goes on with its study is the newer one.
        """
        told = self._connection.json("GET", "/api/jobs/")
        jobs = [Job.of(one) for one in told if one.get("submission_id")]
        ours = [j for j in jobs if j.metadata.get(KIND) == "study" and "name" in j.metadata]
        found: dict[str, Job] = {}
        for job in sorted(ours, key=lambda job: job.began):
            before = found.get(job.metadata["name"])
            if before is None or before.has_ended or not job.has_ended:
                found[job.metadata["name"]] = job
        return found

    def of_study(self, name: str) -> Job:
        """Return the newest job of a study; refuse a study without any."""
        known = self.of_studies()
        if name not in known:
            raise InputError(
                f"a study needs a job on the cluster at {self.address}, got {name!r}; "
                f"there are jobs of {sorted(known) or 'none'}"
            )
        return known[name]

    def last_words(self, job: Job) -> str:
        """Return the last line that a job has printed with all that is indented below it.

        Without any, what Ray says of the job.
        """
        lines = [line for line in self.logs(job.id).splitlines() if line.strip()]
        lines = lines or [job.message]
        begins = [at for at, line in enumerate(lines) if not line.startswith(" ")]
        last = lines[begins[-1] if begins else -1 :]
        return " ".join(" ".join(last).split())[:500]
