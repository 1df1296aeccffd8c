"""The share of a machine that each trial takes, and how many trials run at once."""

import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.cluster.autoscaler import NodeType
from search.errors import InputError
from search.study.settings import Resources

MEMORY_SHARE = 0.8
"""The part of a node's memory that the trials on it may fill before a process is renewed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """What one trial asks of Ray, and how many run side by side."""

    cpu: int
    gpu: float
    concurrent: int
    recycle_bytes: int
    """A process larger than this ends before its next trial."""

    @property
    def request(self) -> dict[str, float]:
        """Return the resource request of one trial, as Ray takes it."""
        return {"cpu": self.cpu, **({"gpu": self.gpu} if self.gpu else {})}


def joined_address() -> str:
    """Return the address of the Ray to join, as ``RAY_ADDRESS`` has it; "" to start one here."""
    address = os.environ.get("RAY_ADDRESS", "").strip()
    return "" if address == "local" else address


def joins_ray() -> bool:
    """Tell whether a study joins a Ray that is there, and starts none."""
    ray = sys.modules.get("ray")
    return bool(joined_address()) or (ray is not None and ray.is_initialized())


def local_cores(root: Path = Path("/")) -> int:
    """Return how many CPUs this process may use: its affinity, and its container's quota."""
    quotas = [math.ceil(quota) for quota in _quotas(root)]
    return max(1, min([len(os.sched_getaffinity(0)), *quotas]))


def _quotas(root: Path) -> Iterator[float]:
    """Yield the CPU quotas of this process' control groups, versions 1 and 2, in CPUs."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    mounted = root / "sys/fs/cgroup"
    for line in lines:
        _, names, group = line.split(":", 2)
        if names and "cpu" not in names.split(","):
            continue
        top = mounted / names if names else mounted
        files = ["cpu.cfs_quota_us", "cpu.cfs_period_us"] if names else ["cpu.max"]
        # In a container the group's path may be that of the host, which is not there.
        for place in (group, *(str(parent) for parent in Path(group).parents)):
            with suppress(OSError, ValueError):
                found = [(top / place.strip("/") / file).read_text().strip() for file in files]
                quota, period = " ".join(found).split()
                if int(quota) > 0:  # "max" and -1: as much as there is
                    yield int(quota) / int(period)


def check_local(resources: Resources) -> None:
    """Refuse a CPU share that this machine will never have, before anything is started.

    A Ray that is joined says itself what it has (see `shares`).
    """
    if joins_ray():
        return
    cores = local_cores()
    if resources.cpu != "auto" and resources.cpu > cores:
        raise InputError(
            f"resources.cpu needs at most {cores}, the CPUs of this machine, got {resources.cpu}"
        )


def shares(
    resources: Resources, nodes: Sequence[Mapping[str, Any]], coming: Sequence[NodeType] = ()
) -> Shares | None:
    """Return the shares of a study's trials on these nodes and on those that may join them.

    None where none of them has room for a trial, but some may come of which nobody knows what
    they have; `InputError` if no node could ever place one trial.
    """
    places = [*nodes, *(one.resources for one in coming if one.resources is not None)]
    if not any(slots_on(resources, place) for place in places):
        if all(one.resources is not None for one in coming):
            raise InputError(_unplaceable(resources, nodes, coming))
        return None
    # A process may be anywhere: it may take what it may where that is least.
    slots = [(slots_on(resources, place), float(place.get("memory", 0))) for place in places]
    most_bytes = [memory * MEMORY_SHARE / num for num, memory in slots if num and memory]
    return Shares(
        cpu=int(resources.cpu),
        gpu=float(resources.gpu),
        concurrent=at_once(resources, nodes, coming),
        recycle_bytes=int(min(most_bytes, default=0.0)),
    )


def at_once(
    resources: Resources, nodes: Sequence[Mapping[str, Any]], coming: Sequence[NodeType] = ()
) -> int:
    """Return how many trials run at once when all has come that may, at least 1.

    All of them are handed out at once, so that the autoscaler sees at once what is wanted.
    """
    possible = sum(slots_on(resources, node) for node in nodes) + to_come(resources, coming)
    wanted = possible if resources.concurrent == "auto" else int(resources.concurrent)
    return max(1, min(wanted, possible))


def to_come(resources: Resources, coming: Sequence[NodeType]) -> int:
    """Return how many trials fit on the nodes that may come."""
    known = [(one.most, one.resources) for one in coming if one.resources is not None]
    return sum(most * slots_on(resources, place) for most, place in known)


def slots_on(resources: Resources, node: Mapping[str, Any]) -> int:
    """Return how many trials fit on a node at once."""
    share = float(resources.gpu)
    by_cpu = math.floor(float(node.get("CPU", 0)) / int(resources.cpu))
    if not share:
        return by_cpu
    gpus = float(node.get("GPU", 0))
    if share < 1:  # a fraction never spans two GPUs
        return min(by_cpu, math.floor(gpus) * math.floor(1 / share + 1e-9))
    return min(by_cpu, math.floor(gpus / share))


def _unplaceable(
    resources: Resources, nodes: Sequence[Mapping[str, Any]], coming: Sequence[NodeType]
) -> str:
    asked = f"cpu={resources.cpu} and gpu={resources.gpu:g}"
    needs = f"resources needs a node with {asked} for one trial"
    largest = f"the largest of {len(nodes)} has {_largest(nodes)}"
    if not coming:
        return f"{needs}; {largest}"
    known = {one.name: one.resources for one in coming if one.resources is not None}
    of_types = _largest(list(known.values()))
    return f"{needs}; {largest}, the largest that can come ({', '.join(known)}) has {of_types}"


def _largest(places: Sequence[Mapping[str, Any]]) -> str:
    cpu = max((int(place.get("CPU", 0)) for place in places), default=0)
    gpu = max((float(place.get("GPU", 0)) for place in places), default=0.0)
    return f"cpu={cpu} and gpu={gpu:g}"
