"""Reads what a Parquet file declares of its columns and pages, before Arrow sees it.

Two reasons, both found by mutation with pyarrow 26: ``metadata.row_group(i).column(j)`` of a
damaged footer ends the whole process (``parquet::ParquetException`` outside of any handler),
and a damaged page header, which no checksum covers, makes it allocate gigabytes.
Only structure is parsed: Thrift's compact protocol, as the Parquet format defines it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

LARGEST_FOOTER_BYTES = 8 * 2**20
LARGEST_PAGE_BYTES = 2**30
_HEADER_BYTES = 4096
_DEEPEST = 32
_VALUE_BYTES = 8
# Field numbers in parquet.thrift: FileMetaData, RowGroup, ColumnChunk, ColumnMetaData, PageHeader.
_ROW_GROUPS, _COLUMNS, _META = 4, 1, 3
_PATH, _NUM_VALUES, _NUM_BYTES, _NUM_STORED, _FIRST_PAGE, _DICTIONARY = 3, 5, 6, 7, 9, 11
_PAGE_BYTES, _PAGE_STORED, _PAGE_V1, _PAGE_V2, _PAGE_VALUES = 2, 3, 5, 8, 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A column's piece in one row group, as the footer declares it."""

    column: str
    """The top-level column."""

    offset: int
    """Of the first page in the file."""

    num_stored: int
    """Bytes in the file, page headers included."""

    num_bytes: int
    """Bytes once uncompressed, page headers included."""

    num_values: int

    @property
    def cost(self) -> int:
        """Bytes in memory: run-length encoding holds many equal values in a few bytes."""
        return max(self.num_bytes, _VALUE_BYTES * self.num_values)


def read_chunks(footer: bytes) -> tuple[Chunk, ...]:
    """Return the chunks of all columns and row groups."""
    if len(footer) > LARGEST_FOOTER_BYTES:
        raise ValueError(f"a footer of {len(footer)} bytes, more than {LARGEST_FOOTER_BYTES}")
    try:
        groups = _Reader(footer).struct(0)[_ROW_GROUPS]
        return tuple(_chunk(chunk[_META]) for group in groups for chunk in group[_COLUMNS])
    except (IndexError, KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise ValueError(f"a damaged footer ({type(error).__name__})") from error


def check_pages(stream: Any, chunks: Sequence[Chunk]) -> None:
    """Compare the header of every page with what the footer declares."""
    # Of a column without values Arrow reads no page, and writes that the first is at byte 0.
    for chunk in (chunk for chunk in chunks if chunk.num_values):
        place, end = chunk.offset, chunk.offset + chunk.num_stored
        num_bytes = num_values = 0
        while place < end:
            stream.seek(place)
            size, stored, values = _page(stream.read(min(_HEADER_BYTES, end - place)), stream)
            place += stored
            num_bytes += size
            num_values += values
            if num_bytes > chunk.num_bytes or num_values > chunk.num_values or place > end:
                raise ValueError(f"pages of {chunk.column!r} that hold more than is declared")


def _chunk(column: dict[int, Any]) -> Chunk:
    first = int(column[_FIRST_PAGE])
    dictionary = int(column.get(_DICTIONARY, 0))
    chunk = Chunk(
        column=column[_PATH][0].decode(),
        offset=min(first, dictionary) if dictionary > 0 else first,
        num_stored=int(column[_NUM_STORED]),
        num_bytes=int(column[_NUM_BYTES]),
        num_values=int(column[_NUM_VALUES]),
    )
    if min(chunk.offset, chunk.num_stored, chunk.num_bytes, chunk.num_values) < 0:
        raise ValueError("a damaged footer (negative sizes)")
    return chunk


def _page(head: bytes, stream: Any) -> tuple[int, int, int]:
    """Return a page's size uncompressed and in the file, header included, and its values."""
    reader = _Reader(head)
    try:
        fields = reader.struct(0)
    except IndexError:  # statistics of long values can make a header longer
        reader = _Reader(head + stream.read(LARGEST_FOOTER_BYTES))
        fields = _longer(reader)
    try:
        size, stored = int(fields[_PAGE_BYTES]), int(fields[_PAGE_STORED])
        data = fields.get(_PAGE_V1) or fields.get(_PAGE_V2) or {_PAGE_VALUES: 0}
        values = int(data[_PAGE_VALUES])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("a damaged page header") from error
    if not 0 <= size <= LARGEST_PAGE_BYTES or stored < 0 or values < 0:
        raise ValueError(f"a page of {size} bytes and {values} values")
    return size + reader.place, stored + reader.place, values


def _longer(reader: "_Reader") -> dict[int, Any]:
    try:
        return reader.struct(0)
    except IndexError as error:
        raise ValueError("a damaged page header") from error


class _Reader:
    """A cursor over bytes of the compact protocol; a step past their end is an IndexError."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.place = 0

    def struct(self, depth: int) -> dict[int, Any]:
        """Return the fields of a struct by their number."""
        if depth > _DEEPEST:
            raise ValueError("a footer nested too deeply")
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._zigzag()
            kind = head & 0x0F
            fields[number] = kind == 1 if kind in (1, 2) else self._value(kind, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if kind in (1, 2, 3):
            return self._byte()
        if kind in (4, 5, 6):
            return self._zigzag()
        if kind == 7:
            return self._bytes(8)
        if kind == 8:
            return self._bytes(self._varint())
        if kind in (9, 10):
            return self._list(depth)
        if kind == 12:
            return self.struct(depth + 1)
        raise ValueError(f"a damaged footer (type {kind})")

    def _list(self, depth: int) -> list[Any]:
        if depth > _DEEPEST:
            raise ValueError("a footer nested too deeply")
        head = self._byte()
        count = head >> 4 if head >> 4 != 15 else self._varint()
        return [self._value(head & 0x0F, depth + 1) for _ in range(count)]

    def _byte(self) -> int:
        self.place += 1
        return self._data[self.place - 1]

    def _bytes(self, count: int) -> bytes:
        if count > len(self._data) - self.place:
            raise IndexError("past the end")
        self.place += count
        return self._data[self.place - count : self.place]

    def _varint(self) -> int:
        value = shift = 0
        while (byte := self._byte()) & 0x80:
            value |= (byte & 0x7F) << shift
            shift += 7
            if shift > 63:
                raise ValueError("a damaged footer (integer)")
        return value | byte << shift

    def _zigzag(self) -> int:
        value = self._varint()
        return value >> 1 ^ -(value & 1)
