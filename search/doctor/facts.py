"""The facts that `twohead doctor` judges: plain values, as they come from the machines."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict


class TokenFacts(TypedDict):
    """Where a machine's token lies; ``digest`` is a salted hash that is never shown."""

    source: str
    path: str
    mode: int | None
    folder_mode: int | None
    digest: str | None
    problem: str | None


class Asked(TypedDict):
    """What a port said to no token, a wrong one and ours: see `search.doctor.ask.Answer`."""

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
