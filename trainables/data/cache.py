"""Copies of decoded data on a node's own disk: made once, whoever asks, and not kept for ever."""

import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from trainables.data.folders import (
    folder_errors,
    is_folder,
    is_private,
    make_private,
    move_into_place,
    remove_old,
    temporary_name,
)
from trainables.data.manifest import (
    ArrayEntry,
    Manifest,
    damaged,
    has_files,
    mark_damaged,
    open_array,
)
from trainables.errors import StorageError, StorageFull
from trainables.storage.local import open_plain
from trainables.storage.store import Store

CACHE = "TWOHEAD_CACHE"
"""The environment variable that names a folder of the node; ours lies in it."""
UNUSED_SECONDS = 7 * 86_400.0
"""A copy that no process has opened for so long makes room when another one is made."""
WAIT_SECONDS = 1_800.0
"""For another process that makes the same copy; after that it is made beside."""
POLL_SECONDS = 0.2
COPY_BYTES = 16 * 2**20
"""Read at a time from a folder of the node's file systems."""


def default_cache() -> Path:
    """Return the folder of copies: in what ``TWOHEAD_CACHE`` names, else this user's own.

    That lies in the system's folder for temporary files, where anybody may have taken its name;
    then it lies in this user's own cache.
    """
    ours = f"twohead-data-{os.getuid()}"  # several users may name one folder
    named = os.environ.get(CACHE)
    if not named and is_private(usual := Path(tempfile.gettempdir()) / ours):
        return usual
    named = named or os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        return Path(named).expanduser() / ours
    except RuntimeError as error:
        raise StorageError(f"{CACHE} needs to name a folder, got {named!r}: {error}") from error


def copy_to_cache(store: Store, fingerprint: str, manifest: Manifest, cache: Path) -> Path:
    """Return a folder of this node with the arrays; it appears whole.

    Of any number of processes on a node one copies while the others wait.
    """
    target = cache / fingerprint
    with folder_errors(f"copy data to {str(cache)!r}"):
        make_private(cache)
        if _is_there(target, manifest):
            return target
        with _turn(cache / f"{fingerprint}.lock"):
            if not _is_there(target, manifest):
                remove_old(cache, unused_seconds=UNUSED_SECONDS)
                _check_room(cache, manifest)
                _copy(store, fingerprint, manifest, target)
    return target


def _is_there(target: Path, manifest: Manifest) -> bool:
    """Tell whether the copy is whole; if so, note that it is used."""
    if not is_folder(target) or not has_files(target, manifest):
        return False
    with suppress(FileNotFoundError):
        os.utime(target)
    return True


@contextmanager
def _turn(path: Path) -> Iterator[None]:
    """Wait until no other process of this node is at it; one that is killed ends its turn."""
    handle = open_plain(str(path), os.O_RDWR | os.O_CREAT)
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


def _check_room(cache: Path, manifest: Manifest) -> None:
    needed = sum(entry.num_bytes for entry in manifest.values())
    free = shutil.disk_usage(cache).free
    if free < needed:
        raise StorageFull(
            f"data cache {str(cache)!r} needs {needed} bytes, got {free} free; make room there "
            f"or let {CACHE} name a folder on another disk of the node"
        )


def _copy(store: Store, fingerprint: str, manifest: Manifest, target: Path) -> None:
    temporary = target.with_name(temporary_name(fingerprint))
    temporary.mkdir(mode=0o700)
    try:
        for name, entry in manifest.items():
            digest, size = hashlib.sha256(), 0
            with (temporary / name).open("xb") as file:
                for data in _read(store, fingerprint, name, entry):
                    digest.update(data)
                    size += file.write(data)
            if (size, digest.hexdigest()) != (entry.num_bytes, entry.sha256):
                mark_damaged(store, fingerprint)
                raise damaged(f"{store.uri}/{fingerprint}/{name}", "needs its former content")
        move_into_place(temporary, target, lambda: has_files(target, manifest))
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _read(store: Store, fingerprint: str, name: str, entry: ArrayEntry) -> Iterator[bytes]:
    """Yield an array's content: of one file in a folder, or of its pieces elsewhere."""
    if store.root is not None:
        with open_array(store.root / fingerprint / name, entry, whole=False) as file:
            while data := file.read(COPY_BYTES):
                yield data
        return
    for part in entry.parts(name):
        try:
            yield store.get(f"{fingerprint}/{part}")
        except FileNotFoundError as error:
            mark_damaged(store, fingerprint)
            where = f"{store.uri}/{fingerprint}/{part}"
            raise damaged(where, "needs to exist, got no such part") from error
