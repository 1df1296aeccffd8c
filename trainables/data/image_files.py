"""Images that the rows of a set name by their paths: read inside of the data folder only."""

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import IO, Any

import pyarrow as pa
import pyarrow.fs as pafs

LARGEST_IMAGE_FILE_BYTES = 2**29
"""Of a larger file is taken that it is no image."""

_CHUNK_BYTES = 2**20
_SHOWN_CHARACTERS = 100
_BASE64 = ("data:image", "iVBORw0KGgo", "/9j/", "R0lGOD", "UklGR", "Qk0")
"""How images begin in base64: PNG, JPEG, GIF, WebP, BMP."""
_ONLY_INSIDE = ": only files inside of the data folder are read"


class UnreadableImage(Exception):
    """Why a file cannot be read; the text ends in a row's message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFolders:
    """Where the paths of one Parquet file lead."""

    filesystem: Any
    """Of ``pyarrow.fs``."""

    root: str
    """The data folder, or the folder of the single file: nothing outside of it is read."""

    folder: str
    """The folder that the Parquet file lies in; the second place that is looked at."""

    @property
    def is_local(self) -> bool:
        """Whether its files are the system's."""
        return isinstance(self.filesystem, pafs.LocalFileSystem)

    @property
    def places(self) -> tuple[str, ...]:
        """The folders that a path may begin at, in this order."""
        return tuple(dict.fromkeys((self.root, self.folder)))


@dataclass(frozen=True, kw_only=True)
class ImageFile:
    """An image in a file of its own."""

    path: str
    """As its row gives it."""

    folders: ImageFolders

    given: str = "a path"
    """Words for what its row gives."""

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """Open the file.

        Raises:
            UnreadableImage: If there is none, or it is not to be read.
        """
        try:
            with self._opened() as file:
                yield file
        except UnreadableImage as error:
            raise UnreadableImage(self._said(str(error))) from None
        except (OSError, ValueError, pa.ArrowException) as error:
            reason = getattr(error, "strerror", None) or str(error).split("\n")[0]
            raise UnreadableImage(self._said(f"the file cannot be read: {reason}")) from error

    def read(self) -> bytes:
        """Return the file's content; as `open` otherwise."""
        with self.open() as file:
            return file.read()

    def digest(self) -> bytes:
        """Return a SHA-256 of the content; of nothing where it cannot be read."""
        found = hashlib.sha256()
        try:
            with self.open() as file:
                while data := file.read(_CHUNK_BYTES):
                    found.update(data)
        except UnreadableImage:
            return bytes(found.digest_size)
        return found.digest()

    @cached_property
    def size_and_time(self) -> tuple[int, int]:
        """The bytes of the file and when it was last changed, in ns; -1 if it cannot be read."""
        try:
            if not self.folders.is_local:
                found = self._find_remote()
                return found.size, found.mtime_ns
            with self.open() as file:
                status = os.fstat(file.fileno())
                return status.st_size, status.st_mtime_ns
        except (UnreadableImage, OSError, pa.ArrowException):
            return -1, -1

    def _said(self, reason: str) -> str:
        shown = repr(self.path[:_SHOWN_CHARACTERS])
        return f"{self.given}, and {reason} ({shown})"

    @contextmanager
    def _opened(self) -> Iterator[IO[bytes]]:
        parts = _parts(self.path)
        if self.folders.is_local:
            with os.fdopen(_open_first(self.folders, parts), "rb") as file:
                _check_size(os.fstat(file.fileno()).st_size)
                yield file
        else:
            found = self._find_remote()
            _check_size(found.size)
            with self.folders.filesystem.open_input_file(found.path) as stream:
                yield stream

    def _find_remote(self) -> Any:
        parts = _parts(self.path)
        paths = ["/".join([place.rstrip("/"), *parts]) for place in self.folders.places]
        for found in self.folders.filesystem.get_file_info(paths):
            if found.type == pafs.FileType.File:
                return found
        raise _missing()


def _parts(path: str) -> list[str]:
    """Return the names in a relative path."""
    if path.startswith(_BASE64) and len(path) > _SHOWN_CHARACTERS:
        raise UnreadableImage("that is an image in base64: write its bytes instead")
    if "://" in path:
        raise UnreadableImage(f"the path is a URL{_ONLY_INSIDE}")
    if path.startswith(("/", "~")):
        raise UnreadableImage(f"the path is absolute{_ONLY_INSIDE}")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise UnreadableImage(f"the path has '..'{_ONLY_INSIDE}")
    if not parts:
        raise UnreadableImage("the path is empty")
    return parts


def _check_size(size: int) -> None:
    if size > LARGEST_IMAGE_FILE_BYTES:
        raise UnreadableImage(f"the file has {size} bytes, more than {LARGEST_IMAGE_FILE_BYTES}")


def _open_first(folders: ImageFolders, parts: list[str]) -> int:
    for place in folders.places:
        try:
            return _open_inside(os.path.realpath(folders.root), os.path.join(place, *parts))
        except (FileNotFoundError, NotADirectoryError):
            continue
    raise _missing()


def _open_inside(root: str, path: str) -> int:
    """Open a plain file, wherever in a folder links lead to, and nothing outside of it.

    Names are followed one by one without links, so that none that is changed meanwhile leads out.
    """
    real = os.path.realpath(path)
    if os.path.commonpath([root, real]) != root or real == root:
        raise UnreadableImage(f"a link leads out of the data folder{_ONLY_INSIDE}")
    folder = os.open(root, os.O_PATH | os.O_DIRECTORY)
    try:
        *parents, name = os.path.relpath(real, root).split(os.sep)
        for parent in parents:
            inner = os.open(parent, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = inner
        # A pipe is opened without waiting for who writes to it.
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise UnreadableImage("its links lead to one another") from error
        raise
    finally:
        os.close(folder)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise UnreadableImage("no plain file is there")
    return handle


def _missing() -> UnreadableImage:
    return UnreadableImage("no such file beside the data")
