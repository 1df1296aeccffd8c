"""Objects on a remote storage through ``pyarrow.fs``: S3, GCS and whatever else it opens."""

from contextlib import suppress
from typing import Any


class RemoteFolder:
    """Objects under one path of a ``pyarrow.fs.FileSystem``.

    An object appears whole when its stream is closed, as on S3 and GCS. No file system of
    pyarrow 26 offers a conditional put, so ``put_new`` is best effort: it looks first and reads
    back afterwards, and two writers within one round trip can both believe that they won.
    """

    def __init__(self, filesystem: Any, root: str) -> None:
        self.filesystem = filesystem
        self.root = root.rstrip("/")

    @classmethod
    def open(cls, uri: str) -> "RemoteFolder":
        """Open a URI that ``pyarrow.fs`` knows.

        Raises:
            ValueError: If no file system of pyarrow takes this URI.
        """
        from pyarrow.fs import FileSystem  # 0.1 s that a local study need not pay

        return cls(*FileSystem.from_uri(uri))

    def child(self, path: str) -> "RemoteFolder":
        """Return the folder ``path`` inside this one, on the same file system."""
        return RemoteFolder(self.filesystem, self._full(path))

    def make(self) -> None:
        """Do nothing: a folder is there with its first object."""

    def put(self, path: str, data: bytes) -> None:
        """Write an object in one request; there when this returns."""
        target = self._full(path)
        try:
            stream = self.filesystem.open_output_stream(target)
        except FileNotFoundError:  # only where folders are real: an object store has none
            self.filesystem.create_dir(target.rpartition("/")[0], recursive=True)
            stream = self.filesystem.open_output_stream(target)
        with stream:
            stream.write(data)

    def put_new(self, path: str, data: bytes) -> bool:
        """Write an object that should not exist yet; best effort, as the class says."""
        if self.exists(path):
            return False
        self.put(path, data)
        return self.get(path) == data

    def get(self, path: str) -> bytes:
        """Return an object's content."""
        with self.filesystem.open_input_stream(self._full(path)) as stream:
            return bytes(stream.read())

    def exists(self, path: str) -> bool:
        """Tell whether there is an object or a folder of this name."""
        return self._kind(path) != "NotFound"

    def list(self, prefix: str) -> list[str]:
        """Return all objects below the folder ``prefix``, relative to the root, unsorted."""
        from pyarrow.fs import FileSelector, FileType

        folder = self._full(prefix)
        selector = FileSelector(folder, allow_not_found=True, recursive=True)
        infos = self.filesystem.get_file_info(selector)
        skip = len(self.root) + 1 if self.root else 0
        return [info.path[skip:] for info in infos if info.type == FileType.File]

    def delete(self, path: str) -> None:
        """Remove an object, or the objects of a folder; missing ones are no error."""
        with suppress(FileNotFoundError):
            kind = self._kind(path)
            if kind == "File":
                self.filesystem.delete_file(self._full(path))
            elif kind == "Directory":
                self.filesystem.delete_dir(self._full(path))

    def settle(self, path: str) -> None:
        """Do nothing: what a remote storage has acknowledged is durable."""

    def sweep(self) -> None:
        """Do nothing: a remote storage shows no unfinished object."""

    def _kind(self, path: str) -> str:
        info = self.filesystem.get_file_info(self._full(path))
        return str(info.type.name)

    def _full(self, path: str) -> str:
        return "/".join(part for part in (self.root, path) if part)
