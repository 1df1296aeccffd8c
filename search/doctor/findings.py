"""What `twohead doctor` says of one thing: a mark, what was seen, and what to do about it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

State = Literal["ok", "warn", "FAIL"]

MOST_NAMES = 3
"""Machines that are named one by one."""
_ORDER: tuple[State, ...] = ("ok", "warn", "FAIL")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the page."""

    check: str
    state: State
    seen: str
    cures: tuple[str, ...] = ()
    """What to do, each an imperative sentence; none if all is well."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "check": self.check,
            "state": self.state,
            "seen": self.seen,
            "cures": list(self.cures),
        }

    @classmethod
    def from_dict(cls, told: dict[str, Any]) -> "Finding":
        """Return what `to_dict` was made of; a state that is unknown here is a failure."""
        state = told.get("state")
        return cls(
            check=str(told.get("check", "?")),
            state=state if state in _ORDER else "FAIL",
            seen=str(told.get("seen", "")),
            cures=tuple(str(cure) for cure in told.get("cures", ())),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What is wrong on one machine."""

    what: str
    cure: str
    state: State = "FAIL"


def finding(check: str, problems: Iterable[tuple[str, Problem]], fine: str) -> Finding:
    """Return one finding for what was seen on several machines.

    Args:
        check: What was looked at.
        problems: Each with the name of its machine, or ``""`` if it concerns none in
            particular. The same problem of several machines is told once.
        fine: What to say if there are none.
    """
    machines: dict[Problem, list[str]] = {}
    for machine, problem in problems:
        machines.setdefault(problem, []).append(machine)
    if not machines:
        return Finding(check=check, state="ok", seen=fine)
    ordered = sorted(machines, key=lambda problem: -_ORDER.index(problem.state))
    told = [_told(names(machines[problem]), problem.what) for problem in ordered]
    return Finding(
        check=check,
        state=ordered[0].state,
        seen="; ".join(told),
        cures=tuple(dict.fromkeys(problem.cure for problem in ordered)),
    )


def names(given: Sequence[str], most: int = MOST_NAMES) -> str:
    """Return a few names and how many more there are.

    Example:
        >>> names(["a", "b"]), names(["a", "b", "c", "d", "e"])
        ('a, b', 'a, b, c and 2 more')
    """
    unique = list(dict.fromkeys(given))
    more = len(unique) - most
    return ", ".join(unique[:most]) + (f" and {more} more" if more > 0 else "")


def is_fit(findings: Iterable[Finding]) -> bool:
    """Tell whether nothing fails; warnings are allowed."""
    return all(each.state != "FAIL" for each in findings)


def _told(machine: str, what: str) -> str:
    return f"{machine}: {what}" if machine else what


class TokenFacts(TypedDict):
    """Where a machine's token lies; ``digest`` is a salted hash that is never shown."""

    source: str
    path: str
    mode: int | None
    folder_mode: int | None
    digest: str | None
    problem: str | None


class Asked(TypedDict):
    """What a port said to no token, a wrong one and ours: see `search.doctor.ports.Answer`."""

    by: str
    none: str
    wrong: str
    right: str


class Listener(TypedDict):
    """A port that is listened on."""

    address: str
    port: int
    holder: str
    is_rays: bool
    is_this_rays: bool
    answer: Asked | None


class Disk(TypedDict):
    """The room where a folder lies, in bytes."""

    path: str
    use: str
    problem: str | None
    free: int
    total: int
    has_inodes: bool


class Memory(TypedDict):
    """A machine's memory, in bytes."""

    total: int
    available: int


class NodeFacts(TypedDict):
    """What one machine says of itself (see `search.doctor.node.node_facts`)."""

    host: str
    place: str
    python: str
    versions: dict[str, str | None]
    code: str | None
    token: TokenFacts
    modes: dict[str, str | None]
    listeners: list[Listener]
    disks: list[Disk]
    shm: Disk
    memory: Memory
    open_files: int
    skew: tuple[float, float] | None
    storage: str


class GpuFacts(TypedDict):
    """What TensorFlow sees of a machine's GPUs; ``seen`` is None if it could not be asked."""

    seen: int | None
    is_simulated: bool
    problem: str | None


class StorageFacts(TypedDict):
    """How a machine fared with the storage; each step's error, or None."""

    write: str | None
    read: str | None
    list: str | None
    delete: str | None
    unseen: list[str]
    made: bool
    disk: Disk | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """Why a machine gave no facts."""

    reason: str
    is_gone: bool = False
    """Whether its raylet does not answer either."""
    has_other_token: bool = False
    """Whether its log says that what starts there shows a wrong token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One machine with what is known of it; of a silent one only why."""

    title: str
    is_head: bool = False
    cpus: float = 0
    gpus: float = 0
    """What Ray promises."""
    facts: NodeFacts | None = None
    gpu: GpuFacts | None = None
    storage: StorageFacts | None = None
    silence: Silence | None = None
    """Why there are no facts; None if there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterFacts:
    """What is known of a Ray and its machines."""

    places: Sequence[Place]
    dead: Sequence[str] = ()
    """A line for each node that is gone, and was not let go."""
    own_digest: str | None = None
    """Of the token that the driver shows, with the same salt."""
    dashboard: str = ""
    """``host:port``; empty if there is none."""
    has_autoscaler: bool = False
    autoscaler_crash: str | None = None
    """Why the autoscaler itself ended."""
    autoscaler_troubles: Sequence[str] = ()
    """What it could not do."""
    storage: str = ""
    """The one that was tried, without secrets; empty if there is none."""
