"""Which process on which machine: told to others, and asked whether it is still there."""

import json
import os
import socket
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_JOB_CONFIG = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""What Ray's Jobs API sets for a job's driver (ray 2.60, ``job_supervisor.py``)."""
_OVER = ("Z", "X")
"""States of a process that runs no more, though its number is still taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Whereabouts:
    """One process, so named that no other one ever has the same name."""

    pid: int
    host: str
    machine: str
    """The machine since it was started; containers on it share this."""
    namespace: str
    """Within which ``pid`` means something."""
    began: str
    """When the process began, in the machine's own measure; empty if that is not told."""
    job: str
    """The job on a cluster whose driver it is; empty outside of one."""

    @classmethod
    def here(cls) -> "Whereabouts":
        """Return this process."""
        return cls(
            pid=os.getpid(),
            host=socket.gethostname(),
            machine=_machine(),
            namespace=_namespace(),
            began=_stat(os.getpid())[1],
            job=_job(),
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Whereabouts":
        """Rebuild it from what ``to_dict`` and JSON made of it.

        Raises:
            KeyError: If something is missing.
            TypeError: If ``pid`` is no number.
        """
        if type(values["pid"]) is not int:
            raise TypeError("pid needs to be a number")
        texts = {name: str(values[name]) for name in cls.__slots__ if name != "pid"}
        return cls(pid=values["pid"], **texts)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    def is_gone(self) -> bool:
        """Tell whether this process has certainly ended: only its own machine can say so.

        A stopped process is not gone: it may go on at any moment.
        """
        if (self.machine, self.namespace) != (_machine(), _namespace()):
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except OSError:
            pass  # another user's
        state, began = _stat(self.pid)
        return state in _OVER or bool(began and self.began and began != self.began)

    def is_here(self) -> bool:
        """Tell whether this is the process that asks."""
        return self == Whereabouts.here()

    def __str__(self) -> str:
        job = f" (job {self.job})" if self.job else ""
        return f"process {self.pid} on {self.host}{job}"


def _machine() -> str:
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{uuid.getnode():012x}"  # not Linux


def _namespace() -> str:
    with suppress(OSError):
        return os.readlink("/proc/self/ns/pid")
    return socket.gethostname()


def _stat(pid: int) -> tuple[str, str]:
    """Return a process' state and when it began; empty texts where nothing tells."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return "", ""
    fields = text.rpartition(")")[2].split()  # its name may hold blanks and brackets
    return fields[0], fields[19]


def _job() -> str:
    with suppress(ValueError, KeyError, TypeError):
        config = json.loads(os.environ.get(_JOB_CONFIG, ""))
        return str(config["metadata"]["job_submission_id"])
    return ""
