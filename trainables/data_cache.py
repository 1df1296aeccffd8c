"""Copies of decoded data on a node's own disk: made once, whoever asks, and not kept for ever."""

import fcntl
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from trainables.data_manifest import (
    ArrayEntry,
    Manifest,
    check_file,
    has_files,
    move_into_place,
)
from trainables.errors import StorageError, StorageFull
from trainables.local import TEMPORARY, storage_errors
from trainables.store import Store

UNUSED_SECONDS = 7 * 86_400.0
"""A copy that no process has opened for so long makes room when another one is made."""
UNFINISHED_SECONDS = 86_400.0
"""What a killed process left half copied is removed after this time."""
WAIT_SECONDS = 1_800.0
"""For another process that makes the same copy; after that it is made beside."""
POLL_SECONDS = 0.2
COPY_BYTES = 16 * 2**20
"""Read at a time from a folder of the node's file systems."""


def default_cache() -> Path:
    """Return this user's folder in the system's folder for temporary files."""
    return Path(tempfile.gettempdir()) / f"twohead-data-{os.getuid()}"


def copy_to_cache(store: Store, fingerprint: str, manifest: Manifest, cache: Path) -> Path:
    """Return a folder of this node with the arrays; it appears whole.

    Of any number of processes on a node one copies while the others wait.

    Args:
        store: Where the decoded sets lie, each in a folder named by its fingerprint.
        fingerprint: Which set.
        manifest: Of that set.
        cache: The folder of all copies on this node; made if missing, for this user alone.

    Raises:
        StorageFull: If there is no room.
        StorageError: If an array is missing or not what it was, or the storage refuses.
    """
    target = cache / fingerprint
    with storage_errors(f"copy data to {str(cache)!r}"):
        if _is_there(target, manifest):
            return target
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        if cache.stat().st_uid != os.getuid():
            raise StorageError(f"data cache {str(cache)!r} needs to be a folder of this user")
        with _turn(cache / f"{fingerprint}.lock"):
            if not _is_there(target, manifest):
                _remove_unused(cache)
                _check_room(cache, manifest)
                _copy(store, fingerprint, manifest, target)
    return target


def _is_there(target: Path, manifest: Manifest) -> bool:
    """Tell whether the copy is whole; if so, note that it is used."""
    with suppress(FileNotFoundError):
        os.utime(target)
        return has_files(target, manifest)
    return False


@contextmanager
def _turn(path: Path) -> Iterator[None]:
    """Wait until no other process of this node is at it; one that is killed ends its turn."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        until = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < until:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(POLL_SECONDS)
        yield  # also after all that time: two copies do no harm
    finally:
        os.close(handle)


def _remove_unused(cache: Path) -> None:
    """Remove copies that nobody opened for long, and what was left half done.

    A process that still has one mapped keeps it until it ends.
    """
    now = time.time()
    for path in cache.iterdir():
        limit = UNFINISHED_SECONDS if path.name.startswith(TEMPORARY) else UNUSED_SECONDS
        with suppress(FileNotFoundError):
            if path.is_dir() and path.stat().st_mtime < now - limit:
                doomed = path.with_name(f"{TEMPORARY}{uuid.uuid4().hex}")
                path.rename(doomed)
                shutil.rmtree(doomed, ignore_errors=True)


def _check_room(cache: Path, manifest: Manifest) -> None:
    needed = sum(entry.num_bytes for entry in manifest.values())
    free = shutil.disk_usage(cache).free
    if free < needed:
        raise StorageFull(
            f"data cache {str(cache)!r} needs {needed} bytes, got {free} free; make room there "
            "or let TWOHEAD_CACHE name a folder on another disk of the node"
        )


def _copy(store: Store, fingerprint: str, manifest: Manifest, target: Path) -> None:
    temporary = target.with_name(f"{TEMPORARY}{fingerprint[:16]}-{uuid.uuid4().hex}")
    temporary.mkdir()
    try:
        for name, entry in manifest.items():
            with (temporary / name).open("xb") as file:
                for data in _read(store, fingerprint, name, entry):
                    file.write(data)
            check_file(temporary / name, entry, verify=True)
        move_into_place(temporary, target, lambda: has_files(target, manifest))
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _read(store: Store, fingerprint: str, name: str, entry: ArrayEntry) -> Iterator[bytes]:
    """Yield an array's content: of one file in a folder, or of its pieces elsewhere."""
    if store.root is not None:
        check_file(store.root / fingerprint / name, entry, verify=False)
        with (store.root / fingerprint / name).open("rb") as file:
            while data := file.read(COPY_BYTES):
                yield data
        return
    for part in entry.parts(name):
        try:
            yield store.get(f"{fingerprint}/{part}")
        except FileNotFoundError as error:
            raise StorageError(f"decoded array {name!r} lacks its part {part!r}") from error
