"""What `twohead doctor` wants to know of one machine: found out there, judged elsewhere.

Travels to the nodes as it is here (see `search.doctor.cluster`): what is installed there is what
is in question, so that ours is imported inside of functions.
"""

import hashlib
import os
import platform
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil

from search.cluster.token import token_path
from search.doctor.facts import DiskRoom, GpuFacts, NodeFacts, StorageFacts, TokenFacts
from search.doctor.ports import (
    auth_modes,
    environment_of,
    listeners,
    node_id,
    raylet_of_this,
    this_node,
)

PACKAGES = ("twohead-search", "ray", "tensorflow", "keras", "optuna", "pyarrow", "numpy")
"""Distributions whose versions all nodes share."""
CODE = ("search", "trainables")
CLOCK_SECONDS = 8.0
CLOCK_ASKED = 4
"""How often the clocks are compared; the quickest answer says most."""
PROBES = ".doctor"
"""Where the probes lie in a storage; no study begins with a dot."""
GPU_QUESTION = (
    "from trainables.model.backend import visible_gpus as n; print('visible:', n(), flush=True)"
)
VISIBLE = "CUDA_VISIBLE_DEVICES"
LONGEST_REASON = 200


def node_facts(gcs: str, head: str | None, salt: bytes, clock: Any = None) -> NodeFacts:
    """Return what can be seen of this machine; what cannot be seen is told as its reason."""
    node = this_node(gcs, head)
    folders = [] if node.session is None else [(node.session, "Ray's session")]
    folders.append((os.environ.get("TMPDIR") or "/tmp", "temporary files"))
    memory = psutil.virtual_memory()
    soft, _ = psutil.Process(node.raylet).rlimit(psutil.RLIMIT_NOFILE)
    return NodeFacts(
        machine=_machine(),
        python=platform.python_version(),
        versions={name: version_of(name) for name in PACKAGES},
        code=_code_digest(),
        token=_token_facts(salt),
        modes=auth_modes(node),
        listeners=listeners(node),
        disks=[_disk_room(folder, use) for folder, use in folders],
        shm=_disk_room("/dev/shm", "shared memory"),
        memory_total=memory.total,
        memory_available=memory.available,
        open_files=2**31 if soft == psutil.RLIM_INFINITY else soft,
        skew=None if clock is None else skew(clock),
    )


class Clock:
    """Tells the time of the machine where it runs."""

    def now(self) -> float:
        """Return the seconds since the epoch."""
        return time.time()


def skew(clock: Any) -> tuple[float, float] | None:
    """Return bounds of how far this machine's clock is ahead of another's, in seconds.

    The other's reading was taken between two of ours, so the truth lies between the bounds.
    None if there was no answer.
    """
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


def version_of(name: str) -> str | None:
    """Return the version of an installed distribution; None if there is none."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _code_digest() -> str | None:
    """Return one value for all our source files; None if they are not there."""
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


def _token_facts(salt: bytes) -> TokenFacts:
    """Return where this machine's token lies, and who may read it."""
    file = token_path(os.environ)
    facts = TokenFacts(path=str(file))
    try:
        mode, folder_mode = (stat.S_IMODE(os.stat(each).st_mode) for each in (file, file.parent))
        facts = replace(facts, mode=mode, folder_mode=folder_mode)
        digest = digest_of(file.read_text(encoding="utf-8"), salt)
        facts = replace(facts, digest=digest, problem=None if digest else "is empty")
    except FileNotFoundError:
        facts = replace(facts, problem="is not there")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "no text"
        facts = replace(facts, problem=f"cannot be read ({why})")
    if given := os.environ.get("RAY_AUTH_TOKEN"):
        digest = digest_of(given, salt)
        return replace(facts, source="RAY_AUTH_TOKEN", digest=digest, problem=None)
    return facts


def digest_of(token: str | None, salt: bytes) -> str | None:
    """Return a salted hash of a token; None for none."""
    stripped = (token or "").strip()
    return hashlib.sha256(salt + stripped.encode()).hexdigest() if stripped else None


def _disk_room(folder: str, use: str) -> DiskRoom:
    """Return the room of a folder; of the next one above if it is not there."""
    place = Path(folder)
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        room, inodes = shutil.disk_usage(place), os.statvfs(place)
    except OSError as error:
        why = error.strerror or "cannot be looked at"
        return DiskRoom(path=folder, use=use, problem=why)
    has_inodes = inodes.f_files == 0 or inodes.f_favail > 0  # 0 of 0: it does not count them
    return DiskRoom(path=folder, use=use, free=room.free, total=room.total, has_inodes=has_inodes)


def write_probe(uri: str, run: str) -> StorageFacts:
    """Write this machine's probe of a run of `doctor`, read it back and find it listed."""
    facts, step, name = StorageFacts(), "write", probe_name()
    path, content = f"{PROBES}/{run}/{name}", name.encode()
    try:
        store = _store(uri)
        if store.root is not None:
            disk = _disk_room(str(store.root), "storage")
            facts = StorageFacts(made=not store.root.exists(), disk=disk)
        store.put(path, content)
        step = "read"
        if store.get(path) != content:
            raise ValueError("other content came back")
        step = "list"
        if path not in store.list(f"{PROBES}/{run}"):
            raise ValueError("it is not listed")
    except Exception as error:  # an old release may raise anything
        return replace(facts, errors={step: _line(error)})
    return facts


def unseen_probes(uri: str, run: str, names: Sequence[str]) -> list[str]:
    """Return which of these machines' probes are not there; each is looked up by its name."""
    store = _store(uri)
    return [name for name in names if not store.exists(f"{PROBES}/{run}/{name}")]


def remove_probe(uri: str, run: str, made: Sequence[str]) -> str | None:
    """Delete this machine's probe, and the folders that are empty then; return its error.

    The storage's own folder is one of them where this machine is among those that ``made`` it.
    """
    name, failed = probe_name(), None
    try:
        store = _store(uri)
    except Exception:  # what is wrong was told when it was to be written
        return None
    try:
        store.delete(f"{PROBES}/{run}/{name}")
    except Exception as error:
        failed = _line(error)
    if store.root is not None:
        with suppress(OSError):  # others' probes are still there
            (store.root / PROBES / run).rmdir()
            (store.root / PROBES).rmdir()
            if name in made:
                store.root.rmdir()
    return failed


def probe_name() -> str:
    """Return what names this machine's probe: Ray's id of the node whose task this is."""
    return "here" if raylet_of_this() is None else node_id()


def gpu_facts(seconds: float) -> GpuFacts:
    """Return how many GPUs TensorFlow sees on this machine; asked in a process of its own.

    It sees those that Ray offers: a task without a GPU has an empty ``CUDA_VISIBLE_DEVICES``.
    """
    if os.environ.get("TWOHEAD_SIMULATED_GPU") == "1":
        return GpuFacts(is_simulated=True)
    environment = {name: value for name, value in os.environ.items() if name != VISIBLE}
    offered = environment_of(raylet_of_this()).get(VISIBLE)
    environment |= {} if offered is None else {VISIBLE: offered}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    command = [sys.executable, "-c", GPU_QUESTION]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return GpuFacts(problem=f"no answer within {seconds:g} s")
    except OSError as error:
        return GpuFacts(problem=str(error))
    lines = [line for line in done.stdout.splitlines() if line.startswith("visible: ")]
    if lines:
        return GpuFacts(seen=int(lines[-1].split()[1]))
    said = (done.stderr.strip().splitlines() or [f"it ended with status {done.returncode}"])[-1]
    return GpuFacts(problem=said[:LONGEST_REASON])


def has_nvidia(root: Path = Path("/")) -> bool:
    """Tell whether there is an NVIDIA device, without loading what takes seconds."""
    return any((root / name).exists() for name in ("dev/nvidia0", "dev/nvidiactl", "dev/dxg"))


def _machine() -> str:
    """Return what two nodes on one machine share, and nobody else has: kernel and network."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/net')}"
    except OSError:
        return platform.node()


def _store(uri: str) -> Any:
    from trainables.storage.store import Store

    return Store(uri)


def _line(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:LONGEST_REASON]
