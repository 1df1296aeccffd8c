"""Atomic objects in a folder that a path or a URI names: the only way to a study's files."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit, urlunsplit

from trainables.errors import InputError, StorageError
from trainables.storage.local import (
    TEMPORARY,
    Content,
    LocalFiles,
    LocalFolder,
    absolute_path,
    storage_errors,
)
from trainables.storage.remote import RemoteFolder
from trainables.storage.retry import Retrying
from trainables.storage.uri_keys import check_no_key

LARGEST_OBJECT = 2**30
"""Bytes that an object may have for `Store.get`, where it is not told otherwise: the largest
records, packs of many trials, have some 100 MiB. A file that another program put there, or that
is nothing but a hole, may have far more than there is memory."""


class Store:
    """Named objects below one folder, local or remote, each written whole or not at all.

    Names are relative, with ``/`` between the parts. What ``put`` and ``put_new`` have returned
    from survives a power cut on a local disk, and is never seen half written by a reader.
    Every error of the storage is a ``StorageError``; a full disk is a ``StorageFull``.

    Args:
        uri: A path, ``file://...``, or what ``pyarrow.fs.FileSystem.from_uri`` opens
            (``s3://bucket/folder``, ``gs://...``). The folder need not exist.
        files: The calls to the operating system, for a local folder; tests give their own.
        filesystem: An open ``pyarrow.fs.FileSystem`` to use instead of the URI's own; the URI's
            host and path then name the folder on it.
        retrying: How long a remote storage that fails is tried again.

    Raises:
        InputError: If the URI is empty, holds a key, or no file system takes it.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     store = Store(folder)
        ...     store.put("notes/first.txt", b"hello")
        ...     store.list(), store.get("notes/first.txt")
        (['notes/first.txt'], b'hello')
    """

    def __init__(
        self,
        uri: str | Path,
        *,
        files: LocalFiles | None = None,
        filesystem: Any = None,
        retrying: Retrying | None = None,
    ) -> None:
        text = str(uri)
        if not text.strip() or "\0" in text:
            raise InputError(f"storage needs a path or a URI, got {text!r}")
        check_no_key("storage", text)
        local = None if filesystem is not None else _local_path(text)
        self.uri = text.rstrip("/") if local is None else str(local)
        """The folder as a text that opens it again: an absolute path, or the URI."""
        self._folder: LocalFolder | RemoteFolder
        if local is None:
            self._folder = _open_remote(text, filesystem, retrying)
        else:
            self._folder = LocalFolder(local, files or LocalFiles())

    @property
    def root(self) -> Path | None:
        """The absolute path of a folder of this machine (also NFS); None for a remote one."""
        return self._folder.root if isinstance(self._folder, LocalFolder) else None

    def child(self, path: str) -> Self:
        """Return the store of the folder ``path`` inside this one."""
        _check(path)
        store = object.__new__(type(self))
        store.uri = _join(self.uri, path)
        store._folder = self._folder.child(path)
        return store

    def make(self) -> None:
        """Create the folder itself, for a file that is not written through this class."""
        with self._errors("create", ""):
            self._folder.make()

    def put(self, path: str, data: Content) -> None:
        """Write an object, replacing one of that name; durable on return.

        Pieces of its bytes need no memory besides. After an error the former object is unchanged.
        """
        _check(path)
        with self._errors("write", path):
            self._folder.put(path, data)

    def put_new(self, path: str, data: bytes) -> bool:
        """Write an object only if none has that name; durable on return.

        Returns whether this call created it. Of any number of local writers exactly one gets
        True; a remote storage is best effort (``trainables.storage.remote``).
        """
        _check(path)
        with self._errors("create", path):
            return self._folder.put_new(path, data)

    def get(self, path: str, *, most: int = LARGEST_OBJECT) -> bytes:
        """Return the content of an object that has at most so many bytes.

        `FileNotFoundError` if there is none of that name; `OversizedObject` if it is longer.
        """
        _check(path)
        with self._errors("read", path, absent_is_error=False):
            return self._folder.get(path, most)

    def exists(self, path: str) -> bool:
        """Tell whether there is an object or a folder of this name."""
        _check(path)
        with self._errors("look up", path):
            return self._folder.exists(path)

    def folders(self) -> list[str]:
        """Return the names of the folders directly in this one, sorted; none if it is missing."""
        with self._errors("list", ""):
            return sorted(self._folder.folders())

    def list(self, prefix: str = "") -> list[str]:
        """Return all objects below the folder ``prefix``, at any depth, but temporary ones.

        These are names relative to this store, sorted; none if there is no such folder.
        """
        if prefix:
            _check(prefix)
        with self._errors("list", prefix):
            return sorted(self._folder.list(prefix))

    def sizes(self, prefix: str) -> dict[str, int]:
        """Return the bytes of all objects below the folder ``prefix``, by name."""
        _check(prefix)
        with self._errors("list", prefix):
            return self._folder.sizes(prefix)

    def delete(self, path: str) -> None:
        """Remove an object, or a folder with all that is in it; missing ones are no error.

        A local folder disappears as a whole, whatever interrupts it. The removal of an object
        may be undone by a power cut.
        """
        _check(path)
        with self._errors("delete", path):
            self._folder.delete(path)

    def settle(self, path: str) -> None:
        """Make durable which objects lie directly in a folder, whoever wrote them.

        A writer that was killed just before its own last sync leaves objects that everybody
        sees and a power cut removes; who builds on them calls this first.
        """
        _check(path)
        with self._errors("sync", path):
            self._folder.settle(path)

    def sweep(self) -> None:
        """Remove what interrupted writers left behind; only for who owns the whole folder.

        A write that is in progress elsewhere fails with ``StorageError``.
        """
        with self._errors("clean up", ""):
            self._folder.sweep()

    def __repr__(self) -> str:
        return f"Store({_without_secrets(self.uri)!r})"

    @contextmanager
    def _errors(self, verb: str, path: str, *, absent_is_error: bool = True) -> Iterator[None]:
        where = _without_secrets(_join(self.uri, path) if path else self.uri)
        try:
            with storage_errors(f"{verb} {where}"):
                yield
        except FileNotFoundError as error:
            if not absent_is_error:
                raise
            raise StorageError(
                f"cannot {verb} {where}: its folder is gone or is a file"
            ) from error
        except ValueError as error:  # what pyarrow raises for names and options that it refuses
            raise StorageError(f"cannot {verb} {where}: {error}") from error


def _check(path: str) -> None:
    parts = path.split("/")
    if "\0" in path or any(part in {"", ".", ".."} for part in parts):
        raise InputError(
            f"a store needs a relative path without '..' or empty parts, got {path!r}"
        )
    if any(part.startswith(TEMPORARY) for part in parts):
        raise InputError(f"a store keeps names with {TEMPORARY!r} to itself, got {path!r}")


def _local_path(uri: str) -> Path | None:
    """Return the absolute path that a URI names; None if it is remote."""
    if "://" not in uri and not uri.startswith("file:"):
        return Path(absolute_path(uri))
    parts = urlsplit(uri)
    if parts.scheme != "file":
        return None
    if parts.netloc not in {"", "localhost"} or not parts.path.startswith("/"):
        raise InputError(f"storage needs file:///absolute/path, got {uri!r}")
    return Path(os.path.abspath(unquote(parts.path)))


def _open_remote(uri: str, filesystem: Any, retrying: Retrying | None) -> RemoteFolder:
    if filesystem is not None:
        parts = urlsplit(_without_secrets(uri))
        return RemoteFolder(filesystem, f"{parts.netloc}{parts.path}".strip("/"), retrying)
    shown = _without_secrets(uri)
    try:
        return RemoteFolder.open(uri, retrying)
    except InputError:
        raise
    except (ValueError, NotImplementedError) as error:
        raise InputError(
            f"storage needs a path or a URI that pyarrow.fs opens (file, s3, gs, ...), "
            f"got {shown!r}"
        ) from error
    except OSError as error:
        raise StorageError(f"cannot open {shown}: {error}") from error


def _join(uri: str, path: str) -> str:
    """Add ``path`` to a path or a URI, before the options behind its ``?``."""
    if "://" not in uri:
        return f"{uri.rstrip('/')}/{path}"
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{path}"))


def _without_secrets(uri: str) -> str:
    """Leave out user, password and options, so that no key reaches a message."""
    if "://" not in uri:
        return uri
    parts = urlsplit(uri)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=host, query="", fragment=""))
