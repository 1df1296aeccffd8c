"""What `twohead doctor` wants to know of one machine: found out there, judged elsewhere.

This module and what it uses travel to the nodes as they are here, whatever is installed there;
so they import nothing of ours at module level but each other.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from search.doctor.ports import (
    auth_modes,
    listeners,
    raylet_environment,
    raylet_of_this,
    session_folder,
    token_facts,
)

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


FOLDER = ".doctor"
"""Where the probes lie in a storage; no study begins with a dot."""
GPU_QUESTION = (
    "from trainables.model.backend import visible_gpus as n; print('visible:', n(), flush=True)"
)
LONGEST_REASON = 200


def write_probe(uri: str, run: str, name: str) -> dict[str, Any]:
    """Write this machine's probe, read it back and find it listed.

    Args:
        uri: The storage.
        run: What tells this examination from others; no ``/`` in it.
        name: This machine's, unique; no ``/`` in it.

    Returns:
        By step (``write``, ``read``, ``list``) its error or None, the room of a local storage,
        and whether its folder had to be ``made``.
    """
    told: dict[str, Any] = dict.fromkeys(("write", "read", "list", "delete", "disk"))
    told |= {"unseen": [], "made": False}
    opened = _open(uri)
    if isinstance(opened, str):
        return {**told, "write": opened}
    path = f"{FOLDER}/{run}/{name}"
    if opened.root is not None:
        told |= {"made": not opened.root.exists(), "disk": disk(str(opened.root), "storage")}
    steps: list[tuple[str, Callable[[], None]]] = [
        ("write", lambda: opened.put(path, name.encode())),
        ("read", lambda: _expect(opened.get(path) == name.encode(), "other content came back")),
        ("list", lambda: _expect(path in opened.list(f"{FOLDER}/{run}"), "it is not listed")),
    ]
    for step, act in steps:
        told[step] = _error(act)
        if told[step]:
            break
    return told


def unseen_probes(uri: str, run: str, names: Sequence[str]) -> list[str]:
    """Return which of these probes are not there; each is looked up by its name."""
    opened = _open(uri)
    if isinstance(opened, str):
        return []
    return [name for name in names if not opened.exists(f"{FOLDER}/{run}/{name}")]


def remove_probe(uri: str, run: str, name: str, *, made: bool) -> str | None:
    """Delete this machine's probe, and the folders that are empty then.

    Args:
        uri: The storage.
        run: As in `write_probe`.
        name: As in `write_probe`.
        made: Whether the storage's folder was made for the probe.

    Returns:
        Its error or None.
    """
    opened = _open(uri)
    if isinstance(opened, str):
        return None
    failed = _error(lambda: opened.delete(f"{FOLDER}/{run}/{name}"))
    if opened.root is not None:
        with suppress(OSError):  # others' probes are still there
            (opened.root / FOLDER / run).rmdir()
            (opened.root / FOLDER).rmdir()
            if made:
                opened.root.rmdir()
    return failed


def write_here(uri: str, run: str) -> dict[str, Any]:
    """`write_probe` on the node whose task this is."""
    return write_probe(uri, run, str(_node_id()))


def remove_here(uri: str, run: str, made: Sequence[str]) -> str | None:
    """`remove_probe` on the node whose task this is; ``made`` names the nodes that made it."""
    name = str(_node_id())
    return remove_probe(uri, run, name, made=name in made)


def gpu_facts(visible: str | None, seconds: float) -> dict[str, Any]:
    """Return how many GPUs TensorFlow sees on this machine; asked in a process of its own.

    Args:
        visible: ``CUDA_VISIBLE_DEVICES`` of who offers the GPUs; None if it has none. A task
            without a GPU has an empty one.
        seconds: How long TensorFlow may take.
    """
    if os.environ.get("TWOHEAD_SIMULATED_GPU") == "1":
        return {"seen": None, "is_simulated": True, "problem": None}
    environment = {k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES"}
    if visible is not None:
        environment["CUDA_VISIBLE_DEVICES"] = visible
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    told: dict[str, Any] = {"seen": None, "is_simulated": False, "problem": None}
    command = [sys.executable, "-c", GPU_QUESTION]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return {**told, "problem": f"no answer within {seconds:g} s"}
    except OSError as error:
        return {**told, "problem": str(error)}
    lines = [line for line in done.stdout.splitlines() if line.startswith("visible: ")]
    if lines:
        return {**told, "seen": int(lines[-1].split()[1])}
    said = (done.stderr.strip().splitlines() or [f"it ended with status {done.returncode}"])[-1]
    return {**told, "problem": said[:LONGEST_REASON]}


def gpus_here(seconds: float) -> dict[str, Any]:
    """Return `gpu_facts` of the node whose task this is."""
    return gpu_facts(raylet_environment().get("CUDA_VISIBLE_DEVICES"), seconds)


def has_nvidia(root: Path = Path("/")) -> bool:
    """Tell whether there is an NVIDIA device, without loading what takes seconds."""
    return any((root / name).exists() for name in ("dev/nvidia0", "dev/nvidiactl", "dev/dxg"))


def _node_id() -> str | None:
    return node_id(raylet_of_this())


def _open(uri: str) -> Any:
    """Return the storage, or why it cannot be opened."""
    try:
        from trainables.storage.store import Store

        return Store(uri)
    except Exception as error:  # an old release may raise anything
        return _line(error)


def _error(act: Callable[[], None]) -> str | None:
    """Return why a step failed; None if it did not."""
    try:
        act()
    except Exception as error:
        return _line(error)
    return None


def _expect(is_so: bool, otherwise: str) -> None:
    if not is_so:
        raise ValueError(otherwise)


def _line(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:LONGEST_REASON]
