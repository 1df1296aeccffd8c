"""Ray's Jobs API: the jobs of one cluster, and the packages of files that they are given."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, final
from urllib.parse import quote, urlsplit

from search.remote.connection import Connection

UPLOAD_SECONDS = 600.0

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

    @property
    def has_ended(self) -> bool:
        """Whether nothing of it runs any more."""
        return self.status in ENDED

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


@final
class JobsApi:
    """The jobs of one cluster; what only looks at one waits for a cluster that is gone."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def address(self) -> str:
        """The URL that is called."""
        return self._connection.address

    def jobs(self) -> list[Job]:
        """Return all jobs that were submitted."""
        found = self._connection.json("GET", "/api/jobs/")
        return [Job.of(one) for one in found if one.get("submission_id")]

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

    def upload(self, name: str, content: bytes) -> bool:
        """Send a package unless it is there; return whether it was sent."""
        path = f"/api/packages/gcs/{quote(name)}"
        if self._connection.call("GET", path)[0] == 200:
            return False
        status, body = self._connection.call("PUT", path, content, seconds=UPLOAD_SECONDS)
        if status != 200:
            raise self._connection.error("PUT", path, status, body)
        return True
