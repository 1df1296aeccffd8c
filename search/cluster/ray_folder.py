"""The private folder that a Ray of ours and what Ray Tune writes lie in, for the time of a run."""

import fcntl
import grp
import os
import platform
import pwd
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from search.cluster.watchdog import LOCK, remove_folder
from search.errors import InputError, SearchError

PREFIX = "twohead-"
NAME = re.compile(r"twohead-[a-z0-9_]{8}")
"""How ``mkdtemp`` names a folder of ours."""
VARIABLES = ("RAY_TMPDIR", "TMPDIR")
"""What names the folder to lie in, the first one first."""
FALLBACK = "/tmp"
"""The folder to lie in where no variable names one that can be taken."""
LONGEST_SOCKET = "session_2026-12-01_04-21-10_123456_4194304/sockets/plasma_store"
"""What Ray appends to its temporary folder: a time, a process id of up to seven digits, and the
longer one of its two names (ray 2.60)."""
SOCKET_BYTES = 107
"""The longest name that a Unix socket may have on Linux."""
BASE_BYTES = SOCKET_BYTES - len(f"/{PREFIX}12345678/r/{LONGEST_SOCKET}")
"""The longest path that may hold a folder of ours."""
EVERY_USER = 2**32 - 1
"""How many users a process sees that is in no user namespace of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RayFolder:
    """A folder that no other user may enter, with a lock that is held while its run is alive."""

    root: Path
    """Mode 0700. It goes when the run ends, and all that lies in it."""
    lock_fd: int
    """Of the file `LOCK`, locked by ``flock``: a process that inherits it holds the lock, too."""

    @property
    def temp(self) -> Path:
        """Where Ray lives.

        Ray sets the mode of its temporary folder, and of what it makes in it, to 0777 itself
        (ray 2.60, ``try_to_create_directory``); only a private parent shuts others out.
        """
        return self.root / "r"

    def check(self) -> None:
        """Make sure that nobody else can enter."""
        if found := _not_private(self.root):
            raise SearchError(
                f"the folder {str(self.root)!r} of a Ray of ours needs to be a folder of user "
                f"{os.getuid()} with mode 700, got {found}; run it again"
            )


@contextmanager
def private_folder() -> Iterator[RayFolder]:
    """Yield a new private folder; remove it at the end, and before what killed runs have left."""
    sweep()
    folder = _make()
    try:
        yield folder
    finally:
        try:
            remove_folder(str(folder.root))
        finally:
            os.close(folder.lock_fd)


def sweep() -> None:
    """Remove the folders of runs of this user that were killed.

    Never one of a run that is alive: that holds its lock from the moment the lock can be seen.
    """
    for base in [base for base, problem in places() if problem is None]:
        with suppress(OSError), os.scandir(base) as entries:
            for name in [entry.name for entry in entries if NAME.fullmatch(entry.name)]:
                _remove_abandoned(base / name)


def places() -> list[tuple[Path, str | None]]:
    """Return where folders of ours may lie, the preferred one first; each with what is against it.

    As Ray does, a folder that a variable names is made if it is not there.
    """
    found: list[Path] = []
    for named in (*(os.environ.get(variable, "") for variable in VARIABLES), FALLBACK):
        if named:
            with suppress(OSError):
                os.makedirs(named, mode=0o700, exist_ok=True)
            found.append(Path(os.path.realpath(named)))
    return [(base, _problem(base)) for base in dict.fromkeys(found)]


def _problem(base: Path) -> str | None:
    """Return why a folder is no place for ours; None if it is one.

    Whoever may rename in a folder, or in one above it, could put a folder of theirs in the
    place of ours: that must be nobody but root and this user.
    """
    if len(os.fsencode(base)) > BASE_BYTES:
        return f"is longer than {BASE_BYTES} bytes, which leaves no room for the names of sockets"
    for folder in (base, *base.parents):
        try:
            status = os.lstat(folder)
        except OSError as error:
            return f"cannot be used: {error.strerror}"
        if not stat.S_ISDIR(status.st_mode):
            return "is no folder"
        if status.st_uid not in _trusted_owners():
            return f"lies in {str(folder)!r} of user {status.st_uid}"
        if _others_may_rename_in(status):
            mode = stat.S_IMODE(status.st_mode)
            return f"lies in {str(folder)!r}, where others may rename (mode {mode:o})"
    return None


def _make() -> RayFolder:
    problems = []
    for base, problem in places():
        if problem is None:
            root = None
            try:
                root = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
                return _lock(root)
            except OSError as error:
                problem = f"cannot be written: {error.strerror}"
                if root is not None:
                    shutil.rmtree(root, ignore_errors=True)
        problems.append(f"{str(base)!r} {problem}")
    raise InputError(
        f"{VARIABLES[0]} needs a folder with a short path, in which none but root and you can "
        f"rename, got {'; '.join(problems)}"
    )


def _lock(root: Path) -> RayFolder:
    """Return a folder that was made just now with a lock in it.

    The file gets its name when it is locked: a sweep never sees it without an owner. It holds
    the name of this machine, as not every file system that several share tells all of a lock.
    """
    unnamed = root / f"{LOCK}-"
    handle = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    fcntl.flock(handle, fcntl.LOCK_EX)
    os.write(handle, _machine())
    os.rename(unnamed, root / LOCK)
    return RayFolder(root=root, lock_fd=handle)


def _remove_abandoned(root: Path) -> None:
    with suppress(OSError):
        if _not_private(root):
            return
        handle = os.open(root / LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Else another sweep was faster, and what has this name now is not what was locked.
            is_same = os.path.samestat(os.fstat(handle), os.lstat(root / LOCK))
            if is_same and os.pread(handle, len(_machine()) + 1, 0) == _machine():
                remove_folder(str(root))
        finally:
            os.close(handle)


def _machine() -> bytes:
    return os.fsencode(platform.node())


def _not_private(root: Path) -> str:
    """Say what a path is instead of a private folder of this user; nothing if it is one."""
    try:
        status = os.lstat(root)
    except OSError as error:
        return repr(error.strerror)
    mode, is_folder = stat.S_IMODE(status.st_mode), stat.S_ISDIR(status.st_mode)
    if is_folder and status.st_uid == os.getuid() and mode & 0o777 == 0o700:
        return ""
    kind = "a folder" if is_folder else "no folder"
    return f"{kind} of user {status.st_uid} with mode {mode:o}"


def _others_may_rename_in(status: os.stat_result) -> bool:
    """Tell whether a folder's mode lets others rename what is not theirs."""
    mode = status.st_mode
    by_group = bool(mode & stat.S_IWGRP) and not _is_alone_in(status.st_gid)
    return (by_group or bool(mode & stat.S_IWOTH)) and not mode & stat.S_ISVTX


def _is_alone_in(group: int) -> bool:
    """Tell whether a group is this user's own, as systems make one for each, and nobody else's.

    Whose first group it is is not asked of each user: such a group has its user's name.
    """
    if group != os.getgid():
        return False
    try:
        name, entry = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(group)
    except KeyError:
        return group == os.getuid()
    return entry.gr_name == name and not set(entry.gr_mem) - {name}


def _trusted_owners() -> set[int]:
    """Return whose folders may hold ours: root's and this user's.

    In a user namespace that does not know root, as unprivileged containers are, its folders
    show as the kernel's stand-in for users that are not known there.
    """
    owners = {0, os.getuid()}
    with suppress(OSError, ValueError, IndexError):
        known = Path("/proc/self/uid_map").read_text().splitlines()
        if sum(int(line.split()[2]) for line in known) < EVERY_USER:
            owners.add(int(Path("/proc/sys/kernel/overflowuid").read_text()))
    return owners
