"""Reads Parquet with Arrow, as functions that `guarded` calls in a process with limits.

What they yield can be pickled and holds no code: plain values, and record batches as bytes.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from trainables.storage.local import absolute_path
from trainables.storage.remote import lacking_file_system

KEPT_METADATA = frozenset({b"height", b"width", b"channels"})
"""Of a field; what else stands there decides nothing."""
FEATURES = b"huggingface"
"""The key of the schema's metadata under which `datasets` writes the names of classes."""

_BUFFER_BYTES = 2**20
_VALUE_BYTES = 8
_EXTENSION = b"ARROW:extension:name"


@dataclass(frozen=True, slots=True, kw_only=True)
class FilePlace:
    """A Parquet file."""

    uri: str
    """Of the data set, which names the file system."""

    path: str
    """As the file system knows it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnRead:
    """What is read of a file."""

    column: str
    """The top-level column."""

    fields: tuple[str, ...]
    """Read these fields of a struct column; none: the column itself."""

    schema: Any
    """The ``pyarrow.Schema`` of the batches: a column of its name for each field."""

    batch_rows: int

    most_bytes: int | None = None
    """A column whose footer declares more is refused; None: any."""


def locate(uri: str) -> tuple[Any, str]:
    """Return the ``pyarrow.fs.FileSystem`` of a path or URI, and the path in it."""
    if "://" in uri:
        with lacking_file_system("data", uri):
            filesystem, path = pafs.FileSystem.from_uri(uri)
        return filesystem, path
    return pafs.LocalFileSystem(), absolute_path(uri)


def describe(place: FilePlace) -> Iterator[tuple[int, bytes, frozenset[str]]]:
    """Yield, once, a file's rows, its schema as bytes, and its columns of extension types.

    Their storage types stand in the schema, so that who reads it runs no code for them.
    """
    with _opened(place) as parquet:
        fields = list(parquet.schema_arrow)
        extensions = frozenset(field.name for field in fields if _has_extension(field))
        metadata = parquet.schema_arrow.metadata or {}
        kept = {FEATURES: metadata[FEATURES]} if FEATURES in metadata else None
        schema = pa.schema([_bare(field) for field in fields], metadata=kept)
        yield parquet.metadata.num_rows, schema.serialize().to_pybytes(), extensions


def read(place: FilePlace, wanted: ColumnRead) -> Iterator[bytes]:
    """Yield batches of a column, validated, in the types that are wanted."""
    with _opened(place) as parquet:
        if wanted.most_bytes is not None:
            _refuse_more(parquet, wanted.column, wanted.most_bytes)
        for batch in _batches(parquet, wanted, None):
            yield _packed(batch)


def read_paths(place: FilePlace, wanted: ColumnRead) -> Iterator[list[str]]:
    """Yield the values of a field ``path`` (or of the column) where ``bytes`` is null.

    Row groups whose statistics say that no ``bytes`` is null are not read.
    """
    with _opened(place) as parquet:
        groups = list(range(parquet.num_row_groups))
        if "bytes" in wanted.fields:
            chunks = _chunks(parquet, f"{wanted.column}.bytes")
            groups = [
                n for n, some in enumerate(chunks) if not some or any(map(_may_have_nulls, some))
            ]
        for batch in _batches(parquet, wanted, groups) if groups else ():
            paths = batch.column(batch.num_columns - 1)
            if "bytes" in wanted.fields:
                paths = paths.filter(batch.column(0).is_null())
            yield paths.drop_null().to_pylist()


def unpacked(data: bytes) -> Any:
    """Return the ``pyarrow.RecordBatch`` of the bytes that `read` yields."""
    with pa.ipc.open_stream(data) as stream:
        return stream.read_next_batch()


def _packed(batch: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    return bytes(sink.getvalue().to_pybytes())


@cache
def _filesystem(uri: str) -> Any:
    return locate(uri)[0]


@contextmanager
def _opened(place: FilePlace) -> Iterator[Any]:
    with _filesystem(place.uri).open_input_file(place.path) as stream:
        yield pq.ParquetFile(
            stream,
            page_checksum_verification=True,
            pre_buffer=False,
            buffer_size=_BUFFER_BYTES,
            arrow_extensions_enabled=False,
            thrift_string_size_limit=256 * 2**20,
            thrift_container_size_limit=10**7,
        )


def _chunks(parquet: Any, path: str) -> Iterator[list[Any]]:
    """Yield, for each row group, the metadata of a column's chunks, or of one of its fields.

    Of an encrypted column those end the process (pyarrow 26), where reading it says what it is:
    so a row is read first.
    """
    next(parquet.iter_batches(1, columns=[path], use_threads=False), None)
    columns = enumerate(parquet.schema)
    places = [place for place, one in columns if f"{one.path}.".startswith(f"{path}.")]
    for number in range(parquet.num_row_groups):
        group = parquet.metadata.row_group(number)
        yield [group.column(place) for place in places]


def _refuse_more(parquet: Any, column: str, most: int) -> None:
    """Refuse a column that takes more bytes in memory than it may.

    Run-length encoding holds many equal values in a few bytes, so that values count too.
    """
    cost = sum(
        max(chunk.total_uncompressed_size, _VALUE_BYTES * chunk.num_values)
        for chunks in _chunks(parquet, column)
        for chunk in chunks
    )
    if cost > most:
        raise pa.ArrowInvalid(f"{cost} bytes of {column!r}, too many for labels")


def _batches(parquet: Any, wanted: ColumnRead, groups: Sequence[int] | None) -> Iterator[Any]:
    kind = parquet.schema_arrow.field(wanted.column).type
    inside = [name for name in wanted.fields if kind.get_field_index(name) >= 0]
    names = [f"{wanted.column}.{name}" for name in inside] or [wanted.column]
    options = {"columns": names, "use_threads": False, "row_groups": groups}
    for batch in parquet.iter_batches(wanted.batch_rows, **options):
        array = batch.column(wanted.column)
        array.validate(full=True)
        if len(array):
            parts = [
                _part(array, name if wanted.fields else None, wanted.schema.field(name).type)
                for name in wanted.schema.names
            ]
            yield pa.record_batch(parts, schema=wanted.schema)


def _part(array: Any, field: str | None, kind: Any) -> Any:
    """Return an array, or the field of a struct array, in another type."""
    if field is not None:
        if array.type.get_field_index(field) < 0:
            return pa.nulls(len(array), kind)
        array = pc.struct_field(array, field)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    return array if array.type == kind else array.cast(kind)


def _may_have_nulls(chunk: Any) -> bool:
    found = chunk.statistics
    return found is None or not found.has_null_count or found.null_count > 0


def _has_extension(field: Any) -> bool:
    is_one = isinstance(field.type, pa.BaseExtensionType) or _EXTENSION in (field.metadata or {})
    return is_one or any(map(_has_extension, _children(field.type)))


def _bare(field: Any) -> Any:
    """Return a field without metadata that decide nothing, and with storage types alone."""
    kept = {k: v for k, v in (field.metadata or {}).items() if k in KEPT_METADATA}
    return pa.field(field.name, _storage(field.type), field.nullable, metadata=kept or None)


def _storage(kind: Any) -> Any:
    """Return a type without extension types in it."""
    types = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return _storage(kind.storage_type)
    if types.is_struct(kind):
        return pa.struct([_bare(field) for field in _children(kind)])
    if types.is_list(kind):
        return pa.list_(_bare(kind.value_field))
    if types.is_large_list(kind):
        return pa.large_list(_bare(kind.value_field))
    if types.is_fixed_size_list(kind):
        return pa.list_(_bare(kind.value_field), kind.list_size)
    if any(map(_has_extension, _children(kind))):  # maps, unions: no kind that can be used
        return pa.null()
    return kind


def _children(kind: Any) -> list[Any]:
    return [kind.field(place) for place in range(kind.num_fields)]
