"""What `twohead doctor` wants to know of one machine: found out there, judged elsewhere.

This module and what it uses travel to the nodes as they are here, whatever is installed there;
so they import nothing of ours at module level but each other.
"""

import hashlib
import os
import platform
import shutil
import time
from collections.abc import Mapping, Sequence
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from search.doctor.ports import auth_modes, listeners, raylet_of_this, session_folder
from search.doctor.token import token_facts

PACKAGES = ("twohead-search", "ray", "tensorflow", "keras", "optuna", "pyarrow", "numpy")
"""Distributions whose versions all nodes share."""
CODE = ("search", "trainables")
CLOCK_SECONDS = 8.0
CLOCK_ASKED = 4
"""How often the clocks are compared; the quickest answer says most."""


def node_facts(request: Mapping[str, Any], clock: Any = None) -> dict[str, Any]:
    """Return what can be seen of this machine; what cannot be seen is told as its reason.

    Args:
        request: ``salt`` (bytes) for the digest of the token; of a Ray also ``gcs``, the address
            of its control service, and ``head``, the id of the node where that runs.
        clock: A Ray actor of `Clock`, whose time this machine's is compared with.

    Returns:
        Plain values only.
    """
    raylet = raylet_of_this()
    session = session_folder(raylet)
    about = {"gcs": request.get("gcs", ""), "is_head": request.get("head") == node_id(raylet)}
    return {
        "host": platform.node(),
        "place": _place(),
        "python": platform.python_version(),
        "versions": {name: version_of(name) for name in PACKAGES},
        "code": code_digest(),
        "token": token_facts(request["salt"]),
        "modes": auth_modes(raylet, about),
        "listeners": listeners(raylet, about),
        "disks": [disk(folder, use) for folder, use in _folders(session)],
        "shm": disk("/dev/shm", "shared memory"),
        "memory": memory(),
        "open_files": open_files(raylet),
        "skew": skew(clock),
        "storage": os.environ.get("TWOHEAD_STORAGE", ""),
    }


class Clock:
    """Tells the time of the machine where it runs."""

    def now(self) -> float:
        """Return the seconds since the epoch."""
        return time.time()


def node_id(raylet: int | None) -> str | None:
    """Return Ray's id of the node whose process this is; None outside of Ray."""
    if raylet is None:
        return None
    import ray

    return str(ray.get_runtime_context().get_node_id())


def version_of(name: str) -> str | None:
    """Return the version of an installed distribution; None if there is none."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def code_digest() -> str | None:
    """Return one value for all our source files; equal versions can have different code."""
    digest = hashlib.sha256()
    for package in CODE:
        spec = find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            return None
        for folder in spec.submodule_search_locations:
            for file in sorted(Path(folder).rglob("*.py")):
                digest.update(f"{package}/{file.relative_to(folder)}\0".encode())
                digest.update(file.read_bytes())
    return digest.hexdigest()


def disk(folder: str, use: str) -> dict[str, Any]:
    """Return the room where a folder lies, in bytes; of the next folder above if it is not there.

    Args:
        folder: An absolute path.
        use: What it is for.
    """
    place = Path(folder)
    while not place.exists() and place != place.parent:
        place = place.parent
    told: dict[str, Any] = {"path": folder, "use": use, "problem": None}
    try:
        room, inodes = shutil.disk_usage(place), os.statvfs(place)
    except OSError as error:
        return {**told, "problem": error.strerror or "cannot be looked at"}
    has_inodes = inodes.f_files == 0 or inodes.f_favail > 0  # 0 of 0: it does not count them
    return {
        **told,
        "free": room.free,
        "total": room.total,
        "has_inodes": has_inodes,
    }


def memory() -> dict[str, int]:
    """Return the machine's memory, ``total`` and ``available``, in bytes."""
    found = {"total": 0, "available": 0}
    names = {"MemTotal": "total", "MemAvailable": "available"}
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name in names:
            found[names[name]] = int(rest.split()[0]) * 1024
    return found


def open_files(raylet: int | None) -> int:
    """Return how many files a process of this node may hold open."""
    limits = Path(f"/proc/{raylet or 'self'}/limits").read_text().splitlines()
    soft = next(line for line in limits if line.startswith("Max open files")).split()[3]
    return 2**31 if soft == "unlimited" else int(soft)


def skew(clock: Any) -> tuple[float, float] | None:
    """Return bounds of how far this machine's clock is ahead of another's, in seconds.

    The other's reading was taken between two of ours, so the truth lies between the bounds.
    None if there was no answer.
    """
    if clock is None:
        return None
    import ray

    bounds = []
    for _ in range(CLOCK_ASKED):
        before, started = time.time(), time.monotonic()
        try:
            there = ray.get(clock.now.remote(), timeout=CLOCK_SECONDS)
        except ray.exceptions.RayError:
            return None
        took = time.monotonic() - started
        bounds.append((before - there, before + took - there))
    return min(bounds, key=lambda bound: bound[1] - bound[0])


def _folders(session: str | None) -> Sequence[tuple[str, str]]:
    """Return the folders of this machine that fill up, each with what it is for."""
    temporary = os.environ.get("TMPDIR") or "/tmp"
    found = [] if session is None else [(session, "Ray's session")]
    return [*found, (temporary, "temporary files")]


def _place() -> str:
    """Return what two nodes on one machine share, and nobody else has: kernel and network."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/net')}"
    except OSError:
        return platform.node()
