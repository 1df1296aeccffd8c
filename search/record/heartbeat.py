"""Signs of life of who runs a study: written again and again, judged by who wants to run it."""

import json
import os
import re
import socket
import time
import uuid
from collections.abc import Callable, Container
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from search.text import duration
from trainables.errors import InputError, OversizedObject, StorageError
from trainables.storage.sealed_json import DamagedRecord, convert, records, seal, unseal
from trainables.storage.store import Store
from trainables.storage.study_folder import StudyFolder

FOLDER, CLAIMS = StudyFolder.SIGNS, StudyFolder.CLAIMS
WATCHED_BEATS = 3
"""A holder whose last sign is old is watched for so many beats: its clock may be wrong."""
TOKEN_LETTERS = 16
UNKNOWN_SECONDS = 30.0
"""For so long is watched what cannot be read."""

_SIGN = re.compile(rf"{FOLDER}/(\d{{6,}})-([0-9a-f]{{18}})\.json")
_CLAIM = re.compile(rf"{CLAIMS}/(\d{{6,}})\.json")
_SEGMENT = re.compile(rf"{StudyFolder.LOG}/(\d{{6,}})-[-\d]+\.json")
_JOB_CONFIG = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""What Ray's Jobs API sets for a job's driver (ray 2.60, ``job_supervisor.py``)."""
_OVER = ("Z", "X")
"""States of a process that runs no more, though its number is still taken."""


def uptime() -> float:
    """Return seconds that also pass while the machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often a holder gives a sign of life, and by which clocks that is judged."""

    beat_seconds: float = 5.0
    """Between two signs."""
    lease_seconds: float = 30.0
    """For so long after a sign nobody takes over."""
    wall: Callable[[], float] = time.time
    uptime: Callable[[], float] = uptime
    sleep: Callable[[float], None] = time.sleep


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

    def __str__(self) -> str:
        job = f" (job {self.job})" if self.job else ""
        return f"process {self.pid} on {self.host}{job}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign:
    """What a holder last said of itself."""

    token: str
    """Hexadecimal digits: ``TOKEN_LETTERS`` of the claimant alone, 2 that count its tries."""
    who: Whereabouts
    since: str
    at: float
    """When this was written: seconds since the epoch, by the holder's clock."""
    beat_seconds: float
    lease_seconds: float
    counter: int = 0
    is_released: bool = False
    logged: int = 0
    """Segments of its generation that were in the log by then: where there are fewer now, some
    were lost."""

    def renewed(self, at: float, *, is_released: bool = False, logged: int = 0) -> "Sign":
        """Return the next sign of the same holder."""
        count = self.counter + 1
        return replace(self, at=at, counter=count, is_released=is_released, logged=logged)


def new_sign(token: str, pace: Pace) -> Sign:
    """Return the first sign of this process under a token."""
    now = pace.wall()
    return Sign(
        token=token,
        who=Whereabouts.here(),
        since=_iso(now),
        at=now,
        beat_seconds=pace.beat_seconds,
        lease_seconds=pace.lease_seconds,
    )


def encode_sign(sign: Sign) -> bytes:
    """Return the object of a sign: its fields beside those of ``who``."""
    values = asdict(sign)
    return seal("lease", {**values.pop("who"), **values})


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A sign as it lies in the study's folder."""

    path: str
    generation: int
    data: bytes
    sign: Sign | None
    """None if it cannot be read: then only a change of it shows life."""

    def age(self, now: float) -> float:
        """Return the seconds since it was written, if the clocks agree; else nonsense."""
        return now - self.sign.at if self.sign else float("inf")

    def is_fresh(self, now: float) -> bool:
        """Tell whether the lease runs, as far as the wall clocks can tell."""
        return self.sign is not None and abs(self.age(now)) < self.sign.lease_seconds

    def may_live(self, here: Container[str]) -> bool:
        """Tell whether its holder may still act: false for who has ended for certain.

        ``here`` are the tokens that this very process holds.
        """
        sign = self.sign
        if sign is None:
            return True
        if sign.is_released or sign.who.is_gone():
            return False
        return sign.who != Whereabouts.here() or sign.token[:TOKEN_LETTERS] in here

    def seconds_to_watch(self, now: float) -> float:
        """Return for how long it must not change before its holder counts as gone.

        A sign of the future comes from a wrong clock, so nothing is known of its age.
        """
        if self.sign is None:
            return UNKNOWN_SECONDS
        least = WATCHED_BEATS * self.sign.beat_seconds
        return max(least, self.sign.lease_seconds - max(0.0, self.age(now)))

    def describe(self, now: float) -> str:
        """Say who it is of and what is known of its life, for people."""
        if self.sign is None:
            return "another process"
        age = self.age(now)
        last = f"{duration(age)} ago" if age >= 0 else f"at {_iso(self.sign.at)} by its clock"
        return f"{self.sign.who} since {self.sign.since}, last sign of life {last}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Who has claimed a study, and the signs of life of those who may still hold it."""

    claimed: int
    """The newest generation that was claimed, or wrote to the log; 0 for none."""
    newest: int
    """The newest generation of which there is any trace."""
    signs: tuple[Found, ...]
    """Of the newest generation that was claimed (or of all that were asked for, see `look`), and
    of who was about to claim a newer one."""


def sign_path(generation: int, token: str) -> str:
    """Return where the holder of a generation gives its signs; nobody else writes there."""
    return f"{FOLDER}/{generation:06d}-{token}.json"


def claim_path(generation: int) -> str:
    """Return the object whose existence makes a generation the study's newest."""
    return f"{CLAIMS}/{generation:06d}.json"


def newest_claim(store: Store) -> int:
    """Return the newest generation with a claim; 0 for none. One listing, no reading."""
    return max((int(m[1]) for m in map(_CLAIM.fullmatch, store.list(CLAIMS)) if m), default=0)


def read_claimant(store: Store, generation: int) -> str:
    """Say whose a generation is, for people."""
    try:
        note = unseal("owner", store.get(claim_path(generation)), claim_path(generation))
        return f"process {note['pid']} on {note['host']} (generation {generation})"
    except (FileNotFoundError, StorageError, KeyError):
        return f"another process (generation {generation})"


def _newest_generation(store: Store) -> int:
    """Return the newest generation that was ever claimed; 0 before the first."""
    for path in records(store, CLAIMS):
        if not _CLAIM.fullmatch(path):
            raise DamagedRecord(f"{path} is no claim of this study; move it elsewhere")
    # Copies of a study may lack the claims; what the log names has been claimed all the same.
    logged = (int(m[1]) for m in map(_SEGMENT.fullmatch, store.list(StudyFolder.LOG)) if m)
    return max(newest_claim(store), *logged, 0)


def look(store: Store, claimed: int | None = None, *, since: int | None = None) -> Standing:
    """Read who has claimed a study and who says to be alive.

    The claims are listed before the signs: whoever claims in between is seen by its sign, which
    it writes first.
    """
    claimed = _newest_generation(store) if claimed is None else claimed
    matches = [m for m in map(_SIGN.fullmatch, store.list(FOLDER)) if m]
    oldest = claimed if since is None else min(since, claimed)
    found = [_read(store, m[0], int(m[1])) for m in matches if int(m[1]) >= oldest]
    return Standing(
        claimed=claimed,
        newest=max([claimed, *(int(m[1]) for m in matches)]),
        signs=tuple(one for one in found if one is not None),
    )


def _read(store: Store, path: str, generation: int) -> Found | None:
    try:
        data = store.get(path)
    except FileNotFoundError:
        return None  # withdrawn since it was listed
    except OversizedObject:
        data = b""  # no sign, as any other that is damaged
    sign = None
    with suppress(DamagedRecord, InputError):
        body = unseal("lease", data, path)
        sign = convert({**body, "who": body}, Sign)
    return Found(path=path, generation=generation, data=data, sign=sign)


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


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
