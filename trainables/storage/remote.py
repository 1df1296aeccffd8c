"""Objects on a remote storage through ``pyarrow.fs``: S3, GCS and whatever else it opens."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from trainables.errors import InputError
from trainables.storage.local import Content, check_length, is_foreign, pieces_of
from trainables.storage.retry import Progress, Retrying

READ_BYTES = 8 * 2**20
"""Of an object that is read: each piece shows that the storage answers."""


class RemoteFolder:
    """Objects under one path of a ``pyarrow.fs.FileSystem``.

    An object appears whole when its stream is closed, as on S3 and GCS. No file system of
    pyarrow 26 offers a conditional put, so ``put_new`` is best effort: it looks first and reads
    back afterwards, and two writers within one round trip can both believe that they won.

    Whatever fails for a while is done again (`trainables.storage.retry`): each request is one that
    can be repeated, and a write that is repeated writes the same.
    """

    def __init__(self, filesystem: Any, root: str, retrying: Retrying | None = None) -> None:
        self.filesystem = filesystem
        self.root = root.rstrip("/")
        self.retrying = retrying or Retrying()

    @classmethod
    def open(cls, uri: str, retrying: Retrying | None = None) -> "RemoteFolder":
        """Open a URI that ``pyarrow.fs`` knows; `ValueError` if no file system takes it."""
        retrying = retrying or Retrying()
        return cls(*retrying.call(lambda: _open_filesystem(uri)), retrying)

    def child(self, path: str) -> "RemoteFolder":
        """Return the folder ``path`` inside this one, on the same file system."""
        return RemoteFolder(self.filesystem, self._full(path), self.retrying)

    def make(self) -> None:
        """Do nothing: a folder is there with its first object."""

    def put(self, path: str, data: Content) -> None:
        """Write an object in one request; there when this returns."""
        target, pieces = self._full(path), pieces_of(data)
        num_bytes = sum(map(len, pieces))
        self.retrying.call(lambda: self._write(target, pieces), num_bytes=num_bytes)

    def put_new(self, path: str, data: bytes) -> bool:
        """Write an object that should not exist yet; best effort, as the class says."""
        if self.exists(path):
            return False
        self.put(path, data)
        return self.get(path, len(data)) == data

    def get(self, path: str, most: int) -> bytes:
        """Return an object's content, which has at most so many bytes."""
        target, progress = self._full(path), Progress()
        data = self.retrying.call(lambda: self._read(target, most, progress), progress=progress)
        check_length(len(data), most)
        return data

    def exists(self, path: str) -> bool:
        """Tell whether there is an object or a folder of this name."""
        return self._kind(path) != "NotFound"

    def folders(self) -> list[str]:
        """Return the names of the folders directly in this one, unsorted."""
        infos = self._infos("", recursive=False)
        folders = [info.base_name for info in infos if info.type.name == "Directory"]
        return [name for name in folders if not is_foreign(name)]

    def list(self, prefix: str) -> list[str]:
        """Return all objects below the folder ``prefix``, relative to the root, unsorted."""
        return list(self.sizes(prefix))

    def sizes(self, prefix: str) -> dict[str, int]:
        """Return the bytes of all objects below the folder ``prefix``, by name."""
        infos = self._infos(prefix, recursive=True)
        skip = len(self.root) + 1 if self.root else 0
        found = {info.path[skip:]: info.size for info in infos if info.type.name == "File"}
        below = len(prefix) + 1 if prefix else 0
        return {
            name: size
            for name, size in found.items()
            if not any(map(is_foreign, name[below:].split("/")))
        }

    def delete(self, path: str) -> None:
        """Remove an object, or the objects of a folder; missing ones are no error."""
        with suppress(FileNotFoundError):
            kind, target = self._kind(path), self._full(path)
            if kind == "File":
                self.retrying.call(lambda: self.filesystem.delete_file(target))
            elif kind == "Directory":
                self.retrying.call(lambda: self.filesystem.delete_dir(target))

    def settle(self, path: str) -> None:
        """Do nothing: what a remote storage has acknowledged is durable."""

    def sweep(self) -> None:
        """Do nothing: a remote storage shows no unfinished object."""

    def _infos(self, path: str, *, recursive: bool) -> Any:
        """Return what is in a folder; nothing of one that is missing."""
        from pyarrow.fs import FileSelector

        selector = FileSelector(self._full(path), allow_not_found=True, recursive=recursive)
        return self.retrying.call(lambda: self.filesystem.get_file_info(selector))

    def _kind(self, path: str) -> str:
        target = self._full(path)
        info = self.retrying.call(lambda: self.filesystem.get_file_info(target))
        return str(info.type.name)

    def _write(self, target: str, pieces: Sequence[bytes | memoryview]) -> None:
        try:
            stream = self.filesystem.open_output_stream(target)
        except FileNotFoundError:  # only where folders are real: an object store has none
            self.filesystem.create_dir(target.rpartition("/")[0], recursive=True)
            stream = self.filesystem.open_output_stream(target)
        with stream:
            for piece in pieces:
                stream.write(piece)

    def _read(self, target: str, most: int, progress: Progress) -> bytes:
        """Return the content of an object, or the beginning of one that is longer."""
        parts, size = [], 0
        with self.filesystem.open_input_stream(target) as stream:
            while size <= most and (part := stream.read(READ_BYTES)):
                parts.append(part)
                size += len(part)
                progress.note()
        return b"".join(parts)

    def _full(self, path: str) -> str:
        return "/".join(part for part in (self.root, path) if part)


CONNECT_SECONDS = 10.0
READ_SECONDS = 30.0
"""Without a byte; a large object may take longer."""
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")


def _open_filesystem(uri: str) -> tuple[Any, str]:
    """Return the ``pyarrow.fs.FileSystem`` of a URI and the path in it.

    ``s3://bucket/folder`` takes key, endpoint and region from its options or from the usual
    environment variables of AWS.
    """
    from pyarrow.fs import FileSystem  # 0.1 s that a local study need not pay

    with lacking_file_system("storage", uri):
        if urlsplit(uri).scheme != "s3":
            filesystem, path = FileSystem.from_uri(uri)
            return filesystem, path
        filesystem, path = FileSystem.from_uri(_with_region(uri))
        return _with_limits(filesystem), path


CURES = {
    "hf": "`pip install huggingface_hub`, or download the data set (`hf download`) and name its "
    "folder",
    "http": "download it, and name the file",
    "https": "download it, and name the file",
    "hdfs": "set JAVA_HOME and HADOOP_HOME, where libjvm and libhdfs are",
    "viewfs": "set JAVA_HOME and HADOOP_HOME, where libjvm and libhdfs are",
}
"""What to do, by the scheme of a URI that pyarrow cannot open by itself."""


@contextmanager
def lacking_file_system(what: str, uri: str) -> Iterator[None]:
    """Turn the lack of a package or a library that a URI's file system needs into words.

    Errors of other kinds pass: most URIs that cannot be opened are mistyped, or fail for a while.
    """
    scheme = urlsplit(uri).scheme
    try:
        yield
    except Exception as error:
        is_lack = isinstance(error, ImportError) or "built without" in str(error)
        if not is_lack and scheme not in CURES:
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        cure = CURES.get(scheme, "install it, or a pyarrow that has it, or copy to another place")
        raise InputError(
            f"{what} needs a file system that this machine has, got {scheme}:// ({reason}): {cure}"
        ) from error


def _with_region(uri: str) -> str:
    """Name the region, if it is known: else pyarrow 26 asks Amazon for it, whatever is set."""
    parts = urlsplit(uri)
    options = dict(parse_qsl(parts.query))
    named = [os.environ[name] for name in REGIONS if os.environ.get(name)]
    has_endpoint = "endpoint_override" in options or any(map(os.environ.get, ENDPOINTS))
    if "region" in options or not (named or has_endpoint):
        return uri
    options["region"] = named[0] if named else "us-east-1"
    return urlunsplit(parts._replace(query=urlencode(options)))


def _with_limits(filesystem: Any) -> Any:
    """Return the same S3 with what no URI can say.

    One attempt at each request, as the caller tries again; and a small object in one request
    instead of three.
    """
    from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem

    _, (options,) = filesystem.__reduce__()
    return S3FileSystem(
        **{
            **options,
            "connect_timeout": CONNECT_SECONDS,
            "request_timeout": READ_SECONDS,
            "allow_delayed_open": True,
            "retry_strategy": AwsStandardS3RetryStrategy(max_attempts=1),
        }
    )
