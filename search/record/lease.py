"""Signs of life of who runs a study: written again and again, judged by who wants to run it."""

import json
import os
import re
import socket
import time
import uuid
from collections.abc import Callable, Container, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from search.text import duration
from trainables.errors import InputError, OversizedObject, StorageError
from trainables.storage.sealed import DamagedRecord, as_float, records, seal, unseal
from trainables.storage.store import Store

FOLDER = "lease"


CLAIMS = "owner"


WATCHED_BEATS = 3
"""A holder whose last sign is old is watched for so many beats: its clock may be wrong."""


TOKEN_LETTERS = 16


UNKNOWN_SECONDS = 30.0
"""For so long is watched what cannot be read."""


_SIGN = re.compile(rf"{FOLDER}/(\d{{6,}})-([0-9a-f]{{18}})\.json")


_CLAIM = re.compile(rf"{CLAIMS}/(\d{{6,}})\.json")


_SEGMENT = re.compile(r"log/(\d{6,})-[-\d]+\.json")


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
    were lost. Signs of older versions say 0."""

    def renewed(self, at: float, *, is_released: bool = False, logged: int = 0) -> "Sign":
        """Return the next sign of the same holder."""
        count = self.counter + 1
        return replace(self, at=at, counter=count, is_released=is_released, logged=logged)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        values = asdict(self)
        return {**values.pop("who"), **values}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Sign":
        """Rebuild a sign.

        Raises:
            KeyError: If something is missing, as in the note of an older version.
            TypeError: If a value is of another type.
            InputError: If a number is none.
        """
        numbers = {
            name: as_float(values[name], name) for name in ("at", "beat_seconds", "lease_seconds")
        }
        return cls(
            token=str(values["token"]),
            who=Whereabouts.from_dict(values),
            since=str(values["since"]),
            counter=int(values["counter"]),
            is_released=values["is_released"] is True,
            logged=int(values.get("logged", 0)),
            **numbers,
        )


def new_sign(token: str, pace: Pace) -> Sign:
    """Return the first sign of this process under a token."""
    now = pace.wall()
    since = datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds")
    return Sign(
        token=token,
        who=Whereabouts.here(),
        since=since,
        at=now,
        beat_seconds=pace.beat_seconds,
        lease_seconds=pace.lease_seconds,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A sign as it lies in the study's folder."""

    path: str
    generation: int
    """0 for the note in the lock, which has none yet."""
    data: bytes
    sign: Sign | None
    """None if it cannot be read: then only a change of it shows life."""
    said: str = "another process"
    """Who it is of, if it is no sign but the note of an older version."""

    def age(self, now: float) -> float:
        """Return the seconds since it was written, if the clocks agree; else nonsense."""
        return now - self.sign.at if self.sign else float("inf")

    def is_fresh(self, now: float) -> bool:
        """Tell whether the lease runs, as far as the wall clocks can tell."""
        return self.sign is not None and abs(self.age(now)) < self.sign.lease_seconds

    def is_held(self, now: float, here: Container[str]) -> bool:
        """Tell whether its holder counts as alive, without watching it.

        Args:
            now: By this machine's clock.
            here: What this very process holds.
        """
        return self.is_fresh(now) and self.may_live(here)

    def may_live(self, here: Container[str]) -> bool:
        """Tell whether its holder may still act: false for who has ended for certain."""
        sign = self.sign
        if sign is None:
            return True
        if sign.is_released or sign.who.is_gone():
            return False
        return not sign.who.is_here() or sign.token[:TOKEN_LETTERS] in here

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
            return self.said
        age = self.age(now)
        last = f"{duration(age)} ago" if age >= 0 else f"at {_clock(self.sign.at)} by its clock"
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
    tokens: frozenset[str] = field(default=frozenset())
    """Of everybody who ever gave a sign, without the count of their tries."""


def sign_path(generation: int, token: str) -> str:
    """Return where the holder of a generation gives its signs; nobody else writes there."""
    return f"{FOLDER}/{generation:06d}-{token}.json"


def claim_path(generation: int) -> str:
    """Return the object whose existence makes a generation the study's newest."""
    return f"{CLAIMS}/{generation:06d}.json"


def encode_sign(sign: Sign) -> bytes:
    """Return the object of a sign."""
    return seal("lease", sign.to_dict())


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


def newest_generation(store: Store) -> int:
    """Return the newest generation that was ever claimed; 0 before the first.

    Raises:
        DamagedRecord: If there is a claim with a name that is none.
    """
    generations = [0]
    for path in records(store, CLAIMS):
        match = _CLAIM.fullmatch(path)
        if match is None:
            raise DamagedRecord(f"{path} is no claim of this study; move it elsewhere")
        generations.extend([int(match[1])] if match else [])
    # Copies of a study may lack the claims; what the log names has been claimed all the same.
    generations.extend(int(m[1]) for m in map(_SEGMENT.fullmatch, store.list("log")) if m)
    return max(generations)


def look(store: Store, claimed: int | None = None, *, since: int | None = None) -> Standing:
    """Read who has claimed a study and who says to be alive.

    The claims are listed before the signs: whoever claims in between is seen by its sign, which
    it writes first.

    Args:
        store: The study's folder.
        claimed: The newest generation, if it has been looked up; else `newest_generation`.
        since: The oldest generation whose signs are wanted; None: ``claimed``.

    Raises:
        DamagedRecord: If there is a claim with a name that is none.
        StorageError: If the storage refuses.
    """
    claimed = newest_generation(store) if claimed is None else claimed
    matches = [m for m in map(_SIGN.fullmatch, store.list(FOLDER)) if m]
    oldest = claimed if since is None else min(since, claimed)
    found = [_read(store, m[0], int(m[1])) for m in matches if int(m[1]) >= oldest]
    return Standing(
        claimed=claimed,
        newest=max([claimed, *(int(m[1]) for m in matches)]),
        signs=tuple(one for one in found if one is not None),
        tokens=frozenset(m[2][:TOKEN_LETTERS] for m in matches),
    )


def read_note(data: bytes, path: str) -> Found:
    """Return what the note in a lock says; of an older version's, ``sign`` is None."""
    try:
        note = json.loads(data)
        said = f"process {note['pid']} on {note['host']} since {note['since']}"
    except (ValueError, KeyError, TypeError, RecursionError):
        return Found(path=path, generation=0, data=data, sign=None)
    try:
        sign = Sign.from_dict(note)
    except (KeyError, TypeError, ValueError):
        sign = None
    return Found(path=path, generation=0, data=data, sign=sign, said=said)


def _read(store: Store, path: str, generation: int) -> Found | None:
    try:
        data = store.get(path)
    except FileNotFoundError:
        return None  # withdrawn since it was listed
    except OversizedObject:
        data = b""  # no sign, as any other that is damaged
    try:
        sign = Sign.from_dict(unseal("lease", data, path))
    except (DamagedRecord, KeyError, TypeError, InputError):
        sign = None
    return Found(path=path, generation=generation, data=data, sign=sign)


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


_JOB_CONFIG = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""What Ray's Jobs API sets for a job's driver (ray 2.60, ``job_supervisor.py``)."""


_OVER = ("Z", "X")
"""States of a process that runs no more, though its number is still taken."""


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
