"""Ray's Jobs API over HTTP: every call is bounded in time and fails with an error of ours.

Ray's own client waits without limit for an answer, takes the token of the whole process as it
was when ray was imported, and takes two seconds to import (ray 2.60).
"""

import http.client
import json
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import quote, urlsplit

from search.errors import ClusterError, InputError, TokenRefused, Unreachable

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 60.0
UPLOAD_SECONDS = 600.0
PORT = 8265
LARGEST_ANSWER = 256 * 2**20
LOOPBACK = ("127.0.0.1", "::1", "localhost")

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


@dataclass(frozen=True, slots=True, kw_only=True)
class JobsApi:
    """The jobs of one cluster.

    Args:
        address: ``http://host:port``, ``https://host`` or ``host:port``.
        token: To send with every call.

    Raises:
        InputError: If it is no such address, or would send the token where others can read it.
    """

    address: str
    token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Check the address and give it its plain form."""
        given = self.address if "://" in self.address else f"http://{self.address}"
        try:
            parts = urlsplit(given)
            host, port = parts.hostname, parts.port
            (host or "").encode("idna"), parts.path.encode("ascii")
        except ValueError:  # also of letters that no address has
            host, port, parts = None, None, urlsplit("")
        if parts.scheme not in {"http", "https"} or not host or parts.username is not None:
            rule = "http://host:port, host:port, or the file that `ray up` was given"
            raise InputError(f"the address of a cluster needs {rule}, got {self.address!r}")
        if self.token and parts.scheme == "http" and host not in LOOPBACK:
            raise InputError(
                f"the address of a cluster with a token needs https or an SSH tunnel, got "
                f"{self.address!r}: give the file that `ray up` was given, or run `ray dashboard "
                "FILE` and leave the address out"
            )
        known = port or (PORT if parts.scheme == "http" else 443)
        shown = f"[{host}]" if ":" in host else host
        plain = f"{parts.scheme}://{shown}:{known}{parts.path.rstrip('/')}"
        object.__setattr__(self, "address", plain)

    def check(self) -> str:
        """Return the version of Ray there.

        Raises:
            ClusterError: If nothing answers, or it is no Ray.
            TokenRefused: If it asks for another token.
        """
        answer = self._json("GET", "/api/version")
        if not isinstance(answer, dict) or not isinstance(answer.get("ray_version"), str):
            raise ClusterError(f"{self.address} answers, but not as the dashboard of a Ray")
        return str(answer["ray_version"])

    def jobs(self) -> list[Job]:
        """Return all jobs that were submitted."""
        found = self._json("GET", "/api/jobs/")
        return [_job(one) for one in found if one.get("submission_id")]

    def job(self, job_id: str) -> Job | None:
        """Return one job, None if the cluster knows none of this name."""
        found = self._json("GET", f"/api/jobs/{quote(job_id)}")
        return None if found is None else _job(found)

    def submit(
        self,
        job_id: str,
        entrypoint: str,
        metadata: Mapping[str, str],
        environment: dict[str, Any],
    ) -> None:
        """Have a shell command run on the head."""
        self._json(
            "POST",
            "/api/jobs/",
            {
                "entrypoint": entrypoint,
                "submission_id": job_id,
                "metadata": dict(metadata),
                "runtime_env": dict(environment),
            },
        )

    def stop(self, job_id: str) -> None:
        """Ask a job to end; nothing is waited for."""
        self._json("POST", f"/api/jobs/{quote(job_id)}/stop")

    def delete(self, job_id: str) -> None:
        """Forget a job that has ended."""
        self._json("DELETE", f"/api/jobs/{quote(job_id)}")

    def logs(self, job_id: str) -> str:
        """Return what a job has printed so far."""
        found = self._json("GET", f"/api/jobs/{quote(job_id)}/logs")
        return "" if found is None else str(found["logs"])

    def upload(self, name: str, content: bytes) -> bool:
        """Send a package unless it is there; return whether it was sent."""
        path = f"/api/packages/gcs/{quote(name)}"
        if self._call("GET", path)[0] == 200:
            return False
        status, body = self._call("PUT", path, content, seconds=UPLOAD_SECONDS)
        if status != 200:
            raise self._error("PUT", path, status, body)
        return True

    def _json(self, method: str, path: str, given: Any = None) -> Any:
        """Return the answer's value, None where there is no such thing."""
        body = None if given is None else json.dumps(given).encode()
        status, content = self._call(method, path, body)
        if status == 404:
            return None
        if status != 200:
            raise self._error(method, path, status, content)
        try:
            return json.loads(content)
        except ValueError:
            raise ClusterError(
                f"{self.address} answers, but not as the dashboard of a Ray"
            ) from None

    def _call(
        self, method: str, path: str, body: bytes | None = None, *, seconds: float | None = None
    ) -> tuple[int, bytes]:
        connection = self._connection()
        try:
            connection.connect()
            if connection.sock is not None:
                connection.sock.settimeout(seconds or ANSWER_SECONDS)
            connection.request(method, self._prefix + path, body, self._headers(body))
            response = connection.getresponse()
            content = response.read(LARGEST_ANSWER)
        except (OSError, http.client.HTTPException) as error:
            why = str(error) or type(error).__name__
            raise Unreachable(
                f"no cluster answers at {self.address} ({why}): start the tunnel with `ray "
                "dashboard FILE`, or give FILE as the address"
            ) from None
        finally:
            connection.close()
        if response.status in {401, 403}:
            raise self._refused()
        return response.status, content

    def _headers(self, body: bytes | None) -> dict[str, str]:
        headers = {} if body is None else {"Content-Type": "application/json"}
        return {**headers, "Authorization": f"Bearer {self.token}"} if self.token else headers

    def _connection(self) -> http.client.HTTPConnection:
        parts = urlsplit(self.address)
        host, port = parts.hostname or "", parts.port
        if parts.scheme == "https":
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(
                host, port, timeout=CONNECT_SECONDS, context=context
            )
        return http.client.HTTPConnection(host, port, timeout=CONNECT_SECONDS)

    @property
    def _prefix(self) -> str:
        return urlsplit(self.address).path

    def _refused(self) -> TokenRefused:
        has = "refused this token" if self.token else "asks for a token, and there is none here"
        return TokenRefused(
            f"the cluster at {self.address} {has}: copy ~/.ray/auth_token from its head to "
            f"{os.path.join('~', '.ray', 'auth_token')} here and `chmod 600` it"
        )

    def _error(self, method: str, path: str, status: int, body: bytes) -> ClusterError:
        lines = [line for line in body.decode("utf-8", "replace").splitlines() if line.strip()]
        last = lines[-1].strip()[:300] if lines else "no reason"
        return ClusterError(
            f"the cluster at {self.address} could not answer {method} {path}: {status}, {last}"
        )


def _job(values: Mapping[str, Any]) -> Job:
    agent = str(values.get("driver_agent_http_address") or "")
    return Job(
        id=str(values["submission_id"]),
        status=values["status"],
        message=str(values.get("message") or ""),
        metadata=dict(values.get("metadata") or {}),
        began=(values.get("start_time") or 0) / 1000,
        ended=None if not values.get("end_time") else values["end_time"] / 1000,
        node=str(urlsplit(agent).hostname or ""),
        exit_status=values.get("driver_exit_code"),
    )
