"""The address of the Ray to join, where the user leaves it to us to find one on this machine."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from search.errors import InputError
from search.ray_folder import NAME

ROOT = 0


def own_address(address: str) -> str:
    """Return an address as it is, and for ``auto`` that of the Ray that runs on this machine.

    Ray itself would take one that any process of any user shows, or that stands in a file where
    every user may write (ray 2.60, ``find_gcs_addresses`` and ``ray_current_cluster``), and
    would show the token to whoever listens there.

    Args:
        address: As ``RAY_ADDRESS`` has it.

    Raises:
        InputError: If this user and root have not started just one.
    """
    if address != "auto":
        return address
    found = {shown for words, users in _processes() for shown in _shown(words, users)}
    if len(found) == 1:
        return found.pop()
    raise InputError(
        "RAY_ADDRESS 'auto' needs just one running Ray of yours or of root on this machine, got "
        f"{', '.join(sorted(found)) or 'none'}; name the one to join as host:port"
    )


def _shown(words: Sequence[str], users: Sequence[int]) -> Iterator[str]:
    """Yield the addresses in the command of a process that can be joined and trusted.

    Args:
        words: The command.
        users: The real, effective and saved user: they differ where a user runs what is root's.
    """
    if not words or os.path.basename(words[0]) != "raylet":
        return
    if not users or set(users) - {ROOT, os.getuid()}:
        return
    values: dict[str, str] = {}
    for word in words:
        name, _, value = word.partition("=")
        values.setdefault(name, value)
    session = values.get("--session_dir", "")
    # One in a folder of ours is a study's own, and ends with it.
    if any(NAME.fullmatch(part) for part in Path(session).parts):
        return
    if address := values.get("--gcs-address"):
        yield address


def _processes() -> Iterator[tuple[list[str], Sequence[int]]]:
    """Yield the command and the users of every process of this machine."""
    from ray._private.services import psutil

    for process in psutil.process_iter(["cmdline", "uids"]):
        # A process may have written its title over its command, as one word.
        yield " ".join(process.info["cmdline"] or ()).split(), process.info["uids"] or ()
