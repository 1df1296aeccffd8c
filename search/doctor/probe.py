"""Whether a machine can use the storage, and whether TensorFlow sees its GPUs: tried out there.

Like `search.doctor.node` this travels to the nodes as it is here.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from search.doctor.node import disk, node_id
from search.doctor.ports import raylet_environment, raylet_of_this

FOLDER = ".doctor"
"""Where the probes lie in a storage; no study begins with a dot."""
GPU_QUESTION = (
    "from trainables.backend import visible_gpus as n; print('visible:', n(), flush=True)"
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
        from trainables.store import Store

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
