"""Folders of decoded data: private, moved into place whole, removed only where they are ours."""

import os
import re
import shutil
import stat
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from trainables.errors import StorageError
from trainables.storage.local import TEMPORARY, is_temporary, storage_errors

UNFINISHED_SECONDS = 86_400.0
"""What a killed process left half done is removed after this time."""

_NEVER = (FileExistsError, FileNotFoundError, NotADirectoryError, PermissionError)
"""What the system says where a file or a link that leads nowhere is in the way, or rights are
missing."""
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


@contextmanager
def folder_errors(what: str) -> Iterator[None]:
    """Turn what the system says into ours, also that a folder has gone meanwhile."""
    try:
        with storage_errors(what):
            yield
    except FileNotFoundError as error:
        raise StorageError(f"cannot {what}: its folder is gone") from error


def temporary_name(fingerprint: str) -> str:
    """Return a name for a folder of this set that is not finished; `is_temporary` knows it."""
    return f"{TEMPORARY}{fingerprint[:16]}-{uuid.uuid4().hex}"


def make_private(folder: Path) -> None:
    """Make a folder that is this user's alone, or make sure that it is."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except _NEVER as error:
        raise StorageError(
            f"data cache {str(folder)!r} needs a place where a folder can be made, got: "
            f"{error.strerror}; let TWOHEAD_CACHE name another folder"
        ) from error
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):  # a link may have been put there to lead elsewhere
        raise StorageError(f"data cache {str(folder)!r} needs to be a folder, got a link")
    if found.st_uid != os.getuid():
        raise StorageError(
            f"data cache {str(folder)!r} needs to be a folder of this user, got one of user "
            f"{found.st_uid}; let TWOHEAD_CACHE name another folder"
        )
    if found.st_mode & 0o077:
        folder.chmod(0o700)


def is_private(folder: Path) -> bool:
    """Tell whether `make_private` takes a folder; makes it if there is nothing of its name."""
    try:
        make_private(folder)
    except (OSError, StorageError):
        return False
    return True


def is_folder(path: Path) -> bool:
    """Tell whether a path is a folder, and no link to one."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False


def move_into_place(source: Path, target: Path, is_whole: Callable[[], bool]) -> None:
    """Rename a finished folder to its name; keep a whole one that was there before it."""
    try:
        source.rename(target)
    except OSError:
        if not os.path.lexists(target):
            raise
        if is_folder(target) and is_whole():
            return
        aside = source.with_name(f"{source.name}-old")
        target.rename(aside)
        source.rename(target)
        _remove(aside)


def discard(folder: Path) -> None:
    """Remove a folder of decoded data; it disappears at once, whatever interrupts this.

    A process that still has its arrays mapped keeps them until it ends.
    """
    doomed = folder.with_name(temporary_name(folder.name))
    with suppress(FileNotFoundError):
        folder.rename(doomed)
        _remove(doomed)


def remove_old(parent: Path, *, unused_seconds: float | None = None) -> None:
    """Remove what was left half done in a folder, and sets that nobody has used for long.

    Only folders whose names this project gives, of this user; a link is never followed.
    """
    now = time.time()
    for path in parent.iterdir():
        limit = UNFINISHED_SECONDS if is_temporary(path.name) else unused_seconds
        if limit is None or not (is_temporary(path.name) or _FINGERPRINT.fullmatch(path.name)):
            continue
        with suppress(OSError):
            found = path.lstat()
            is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
            if is_ours and found.st_mtime < now - limit:
                discard(path)


def _remove(path: Path) -> None:
    """Remove a folder with all that is in it; of anything else, also of a link, the name."""
    if is_folder(path):
        with suppress(RecursionError):  # of folders that are nested a thousand deep
            shutil.rmtree(path, ignore_errors=True)  # follows no link, not even one that comes now
    else:
        with suppress(OSError):
            path.unlink()
