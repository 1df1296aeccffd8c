"""What makes a file of columns a table: checked, put in order, or refused with the first fault."""

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from search.errors import InputError
from search.space.space import DEPTH

METADATA = b"twohead"
"""Key of the schema's metadata; its value is JSON."""
PREFIX, SUFFIX = "val_", "_loss"
PANDAS_INDEX = "__index_level_"
"""How the columns begin in which pandas keeps the numbers of rows; they say nothing."""
GIVEN_UP = 95
"""Percentile of the first epoch's losses that stands for a baseline nobody recorded."""
MOST_ROWS = 2**62
"""Of a full factorial; more than fit a 64-bit place in it."""


def read_contents(path: Path | str) -> dict[str, Any]:
    """Return the fields of the `Table` in a file, all of it checked; see `Table.read`."""
    if not Path(path).is_file():
        raise InputError(f"a table needs to be a file, got {path}, which is none")
    try:
        columns = pq.read_table(path, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"a table needs to be a Parquet file, got {path}: {error}") from error
    return _Reader(str(path), columns).contents()


def column_of(head: str) -> str:
    """Return the column with a head's losses."""
    return f"{PREFIX}{head}{SUFFIX}"


def head_of(column: str) -> str | None:
    """Return the head whose losses a column has, None if it has none's."""
    is_loss = column.startswith(PREFIX) and column.endswith(SUFFIX)
    return column[len(PREFIX) : -len(SUFFIX)] or None if is_loss else None


def plain_names(columns: Sequence[str]) -> list[str]:
    """Return names for columns that a search space takes and reads nothing into, in order.

    A table names every parameter in every row, so ``num_conv_blocks`` is no depth there, by
    which the filters of a block would count in some rows and not in others.

    Example:
        >>> plain_names(["lr", "learning rate", "learning-rate", "num_conv_blocks"])
        ['lr', 'learning_rate', 'learning_rate_', 'num_conv_blocks_']
    """
    names: list[str] = []
    for column in columns:
        name = re.sub(r"\W", "_", column)
        name = name if name.isidentifier() else f"_{name}"
        while name == DEPTH or name in names or (name != column and name in columns):
            name += "_"
        names.append(name)
    return names


class _Reader:
    """Checks the columns of one file and puts them in order."""

    def __init__(self, path: str, columns: pa.Table) -> None:
        self._path = path
        self._columns = columns
        names = columns.column_names
        if len(set(names)) < len(names):
            self._refuse("columns with different names", names)
        self._about = self._read_about()
        self._heads = self._read_heads(names)
        self._measured = ["seconds", *map(column_of, self._heads)]
        for name in ("epoch", "seconds"):
            if name not in names:
                self._refuse(f"a column {name!r}", names)
        kept = {"seed", "epoch", *self._measured}
        self._names = [n for n in names if n not in kept and not n.startswith(PANDAS_INDEX)]
        if not columns.num_rows:
            self._refuse("rows", "none")

    def contents(self) -> dict[str, Any]:
        """Return what it holds, or refuse it."""
        axes, codes = self._axes()
        order = self._order(axes, codes)
        configs = math.prod(len(axes[name]) for name in self._names)
        shape = (configs, len(axes["seed"]), len(axes["epoch"]))
        measured = {name: self._numbers(name)[order].reshape(shape) for name in self._measured}
        losses = np.stack([measured[column_of(head)] for head in self._heads], axis=-1)
        if (losses < 0).any():
            self._refuse(
                "losses >= 0, for they are compared on a log scale", losses[losses < 0][0]
            )
        seconds = measured["seconds"]
        if not (np.isfinite(seconds) & (seconds >= 0)).all():
            self._refuse("finite seconds >= 0", seconds[~(seconds >= 0) | np.isinf(seconds)][0])
        return dict(
            heads=self._heads,
            parameters={
                plain: axes[name]
                for plain, name in zip(plain_names(self._names), self._names, strict=True)
            },
            seeds=axes["seed"],
            losses=losses,
            seconds=seconds,
            baselines=self._baselines(losses),
            about=self._about,
        )

    def _axes(self) -> tuple[dict[str, tuple[Any, ...]], dict[str, np.ndarray]]:
        """Return the values of each column that tells rows apart, and each row's place there."""
        axes: dict[str, tuple[Any, ...]] = {}
        codes = {}
        for name in [*self._names, "seed", "epoch"]:
            if name == "seed" and "seed" not in self._columns.column_names:
                axes[name], codes[name] = (0,), np.zeros(self._columns.num_rows, dtype=np.int64)
            else:
                axes[name], codes[name] = self._axis(name)
        if axes["epoch"] != tuple(range(1, len(axes["epoch"]) + 1)):
            self._refuse("epochs 1, 2, ... without a gap", list(axes["epoch"]))
        return axes, codes

    def _axis(self, name: str) -> tuple[tuple[Any, ...], np.ndarray]:
        column = self._columns[name].combine_chunks()
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if column.null_count:
            self._refuse(f"a value of {name!r} in every row", "null")
        kind = column.type
        is_integer = pa.types.is_integer(kind)
        if name in ("seed", "epoch") and not is_integer:
            self._refuse(f"whole numbers as {name!r}", kind)
        plain = (pa.types.is_floating, pa.types.is_boolean, pa.types.is_string)
        if not is_integer and not any(test(kind) for test in (*plain, pa.types.is_large_string)):
            self._refuse(f"numbers, text or booleans as {name!r}", kind)
        if pa.types.is_floating(kind) and not pc.all(pc.is_finite(column)).as_py():
            self._refuse(f"finite numbers as {name!r}", "NaN or infinity")
        encoded = column.dictionary_encode()
        values = encoded.dictionary.to_pylist()
        order = sorted(range(len(values)), key=lambda place: values[place])
        places = np.empty(len(values), dtype=np.int64)
        places[order] = np.arange(len(values))
        indices = places[encoded.indices.to_numpy(zero_copy_only=False)]
        return tuple(values[place] for place in order), indices

    def _order(self, axes: dict[str, tuple[Any, ...]], codes: dict[str, np.ndarray]) -> np.ndarray:
        """Return the rows in the order of the factorial; refuse if one is missing or twice."""
        sizes = {name: len(values) for name, values in axes.items()}
        needed, rows = math.prod(sizes.values()), self._columns.num_rows
        if needed > MOST_ROWS:
            self._refuse(f"a row for each of {needed} combinations", f"{rows} rows")
        places = np.zeros(rows, dtype=np.int64)
        for name, size in sizes.items():
            places = places * size + codes[name]
        order = np.argsort(places, kind="stable")
        ordered = places[order]
        repeated = np.flatnonzero(ordered[1:] == ordered[:-1])
        if repeated.size:
            self._refuse("each row once", self._row(axes, int(ordered[repeated[0]])) + " twice")
        if rows < needed:
            gaps = np.flatnonzero(ordered != np.arange(rows))
            first = int(gaps[0]) if gaps.size else rows
            which = self._row(axes, first)
            self._refuse(f"all {needed} combinations", f"{rows} rows, the first missing: {which}")
        return order

    def _row(self, axes: dict[str, tuple[Any, ...]], place: int) -> str:
        """Return a place in the factorial as the values that it stands for."""
        told = []
        for name, values in reversed(axes.items()):
            place, code = divmod(place, len(values))
            if name != "seed" or "seed" in self._columns.column_names:
                told.append(f"{name}={values[code]!r}")
        return ", ".join(reversed(told))

    def _numbers(self, name: str) -> np.ndarray:
        """Return a column of measurements as floats; a null is NaN."""
        column = self._columns[name].combine_chunks()
        if not pa.types.is_floating(column.type) and not pa.types.is_integer(column.type):
            self._refuse(f"numbers as {name!r}", column.type)
        return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False))

    def _read_about(self) -> dict[str, Any]:
        stored = (self._columns.schema.metadata or {}).get(METADATA, b"{}")
        try:
            about = json.loads(stored)
        except ValueError:
            about = None
        if not isinstance(about, dict):
            self._refuse("a JSON object as metadata 'twohead'", stored[:60])
        return dict(about)

    def _read_heads(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the heads in the metadata's order, or in that of the columns."""
        found = [head for head in map(head_of, names) if head is not None]
        if not found:
            self._refuse("columns 'val_<head>_loss'", list(names))
        told = self._about.get("heads", found)
        if not isinstance(told, list) or sorted(map(str, told)) != sorted(found):
            self._refuse(f"the heads {found} in its metadata", told)
        return tuple(told)

    def _baselines(self, losses: np.ndarray) -> dict[str, float]:
        """Return the metadata's baseline of each head, or the 95th percentile after an epoch."""
        told = self._about.get("baselines") or {}
        baselines = {}
        for place, head in enumerate(self._heads):
            first = losses[:, :, 0, place]
            finite = first[np.isfinite(first)]
            if head in told:
                baseline = told[head]
            else:
                baseline = float(np.percentile(finite, GIVEN_UP)) if finite.size else 0.0
            if not isinstance(baseline, int | float) or not 0 < baseline < math.inf:
                self._refuse(f"a finite baseline > 0 of {head!r}", baseline)
            baselines[head] = float(baseline)
        return baselines

    def _refuse(self, rule: str, received: object) -> NoReturn:
        raise InputError(f"table {self._path} needs {rule}, got {received}")
