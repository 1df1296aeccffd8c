"""Finds the Parquet files of a data set and reads plain, allow-listed columns of them."""

import base64
import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from trainables.data.parquet_footer import Chunk, check_pages, read_chunks
from trainables.errors import InputError
from trainables.storage.local import absolute_path
from trainables.storage.remote import lacking_file_system

LARGEST_HASHED_BYTES = 2**30
"""Local sets up to this size are told apart by their whole content."""

MAX_ROWS = 10_000_000
"""A set of more rows is refused: its labels are held in memory while they are checked."""

LABEL_BYTES_A_ROW = 65_536
"""More declared label bytes a row than this is taken for a file made to fill the memory."""

IMAGE_BATCH_ROWS = 64
SUFFIX = ".parquet"
_FOOTER_BYTES = 8
_CHUNK_BYTES = 2**20
_BASE64_RUN = re.compile(rb"[A-Za-z0-9+/]{32,}={0,2}")
_EXTENSION_KEY = b"ARROW:extension:name"


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFile:
    """One Parquet file of a set."""

    path: str
    """As the file system knows it."""

    name: str
    """Relative to the folder given; the file's own name for a single file."""

    rows: int
    schema: Any
    """Its ``pyarrow.Schema``."""

    chunks: tuple[Chunk, ...]
    """What its footer declares of every column and row group."""


class Source:
    """The Parquet files of one data set in the order of their names.

    Rows are counted from 0 through all files. Only columns that are asked for are read, page
    checksums are verified where the files have them, and extension types, whose code an
    importer may run, are refused before Arrow sees them.

    Args:
        uri: A file, a folder (searched recursively for ``*.parquet``; names that begin with
            ``.`` or ``_`` are left out) or a URI of either.

    Raises:
        InputError: If there is nothing to read there, or a file is not a whole Parquet file.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        with _input_errors(f"data {uri!r}", "a file or folder that can be opened"):
            self._filesystem, root = _locate(uri)
            infos = _find(self._filesystem, root, uri)
        self._is_local = isinstance(self._filesystem, pafs.LocalFileSystem)
        self.files: tuple[DataFile, ...] = tuple(self._open_all(infos, root))
        self.num_rows = sum(file.rows for file in self.files)
        if self.num_rows > MAX_ROWS:
            raise InputError(f"data {uri!r} needs at most {MAX_ROWS} rows, got {self.num_rows}")
        self._stats = [(info.size, info.mtime_ns) for info in infos]

    @property
    def schema(self) -> Any:
        """The ``pyarrow.Schema`` of the first file."""
        return self.files[0].schema

    def place(self, row: int) -> str:
        """Return words for a row of the whole set: its number in its own file."""
        for file in self.files:
            if row < file.rows:
                break
            row -= file.rows
        return f"row {row}" if len(self.files) == 1 else f"row {row} of {file.name!r}"

    def column(self, name: str) -> Any:
        """Return a whole column as a validated ``pyarrow.ChunkedArray``.

        Raises:
            InputError: If a file is damaged or its column holds far more than labels.
        """
        chunks: list[Any] = []
        for file in self.files:
            with self._reading(file, name) as parquet:
                cost = sum(chunk.cost for chunk in file.chunks if chunk.column == name)
                if cost > 64 * 2**20 + LABEL_BYTES_A_ROW * file.rows:
                    raise pa.ArrowInvalid(f"{cost} bytes of {name!r}, too many for labels")
                column = parquet.read(columns=[name], use_threads=False).column(name)
                column.validate(full=True)
                if len(column) != file.rows:
                    raise pa.ArrowInvalid(f"{len(column)} rows where {file.rows} are declared")
                chunks += column.chunks
        kind = self.schema.field(name).type
        return pa.chunked_array([chunk.cast(kind) for chunk in chunks], type=kind)

    def batches(self, column: str, *, field: str | None = None) -> Iterator[tuple[int, Any]]:
        """Yield ``(first row, pyarrow array)`` of one column, ``IMAGE_BATCH_ROWS`` rows each.

        Args:
            column: The column's name.
            field: Read only this field of a struct column; the array is then that field's.

        Raises:
            InputError: If a file is damaged.
        """
        start = 0
        for file in self.files:
            end = start + file.rows
            with self._reading(file, column) as parquet:
                for batch in _arrays(parquet, column, field):
                    yield start, batch
                    start += len(batch)
                if start != end:
                    raise pa.ArrowInvalid(f"{start - end + file.rows} of {file.rows} rows")

    def content_hash(self) -> str:
        """Return a SHA-256 (hex) that tells the files' content apart, whatever their place.

        Up to 1 GiB of local files are read whole; of remote or larger ones the size, the time
        of the last change and the Parquet footer stand for the content.
        """
        total = sum(size for size, _ in self._stats)
        is_whole = self._is_local and total <= LARGEST_HASHED_BYTES
        digest = hashlib.sha256()
        for file, (size, changed) in zip(self.files, self._stats, strict=True):
            with _input_errors(self._who(file), "a file that can be read"):
                if is_whole:
                    part = _hash_stream(self._filesystem, file.path)
                else:
                    tail = _footer(self._filesystem, file.path, size)
                    part = hashlib.sha256(f"{size} {changed} ".encode() + tail).digest()
            digest.update(part)
        return digest.hexdigest()

    def _open_all(self, infos: Sequence[Any], root: str) -> Iterator[DataFile]:
        for info in infos:
            name = os.path.relpath(info.path, root) if info.path != root else info.base_name
            bare = DataFile(path=info.path, name=name, rows=0, schema=None, chunks=())
            with _input_errors(self._who(bare), "a whole Parquet file"):
                footer = _footer(self._filesystem, info.path, info.size)
                chunks = read_chunks(footer)
                _refuse_extensions(footer)
            with self._reading(bare) as parquet:
                rows, schema = parquet.metadata.num_rows, parquet.schema_arrow
            yield replace(bare, rows=rows, schema=schema, chunks=chunks)

    def _who(self, file: DataFile) -> str:
        return f"data file {file.path!r}"

    @contextmanager
    def _reading(self, file: DataFile, column: str = "") -> Iterator[Any]:
        """Open a file to read a column; whatever Arrow says of it becomes an ``InputError``."""
        with (
            _input_errors(self._who(file), "a whole Parquet file"),
            self._filesystem.open_input_file(file.path) as stream,
        ):
            if self._is_local:  # of a remote file each page would be a request
                check_pages(stream, [one for one in file.chunks if one.column == column])
            yield pq.ParquetFile(
                stream,
                page_checksum_verification=True,
                pre_buffer=False,
                buffer_size=_CHUNK_BYTES,
                arrow_extensions_enabled=False,
                thrift_string_size_limit=64 * 2**20,
                thrift_container_size_limit=10**6,
            )


@contextmanager
def _input_errors(who: str, rule: str) -> Iterator[None]:
    """Turn what Arrow and the system raise about a file of the user's into an ``InputError``."""
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{who} needs to exist, got no such file or folder") from error
    except (pa.ArrowException, OSError, ValueError, KeyError, MemoryError, TypeError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(f"{who} needs to be {rule}, got: {reason[0]}") from error


def _locate(uri: str) -> tuple[Any, str]:
    if "://" in uri:
        with lacking_file_system("data", uri):
            filesystem, path = pafs.FileSystem.from_uri(uri)
        return filesystem, path
    return pafs.LocalFileSystem(), absolute_path(uri)


def _find(filesystem: Any, root: str, uri: str) -> list[Any]:
    info = filesystem.get_file_info(root)
    if info.type == pafs.FileType.NotFound:
        raise FileNotFoundError(uri)
    if info.type == pafs.FileType.File:
        return [info]
    if info.type != pafs.FileType.Directory:  # to open a pipe would wait for who writes to it
        raise InputError(f"data {uri!r} needs to be a file or a folder, got a pipe or a device")
    found = filesystem.get_file_info(pafs.FileSelector(root, recursive=True))
    named = [f for f in found if f.type != pafs.FileType.Directory and _is_data(f.path, root)]
    files = [f for f in named if f.type == pafs.FileType.File]
    if odd := sorted(os.path.relpath(f.path, root) for f in named if f not in files):
        raise InputError(
            f"data folder {uri!r} needs plain files, got pipes, devices or links that lead "
            f"nowhere: {odd[:5]}"
        )
    if not files:
        names = sorted(os.path.relpath(f.path, root) for f in found)[:5]
        raise InputError(f"data folder {uri!r} needs at least one *{SUFFIX} file, got {names}")
    return sorted(files, key=lambda file: str(file.path))


def _is_data(path: str, root: str) -> bool:
    parts = os.path.relpath(path, root).split("/")
    return path.endswith(SUFFIX) and not any(part[0] in "._" for part in parts)


def _footer(filesystem: Any, path: str, size: int) -> bytes:
    """Return the Parquet footer's bytes, read without interpreting them."""
    with filesystem.open_input_file(path) as stream:
        if size < _FOOTER_BYTES + 4:
            raise pa.ArrowInvalid(f"{size} bytes, which is too short")
        stream.seek(size - _FOOTER_BYTES)
        tail = stream.read(_FOOTER_BYTES)
        length = int.from_bytes(tail[:4], "little")
        if tail[4:] != b"PAR1" or length > size - _FOOTER_BYTES:
            raise pa.ArrowInvalid(
                f"{size} bytes without a Parquet footer at their end: cut off or another format"
            )
        stream.seek(size - _FOOTER_BYTES - length)
        return bytes(stream.read(length))


def _refuse_extensions(footer: bytes) -> None:
    """Refuse Arrow extension types before Arrow could call the code registered for them.

    The Arrow schema stands in the footer as base64; every run of such characters is decoded at
    all four alignments, so the check does not depend on how the footer was put together.
    """
    for found in _BASE64_RUN.finditer(footer):
        for start in range(4):
            text = found.group()[start:]
            if _EXTENSION_KEY in base64.b64decode(text[: len(text) // 4 * 4]):
                raise InputError(
                    "data needs plain column types, got an Arrow extension type; "
                    "write the file again with its storage types"
                )


def _arrays(parquet: Any, column: str, field: str | None) -> Iterator[Any]:
    wanted = column if field is None else f"{column}.{field}"
    batches = parquet.iter_batches(IMAGE_BATCH_ROWS, columns=[wanted], use_threads=False)
    for batch in batches:
        array = batch.column(column)
        array.validate(full=True)
        if not len(array):
            continue
        yield array if field is None else pc.struct_field(array, field)


def _hash_stream(filesystem: Any, path: str) -> bytes:
    digest = hashlib.sha256()
    with filesystem.open_input_file(path) as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.digest()
