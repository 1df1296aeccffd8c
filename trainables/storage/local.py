"""Atomic, durable objects in a local folder."""

import errno
import fcntl
import os
import re
import stat
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from trainables.errors import InputError, OversizedObject, StorageError, StorageFull

TEMPORARY = ".tmp-"
"""First letters of every temporary name; no reader ever sees a file or folder named so."""
_LEFT_BEHIND = re.compile(rf"{re.escape(TEMPORARY)}(?:[0-9a-f]{{16}}-)?[0-9a-f]{{32}}(?:-old)?")
_OTHERS = re.compile(r"\..*|.*~|#.*#|thumbs\.db|ehthumbs\.db|desktop\.ini", re.IGNORECASE)

Content = bytes | Sequence[bytes | memoryview]
"""Of an object: whole, or in pieces, one after the other."""

# EFBIG is what a file-size limit gives (RLIMIT_FSIZE), ENOSPC also means no inodes left.
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR})
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


def absolute_path(path: str) -> str:
    """Return an absolute path, ``~`` as the user's home; refuse to take it from no folder."""
    try:
        return os.path.abspath(os.path.expanduser(path))
    except FileNotFoundError as error:
        raise InputError(
            f"the current folder, from which {path!r} is taken, was deleted: change to one that "
            "is there, or give an absolute path"
        ) from error


@contextmanager
def storage_errors(what: str) -> Iterator[None]:
    """Turn an ``OSError`` into ours; ``FileNotFoundError`` passes, for callers that expect it.

    ``what`` is the operation and the place, the message's first words: ``"write a/b"``.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _ABSENT or isinstance(error, FileNotFoundError):
            raise FileNotFoundError(
                errno.ENOENT, f"cannot {what}: there is no such file"
            ) from error
        if error.errno in _FULL:
            raise StorageFull(
                f"cannot {what}: no room left ({error.strerror}); free some space and resume"
            ) from error
        kind = OversizedObject if error.errno == errno.EOVERFLOW else StorageError
        raise kind(f"cannot {what}: {error.strerror or error}") from error


def is_temporary(name: str) -> bool:
    """Tell whether a name is one that this project gives to what is not finished yet."""
    return _LEFT_BEHIND.fullmatch(name) is not None


def is_foreign(name: str) -> bool:
    """Tell whether a name is surely another program's: hidden, a backup, an index of pictures.

    Operating systems, file servers and editors leave such files in any folder
    (``.DS_Store``, ``.nfs0000...``, ``Thumbs.db``, ``desktop.ini``, ``notes~``).

    Example:
        >>> [is_foreign(name) for name in (".nfs00a1", "Thumbs.db", "000001.json~", "000001.json")]
        [True, True, True, False]
    """
    return _OTHERS.fullmatch(name) is not None


def pieces_of(data: Content) -> Sequence[bytes | memoryview]:
    """Return the pieces of an object's content."""
    return [data] if isinstance(data, bytes) else data


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
        try:
            mode = os.lstat(path).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return False
        if stat.S_ISLNK(mode):
            raise OSError(errno.ELOOP, _refusal(mode), path)
        return True

    def scan(self, path: str) -> list[tuple[str, bool]]:
        """Return the names in a folder, each with whether it is a folder; links are none."""
        with os.scandir(path) as entries:
            return [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]

    def exists(self, path: str) -> bool:
        """Tell whether there is a file or folder of this name."""
        return os.path.lexists(path)

    def size(self, path: str) -> int:
        """Return the bytes of a file."""
        return os.lstat(path).st_size


class LocalFolder:
    """Objects in a local folder: each is there whole and durably, or not at all.

    The folder itself may be a link; nothing inside is followed that is one.
    """

    def __init__(self, root: Path, files: LocalFiles, top: Path | None = None) -> None:
        self.root = root
        self.files = files
        self._top = top or root
        self._settled: set[Path] = set()
        self._name = str(root)
        self._real = {str(self._top)}
        """Folders that are known not to be links; looked at once, as nobody of us makes links."""

    def child(self, path: str) -> "LocalFolder":
        """Return the folder ``path`` inside this one, with the same seam."""
        return LocalFolder(self.root / path, self.files, self._top)

    def make(self) -> None:
        """Create the folder itself with its parents; durable on return."""
        self._folder("")
        self._settle(self.root)

    def put(self, path: str, data: Content) -> None:
        """Write an object under a temporary name, then rename it; durable on return."""
        self._place(path, data, self._rename)

    def put_new(self, path: str, data: bytes) -> bool:
        """Write an object that must not exist yet; tell whether this call created it."""
        return self._place(path, data, self._link)

    def get(self, path: str, most: int) -> bytes:
        """Return an object's content, which has at most so many bytes."""
        return self.files.read(self._inside(path), most)

    def exists(self, path: str) -> bool:
        """Tell whether there is an object or a folder of this name."""
        return self.files.exists(self._inside(path))

    def folders(self) -> list[str]:
        """Return the names of the folders directly in this one, unsorted."""
        try:
            entries = self.files.scan(self._folder(""))
        except FileNotFoundError:
            return []
        return [name for name, is_folder in entries if is_folder and not is_foreign(name)]

    def list(self, prefix: str) -> list[str]:
        """Return all objects below the folder ``prefix``, relative to the root, unsorted."""
        found: list[str] = []
        open_folders = [prefix]
        self._folder(prefix)
        while open_folders:
            folder = open_folders.pop()
            try:
                entries = self.files.scan(str(self.root / folder))
            except FileNotFoundError:
                continue  # not made yet, or removed since its parent was read
            for name, is_folder in entries:
                if not is_foreign(name):
                    path = f"{folder}/{name}" if folder else name
                    # Who reads a record is to hear that a folder took its place.
                    is_inner = is_folder and not name.endswith(".json")
                    (open_folders if is_inner else found).append(path)
        return found

    def sizes(self, prefix: str) -> dict[str, int]:
        """Return the bytes of all objects below the folder ``prefix``, by name."""
        found = {}
        for path in self.list(prefix):
            with suppress(FileNotFoundError):  # deleted since its folder was read
                found[path] = self.files.size(str(self.root / path))
        return found

    def delete(self, path: str) -> None:
        """Remove an object, or a folder: the folder as a whole, whatever interrupts it."""
        target = Path(self._inside(path))
        try:
            self.files.remove(str(target))
            return
        except (FileNotFoundError, NotADirectoryError):
            return
        except (IsADirectoryError, PermissionError):  # the latter of a folder on macOS
            pass
        try:
            is_folder = dict(self.files.scan(str(target.parent)))[target.name]
        except (FileNotFoundError, NotADirectoryError, KeyError):
            return
        if not is_folder:
            with suppress(FileNotFoundError):
                self.files.remove(str(target))
            return
        doomed = str(target.parent / f"{TEMPORARY}{uuid.uuid4().hex}")
        with suppress(FileNotFoundError):
            self.files.rename(str(target), doomed)
            # Without this a power cut could keep the name and lose some of what is inside.
            self.files.sync_folder(str(target.parent))
            self._remove_tree(doomed)
        self._settled = {folder for folder in self._settled if not folder.is_relative_to(target)}

    def settle(self, path: str) -> None:
        """Make the names in a folder durable, whoever made them; a missing one is no error."""
        with suppress(FileNotFoundError, NotADirectoryError):
            self.files.sync_folder(self._folder(path))

    def sweep(self) -> None:
        """Remove what interrupted writers left under temporary names."""
        open_folders = [self._folder("")]
        while open_folders:
            folder = open_folders.pop()
            for name, is_folder in self._scan_ours(folder):
                path = f"{folder}/{name}"
                if not is_temporary(name):
                    open_folders.extend([path] if is_folder else [])
                elif is_folder:
                    with suppress(FileNotFoundError, NotADirectoryError):
                        self._remove_tree(path)
                else:
                    self._discard(path)

    def _scan_ours(self, folder: str) -> Sequence[tuple[str, bool]]:
        """Return the names in a folder; none of one that is gone, or too deep to be of ours."""
        try:
            return self.files.scan(folder)
        except OSError as error:
            if error.errno in {*_ABSENT, errno.ENAMETOOLONG}:
                return []
            raise

    def _inside(self, path: str) -> str:
        """Return the full name of an object; raise ``OSError`` if a link lies on the way to it."""
        folder, _, name = path.rpartition("/")
        return f"{self._folder(folder)}/{name}"

    def _folder(self, path: str) -> str:
        """Return the full name of a folder; raise ``OSError`` if a link lies on the way to it."""
        full = f"{self._name}/{path}" if path else self._name
        if full not in self._real:
            folder = str(self._top)
            for part in full[len(folder) :].strip("/").split("/"):
                folder = f"{folder.rstrip('/')}/{part}"
                if folder not in self._real:
                    if not self.files.refuse_link(folder):
                        break
                    self._real.add(folder)
        return full

    def _place(self, path: str, data: Content, name: Callable[[str, str], bool]) -> bool:
        """Write a temporary file and let ``name`` give it its name; return what that returns.

        The file may be swept away meanwhile, by an owner that does not know yet that it has
        been succeeded: then it is written again.
        """
        target = Path(self._inside(path))
        for is_last in (False, False, True):
            temporary = self._write_temporary(target.parent, data)
            try:
                created = name(temporary, str(target))
                break
            except FileNotFoundError:
                if is_last:
                    raise
            except BaseException:
                self._discard(temporary)
                raise
        self.files.sync_folder(str(target.parent))
        return created

    def _write_temporary(self, folder: Path, data: Content) -> str:
        path = str(folder / f"{TEMPORARY}{uuid.uuid4().hex}")
        self._settle(folder)
        try:
            handle = self.files.create(path)
        except FileNotFoundError:  # another process deleted the folder since it was settled
            self._settled.clear()
            self._settle(folder)
            handle = self.files.create(path)
        try:
            self._fill(handle, data)
        except BaseException:
            self._discard(path)
            raise
        return path

    def _fill(self, handle: int, data: Content) -> None:
        try:
            for piece in pieces_of(data):
                rest = memoryview(piece)
                while rest:
                    rest = rest[self.files.write(handle, rest) :]
            self.files.sync(handle)
        finally:
            self.files.close(handle)

    def _rename(self, temporary: str, target: str) -> bool:
        self.files.rename(temporary, target)
        return True

    def _link(self, temporary: str, target: str) -> bool:
        created = True
        try:
            self.files.link(temporary, target)
        except FileExistsError:
            # An NFS server that answers twice reports our own link as existing.
            created = self.files.same(temporary, target)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            # No hard links here (FAT, some network mounts): two writers in the same instant
            # could both succeed; the lock of the study's owner is what keeps them apart.
            created = not self.files.exists(target)
            if created:
                return self._rename(temporary, target)
        self._discard(temporary)
        return created

    def _discard(self, path: str) -> None:
        with suppress(OSError):
            self.files.remove(path)

    def _remove_tree(self, folder: str) -> None:
        open_folders, emptied = [folder], []
        while open_folders:
            folder = open_folders.pop()
            emptied.append(folder)
            for name, is_folder in self.files.scan(folder):
                path = f"{folder}/{name}"
                if is_folder:
                    open_folders.append(path)
                else:
                    self.files.remove(path)
        for folder in reversed(emptied):  # what is inside comes after its parent
            self.files.remove_folder(folder)

    def _settle(self, folder: Path) -> None:
        """Create a folder with its parents, and make their names durable, once per object.

        A folder that exists may have been made by a process that was killed before its name
        was durable, so existing ones are synced, too: down from the folder above the root.
        """
        if folder in self._settled:
            return
        exists = self.files.exists(str(folder))
        inside = folder.is_relative_to(self.root)
        if folder.parent != folder and (inside or not exists):
            self._settle(folder.parent)
        if not exists:
            with suppress(FileExistsError):
                self.files.make_folder(str(folder))
        try:
            self.files.sync_folder(str(folder.parent))
        except PermissionError:
            # Above the root a folder may be closed to us; its names are not ours to keep.
            if inside and folder != self.root:
                raise
        self._settled.add(folder)


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
    anything; a link may lead to another user's file. With ``follow`` the path itself may be a link
    to a plain file: for what a user names. What else it is, the ``OSError`` says in words.
    """
    flags |= os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    try:
        handle = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno == errno.EISDIR:
            raise IsADirectoryError(errno.EISDIR, _FOLDER, path) from error
        if error.errno in {errno.ELOOP, errno.ENXIO}:  # a link; a socket
            with suppress(OSError):
                error.strerror = _refusal(os.lstat(path).st_mode)
        raise
    mode = os.fstat(handle).st_mode
    if stat.S_ISREG(mode):
        return handle
    os.close(handle)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, _FOLDER, path)
    raise OSError(errno.EINVAL, _refusal(mode), path)


def check_length(size: int, most: int) -> None:
    """Raise ``OSError`` (``EOVERFLOW``) if an object has more bytes than it can have."""
    if size > most:
        said = f"it has {size} bytes, more than the {most} that it can have"
        raise OSError(errno.EOVERFLOW, said)


def _refusal(mode: int) -> str:
    kind = _KINDS.get(stat.S_IFMT(mode), "something else")
    return f"it is {kind}, and only plain files and folders are used here"
