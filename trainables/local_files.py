"""The calls to the operating system that storage makes, one method each."""

import errno
import fcntl
import os
import stat
from contextlib import suppress

_FOLDER = "it is a folder, where a file is needed"
_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_plain(path: str, flags: int = os.O_RDONLY, *, follow: bool = False) -> int:
    """Open a plain file, and nothing else that may have its name; return the handle.

    Opening a pipe waits until somebody writes to it, which may be for ever; a device may answer
    anything; a link may lead to another user's file.

    Args:
        path: The file.
        flags: Of ``os.open``.
        follow: Whether the path may be a link to a plain file; for what a user names.

    Raises:
        OSError: If it is no plain file, in words; else as the system gives it.
    """
    flags |= os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    try:
        handle = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno == errno.EISDIR:
            raise IsADirectoryError(errno.EISDIR, _FOLDER, path) from error
        if error.errno in {errno.ELOOP, errno.ENXIO}:  # a link; a socket
            raise _not_plain(error.errno, path) from error
        raise
    mode = os.fstat(handle).st_mode
    if stat.S_ISREG(mode):
        return handle
    os.close(handle)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, _FOLDER, path)
    raise OSError(errno.EINVAL, _refusal(mode), path)


def refuse_link(path: str) -> bool:
    """Tell whether there is something of this name, which must not be a link.

    Raises:
        OSError: If it is one, in words.
    """
    try:
        mode = os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    if stat.S_ISLNK(mode):
        raise OSError(errno.ELOOP, _refusal(mode), path)
    return True


def check_length(size: int, most: int) -> None:
    """Raise ``OSError`` (``EOVERFLOW``) if an object has more bytes than it can have."""
    if size > most:
        said = f"it has {size} bytes, more than the {most} that it can have"
        raise OSError(errno.EOVERFLOW, said)


def _not_plain(number: int, path: str) -> OSError:
    with suppress(OSError):
        return OSError(number, _refusal(os.lstat(path).st_mode), path)
    return OSError(number, os.strerror(number), path)


def _refusal(mode: int) -> str:
    kind = _KINDS.get(stat.S_IFMT(mode), "something else")
    return f"it is {kind}, and only plain files and folders are used here"


class LocalFiles:
    """The calls to the operating system, one method each, so that a test can cut any of them.

    Paths are absolute. Methods raise ``OSError`` as the system gives it.
    """

    def create(self, path: str) -> int:
        """Create a file that must not exist, for writing; return its handle."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)

    def write(self, handle: int, data: memoryview) -> int:
        """Write some of ``data``; return how many bytes were taken."""
        return os.write(handle, data)

    def sync(self, handle: int) -> None:
        """Wait until the file's content is on the disk."""
        # On macOS fsync stops at the drive's cache; F_FULLFSYNC goes through it.
        full = getattr(fcntl, "F_FULLFSYNC", None)
        if full is not None:
            with suppress(OSError):
                fcntl.fcntl(handle, full)
                return
        os.fsync(handle)

    def close(self, handle: int) -> None:
        """Close a handle of ``create``."""
        os.close(handle)

    def rename(self, source: str, target: str) -> None:
        """Give a file or folder another name, replacing a file of that name."""
        os.rename(source, target)

    def link(self, source: str, target: str) -> None:
        """Give a file a second name, which must not exist."""
        os.link(source, target)

    def same(self, first: str, second: str) -> bool:
        """Tell whether two names are one file."""
        return os.path.samestat(os.lstat(first), os.lstat(second))

    def remove(self, path: str) -> None:
        """Remove one name of a file."""
        os.unlink(path)

    def make_folder(self, path: str) -> None:
        """Create one folder in an existing one."""
        os.mkdir(path)

    def remove_folder(self, path: str) -> None:
        """Remove an empty folder."""
        os.rmdir(path)

    def sync_folder(self, path: str) -> None:
        """Wait until a folder's names (created, renamed, removed) are on the disk."""
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        except OSError as error:
            # Some network and user-space file systems cannot sync a folder at all.
            if error.errno not in {errno.EINVAL, errno.EBADF}:
                raise
        finally:
            os.close(handle)

    def read(self, path: str, most: int) -> bytes:
        """Return a plain file's whole content; what is longer, or no plain file, is refused."""
        handle = open_plain(path)
        try:
            size = os.fstat(handle).st_size
            check_length(size, most)
            pieces = [os.read(handle, size + 1)]
            while pieces[-1]:  # also what is longer than 2 GiB, or grows meanwhile
                pieces.append(os.read(handle, size + 1))
        finally:
            os.close(handle)
        return b"".join(pieces) if len(pieces) > 2 else pieces[0]

    def refuse_link(self, path: str) -> bool:
        """Tell whether there is something of this name; raise ``OSError`` if it is a link."""
        return refuse_link(path)

    def scan(self, path: str) -> list[tuple[str, bool]]:
        """Return the names in a folder, each with whether it is a folder; links are none."""
        with os.scandir(path) as entries:
            return [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]

    def exists(self, path: str) -> bool:
        """Tell whether there is a file or folder of this name."""
        return os.path.lexists(path)

    def lock(self, path: str, note: bytes) -> int | None:
        """Take the exclusive lock of a file and write ``note`` into it; None if another holds it.

        The lock ends with ``unlock`` or with the process; a program that the process starts
        does not inherit it.
        """
        handle = open_plain(path, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(handle, 0)
            os.pwrite(handle, note, 0)
        except BlockingIOError:
            os.close(handle)
            return None
        except BaseException:
            os.close(handle)
            raise
        return handle

    def is_locked(self, path: str) -> bool:
        """Tell whether anybody holds the lock of a file; takes it for that moment."""
        handle = open_plain(path)
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(handle)
        return False

    def unlock(self, handle: int) -> None:
        """Give back a lock; closing is enough, also in a forked child that shares it."""
        os.close(handle)
