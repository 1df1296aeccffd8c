"""Columns whose values stand in the names of folders, as Hive and Spark write them."""

from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import unquote

import pyarrow as pa

NULL = "__HIVE_DEFAULT_PARTITION__"
"""What Hive writes for a value that is missing."""


def folder_values(name: str) -> Iterator[tuple[str, str]]:
    """Yield column and value of each folder ``column=value`` that a file lies in."""
    for folder in name.split("/")[:-1]:
        column, sign, value = folder.partition("=")
        if sign and column:
            yield unquote(column), unquote(value)


def as_column(values: Sequence[str], rows: Sequence[int]) -> Any:
    """Return a ``pyarrow.Array`` with each file's value in all of its rows; ids if all are ids."""
    found = [None if value == NULL else value for value in values]
    repeated = [value for value, num in zip(found, rows, strict=True) for _ in range(num)]
    is_ids = all(value is None or (value.isascii() and value.isdigit()) for value in found)
    column = pa.array(repeated, pa.string())
    return column.cast(pa.int64()) if is_ids else column
