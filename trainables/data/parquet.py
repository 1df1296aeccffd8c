"""Finds the Parquet files of a data set and reads plain, allow-listed columns of them."""

import bisect
import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs

from trainables.data.folder_columns import as_column, folder_values
from trainables.data.guarded import shared_readers
from trainables.data.image_files import ImageFile, ImageFolders
from trainables.data.parquet_reader import (
    ColumnRead,
    FilePlace,
    describe,
    locate,
    read,
    read_paths,
    unpacked,
)
from trainables.data.request import IMAGE_COLUMN, SPLIT_COLUMN
from trainables.data.schemas import UnifiedSchema, image_parts, unify
from trainables.errors import InputError

LARGEST_HASHED_BYTES = 2**30
"""Local sets up to this size are told apart by their whole content."""

MAX_ROWS = 10_000_000
"""A set of more rows is refused: its labels are held in memory while they are checked."""

LABEL_BYTES_A_ROW = 65_536
"""More declared label bytes a row than this is taken for a file made to fill the memory."""

IMAGE_BATCH_ROWS = 64
LABEL_BATCH_ROWS = 16_384
SUFFIX = ".parquet"
_ALIKE = re.compile(r"^[^._].*\.(parquet\b|pq$|parq$|arrow$|feather$|orc$)", re.IGNORECASE)
_FOOTER_BYTES = 8
_CHUNK_BYTES = 2**20
_MAGIC, _ENCRYPTED_MAGIC = b"PAR1", b"PARE"


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

    extensions: frozenset[str]
    """Its columns of Arrow extension types, which are never read."""


class Source:
    """The Parquet files of one data set in the order of their names.

    Rows are counted from 0 through all files. Only columns that are asked for are read, in the
    types that all files have in common. Arrow reads in a process of its own, which a damaged
    file may end. Page checksums are verified where the files have them, and extension types,
    whose code an importer may run, are refused where they are asked for.

    Args:
        uri: A file, a folder (searched recursively for ``*.parquet``; names that begin with
            ``.`` or ``_`` are left out) or a URI of either.

    Raises:
        InputError: If there is nothing to read there, or a file is not a whole Parquet file.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._readers = shared_readers()
        with _input_errors(f"data {uri!r}", "a file or folder that can be opened"):
            self._filesystem, root = locate(uri)
            infos, self.left_out = _find(self._filesystem, root, uri)
        self._is_local = isinstance(self._filesystem, pafs.LocalFileSystem)
        is_file = len(infos) == 1 and infos[0].path == root
        self._folder = os.path.dirname(root) if is_file else root
        self.files: tuple[DataFile, ...] = tuple(self._open(info, root) for info in infos)
        self._ends = list(accumulate(file.rows for file in self.files))
        self.num_rows = self._ends[-1]
        if self.num_rows > MAX_ROWS:
            raise InputError(f"data {uri!r} needs at most {MAX_ROWS} rows, got {self.num_rows}")
        self._stats = [(info.size, info.mtime_ns) for info in infos]

    @property
    def schema(self) -> Any:
        """The ``pyarrow.Schema`` that the files have in common, with columns of folders' names."""
        schema = self._unified.schema
        for name, column in self._folder_columns.items():
            schema = schema.append(pa.field(name, column.type))
        return schema

    @property
    def conflicts(self) -> Mapping[str, str]:
        """By column: why the files cannot be read as one set, where that column is needed."""
        return self._unified.conflicts

    def class_names(self, column: str) -> tuple[str, ...] | None:
        """Return the names of a column's class ids, in their order, where the files have them."""
        return self._unified.classes.get(column)

    def place(self, row: int) -> str:
        """Return words for a row of the whole set: its number in its own file."""
        file, row = self._file_of(row)
        return f"row {row}" if len(self.files) == 1 else f"row {row} of {file.name!r}"

    def column(self, name: str) -> Any:
        """Return a whole column as a validated ``pyarrow.ChunkedArray``.

        Raises:
            InputError: If a file is damaged or its column holds far more than labels.
        """
        if name in self._folder_columns:
            return self._folder_columns[name]
        kind = self.schema.field(name).type
        chunks: list[Any] = []
        for file in self._filled_files:
            wanted = ColumnRead(
                column=name,
                fields=(),
                schema=pa.schema([(name, kind)]),
                batch_rows=LABEL_BATCH_ROWS,
                most_bytes=64 * 2**20 + LABEL_BYTES_A_ROW * file.rows,
            )
            chunks += [batch.column(0) for batch in self._batches(file, wanted)]
        return pa.chunked_array(chunks, type=kind)

    def batches(self, column: str, *, fields: Sequence[str] = ()) -> Iterator[tuple[int, Any]]:
        """Yield ``(first row, pyarrow array)`` of one column, ``IMAGE_BATCH_ROWS`` rows each.

        Args:
            column: The column's name.
            fields: Read only these fields of a struct column.

        Raises:
            InputError: If a file is damaged.
        """
        wanted = self._wanted(column, tuple(fields))
        start = 0
        for file in self._filled_files:
            for batch in self._batches(file, wanted):
                yield start, batch.to_struct_array() if fields else batch.column(0)
                start += batch.num_rows

    def image_file(self, row: int, path: str, *, given: str) -> ImageFile:
        """Return the image that a row names by its path.

        Args:
            row: Of the whole set.
            path: As the row gives it.
            given: Words for what the row gives.
        """
        return ImageFile(path=path, folders=self._folders(self._file_of(row)[0]), given=given)

    @cached_property
    def content_hash(self) -> str:
        """A SHA-256 (hex) that tells the files' content apart, whatever their place.

        Of the files as they are when it is first asked for. Up to 1 GiB of local files are read
        whole; of remote or larger ones the size, the time of the last change and the Parquet
        footer stand for the content. Of images in files of their own the same, if there are any:
        their content, or size and time.
        """
        total = sum(size for size, _ in self._stats)
        is_whole = self._is_local and total <= LARGEST_HASHED_BYTES
        digest = hashlib.sha256()
        for file, (size, changed) in zip(self.files, self._stats, strict=True):
            with _input_errors(_who(file), "a file that can be read"):
                if is_whole:
                    part = _hash_stream(self._filesystem, file.path)
                else:
                    tail = _footer(self._filesystem, file.path, size)
                    part = hashlib.sha256(f"{size} {changed} ".encode() + tail).digest()
            digest.update(part)
        for part in self._image_digests():
            digest.update(part)
        return digest.hexdigest()

    @cached_property
    def _unified(self) -> UnifiedSchema:
        """What the files have in common; one without rows has no say, if another has any."""
        return unify([(f.name, f.schema) for f in self._filled_files or self.files])

    @cached_property
    def _folder_columns(self) -> dict[str, Any]:
        """By name: columns whose values are in folders' names, ``class=cat/part-0.parquet``."""
        keys = [dict(folder_values(file.name)) for file in self.files]
        shared = set.intersection(*map(set, keys)) - set(self._unified.schema.names)
        rows = [file.rows for file in self.files]
        return {
            name: pa.chunked_array([as_column([of_file[name] for of_file in keys], rows)])
            for name in sorted(shared - {SPLIT_COLUMN})  # which splits there are, words decide
        }

    @cached_property
    def _filled_files(self) -> list[DataFile]:
        return [file for file in self.files if file.rows]

    def _file_of(self, row: int) -> tuple[DataFile, int]:
        """Return the file that a row of the whole set is in, and its number there."""
        number = bisect.bisect_right(self._ends, row)
        return self.files[number], row - self._ends[number] + self.files[number].rows

    def _open(self, info: Any, root: str) -> DataFile:
        name = os.path.relpath(info.path, root) if info.path != root else info.base_name
        who = f"data file {info.path!r}"
        with _input_errors(who, "a whole Parquet file"):
            _check_end(self._filesystem, info.path, info.size)
            ((rows, schema, extensions),) = self._readers.ask(who, describe, self._at(info.path))
        return DataFile(
            path=info.path,
            name=name,
            rows=rows,
            schema=pa.ipc.read_schema(pa.py_buffer(schema)),
            extensions=extensions,
        )

    def _at(self, path: str) -> FilePlace:
        return FilePlace(uri=self.uri, path=path)

    def _wanted(self, column: str, fields: tuple[str, ...]) -> ColumnRead:
        kind = self.schema.field(column).type
        kinds: dict[str, Any] = {name: kind.field(name).type for name in fields}
        return ColumnRead(
            column=column,
            fields=fields,
            schema=pa.schema(list((kinds or {column: kind}).items())),
            batch_rows=IMAGE_BATCH_ROWS,
        )

    def _batches(self, file: DataFile, wanted: ColumnRead) -> Iterator[Any]:
        """Yield the record batches of a file, as many rows as it declares."""
        num = 0
        for data in self._ask(file, read, wanted):
            batch = unpacked(data)
            num += batch.num_rows
            yield batch
        if num != file.rows:
            raise InputError(
                f"{_who(file)} needs to be a whole Parquet file, got: {num} rows of "
                f"{wanted.column!r} where {file.rows} are declared"
            )

    def _ask(self, file: DataFile, function: Any, wanted: ColumnRead) -> Iterator[Any]:
        if wanted.column in file.extensions:
            raise InputError(
                f"{_who(file)} needs plain column types, got an Arrow extension type in "
                f"{wanted.column!r}; write the file again with its storage types"
            )
        with _input_errors(_who(file), "a whole Parquet file"):
            yield from self._readers.ask(_who(file), function, self._at(file.path), wanted)

    def _folders(self, file: DataFile) -> ImageFolders:
        return ImageFolders(
            filesystem=self._filesystem, root=self._folder, folder=os.path.dirname(file.path)
        )

    def _image_digests(self) -> Iterator[bytes]:
        """Yield what tells images in files of their own apart; nothing where there are none."""
        images = list(self._image_files())
        sizes = [image.size_and_time for image in images]
        is_whole = self._is_local and sum(size for size, _ in sizes) <= LARGEST_HASHED_BYTES
        for image, (size, changed) in zip(images, sizes, strict=True):
            yield hashlib.sha256(image.path.encode()).digest()
            yield image.digest() if is_whole else f"{size} {changed} ".encode()

    def _image_files(self) -> Iterator[ImageFile]:
        parts = image_parts(self.schema)
        if parts is None or not parts.has_paths:
            return
        wanted = self._wanted(IMAGE_COLUMN, parts.fields)
        for file in self._filled_files:
            folders = self._folders(file)
            for paths in self._ask(file, read_paths, wanted):
                yield from (ImageFile(path=path, folders=folders) for path in paths)


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
        if "decrypt" in reason[0].lower():
            raise _encrypted(who) from error
        raise InputError(f"{who} needs to be {rule}, got: {reason[0]}") from error


def _encrypted(who: str) -> InputError:
    return InputError(f"{who} is encrypted; write it again without encryption")


def _who(file: DataFile) -> str:
    return f"data file {file.path!r}"


def _find(filesystem: Any, root: str, uri: str) -> tuple[list[Any], tuple[str, ...]]:
    """Return the files of a set, and the names of others that look like Parquet files."""
    info = filesystem.get_file_info(root)
    if info.type == pafs.FileType.NotFound:
        raise FileNotFoundError(uri)
    if info.type == pafs.FileType.File:
        return [info], ()
    if info.type != pafs.FileType.Directory:  # to open a pipe would wait for who writes to it
        raise InputError(f"data {uri!r} needs to be a file or a folder, got a pipe or a device")
    if isinstance(filesystem, pafs.LocalFileSystem):
        found = filesystem.get_file_info(_walk(root, uri))
    else:
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
    others = sorted(os.path.relpath(f.path, root) for f in found if f not in files)
    left_out = tuple(name for name in others if _ALIKE.search(os.path.basename(name)))
    return sorted(files, key=lambda file: str(file.path)), left_out


def _walk(root: str, uri: str) -> list[str]:
    """Return the paths of what is in a local folder; links are followed.

    Raises:
        InputError: If a link leads back to a folder that it lies in.
    """
    found: list[str] = []
    left: list[tuple[str, tuple[str, ...]]] = [(root, (os.path.realpath(root),))]
    while left:
        folder, parents = left.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                if os.path.isdir(entry.path) and entry.name[0] not in "._":
                    real = os.path.realpath(entry.path)
                    if real in parents:
                        name = os.path.relpath(entry.path, root)
                        raise InputError(
                            f"data folder {uri!r} needs folders that end, got the link {name!r} "
                            "to a folder that it lies in"
                        )
                    left.append((entry.path, (*parents, real)))
                else:
                    found.append(entry.path)
    return found


def _is_data(path: str, root: str) -> bool:
    parts = os.path.relpath(path, root).split("/")
    return path.endswith(SUFFIX) and not any(part[0] in "._" for part in parts)


def _check_end(filesystem: Any, path: str, size: int) -> None:
    """Raise an error if a file does not end as Parquet does."""
    with filesystem.open_input_file(path) as stream:
        _footer_length(stream, size)


def _footer_length(stream: Any, size: int) -> int:
    if size < _FOOTER_BYTES + 4:
        raise pa.ArrowInvalid(f"{size} bytes, which is too short")
    stream.seek(size - _FOOTER_BYTES)
    tail = stream.read(_FOOTER_BYTES)
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] == _ENCRYPTED_MAGIC:
        raise pa.ArrowInvalid("no key to decrypt it with")
    if tail[4:] != _MAGIC or length > size - _FOOTER_BYTES:
        raise pa.ArrowInvalid(
            f"{size} bytes without a Parquet footer at their end: cut off or another format"
        )
    return length


def _footer(filesystem: Any, path: str, size: int) -> bytes:
    """Return the Parquet footer's bytes, read without interpreting them."""
    with filesystem.open_input_file(path) as stream:
        length = _footer_length(stream, size)
        stream.seek(size - _FOOTER_BYTES - length)
        return bytes(stream.read(length))


def _hash_stream(filesystem: Any, path: str) -> bytes:
    digest = hashlib.sha256()
    with filesystem.open_input_file(path) as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.digest()
