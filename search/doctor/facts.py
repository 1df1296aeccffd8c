"""The facts that `twohead doctor` judges, as the machines tell them.

Their classes travel to the nodes as they are here (see `search.doctor.cluster`), so this file
imports nothing of ours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Answer = Literal["refused", "answered", "silent", "unclear"]

STEPS = ("write", "read", "list", "delete")


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenFacts:
    """Where a machine's token lies and who may read it; never the token."""

    path: str
    source: str = "file"
    """``file``, or the variable that goes before it."""
    mode: int | None = None
    folder_mode: int | None = None
    digest: str | None = None
    """A salted hash, by which tokens are compared; never shown."""
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PortAnswers:
    """What a port says to no token, to a wrong one, and to ours."""

    by: str
    """``http``, ``metrics`` or ``grpc``."""
    none: Answer
    wrong: Answer
    right: Answer = "silent"
    """``silent`` as well if this machine has no token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """A port that is listened on."""

    address: str
    port: int
    holder: str
    """The process: its role in Ray, or its name."""
    is_rays: bool
    is_this_rays: bool
    """Whether it belongs to the very Ray and node that is examined."""
    answers: PortAnswers | None = None
    """None if it was not asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskRoom:
    """The room where a folder lies, in bytes."""

    path: str
    use: str
    problem: str | None = None
    free: int = 0
    total: int = 0
    has_inodes: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    """What one machine says of itself."""

    machine: str
    """What two nodes on one machine share, and nobody else has."""
    python: str
    versions: Mapping[str, str | None]
    """By distribution; None if it is not installed."""
    code: str | None
    """One value for all our source files: equal versions can have different code."""
    token: TokenFacts
    modes: Mapping[str, str | None]
    """``RAY_AUTH_MODE`` by role, of those processes of Ray that let it be seen."""
    listeners: Sequence[Listener]
    disks: Sequence[DiskRoom]
    shm: DiskRoom
    memory_total: int
    memory_available: int
    """In bytes."""
    open_files: int
    """How many a process of Ray's may hold open."""
    skew: tuple[float, float] | None = None
    """Bounds of how far its clock is ahead of the driver's, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuFacts:
    """What TensorFlow sees of a machine's GPUs; ``seen`` is None if it could not be asked."""

    seen: int | None = None
    is_simulated: bool = False
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageFacts:
    """How a machine fared with the storage."""

    errors: Mapping[str, str] = field(default_factory=dict)
    """By step that failed, one of `STEPS`."""
    unseen: Sequence[str] = ()
    """The machines whose probes it does not see."""
    made: bool = False
    """Whether the storage's folder had to be made for the probe."""
    disk: DiskRoom | None = None
    """None if it is not on a disk of this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """Why a machine gave no facts."""

    reason: str
    is_gone: bool = False
    """Whether its raylet does not answer either."""
    has_other_token: bool = False
    """Whether its log says that what starts there shows a wrong token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One machine with what is known of it; of a silent one only why."""

    title: str = ""
    """Empty for the one that the command was typed on."""
    is_head: bool = False
    cpus: float = 0
    gpus: float = 0
    """What Ray promises."""
    told: NodeFacts | None = None
    gpu: GpuFacts | None = None
    storage: StorageFacts | None = None
    silence: Silence | None = None

    @property
    def facts(self) -> NodeFacts:
        """What it says, of one that is not silent."""
        assert self.told is not None
        return self.told


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterFacts:
    """What is known of a Ray and its machines, or of this machine alone."""

    machines: Sequence[Machine]
    bounds: Mapping[str, Any] = field(default_factory=dict)
    """What our distribution declares: a `packaging.specifiers.SpecifierSet` by package."""
    storage: str = ""
    """The one that was tried, without secrets; empty if there is none."""
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
    needs_token: bool = True
    """False for this machine alone: its studies make one."""
    auth_mode: str = ""
    """``RAY_AUTH_MODE`` here, which a Ray that a study starts would get."""
    ray_folders: Sequence[tuple[Path, str | None]] = ()
    """Where the private folder of a study's Ray may lie, the preferred place first, each with what
    is against it."""
    hiding_file: str | None = None
    """What a script that is started here imports in the place of our packages."""

    @property
    def answered(self) -> Sequence[Machine]:
        """The machines that are not silent."""
        return [machine for machine in self.machines if machine.told is not None]


@dataclass(frozen=True, slots=True, kw_only=True)
class WayFacts:
    """What is known of the way from this machine to a cluster's dashboard."""

    address: str
    open_to: Sequence[str]
    """Who else is answered, as words."""
    takes_ours: bool
    ray: tuple[str | None, str | None]
    """The version here and there; None where none is told."""
    missing_tools: Sequence[str]
    releases: tuple[str | None, str | None] = (None, None)
    """Ours, here and on the head."""
