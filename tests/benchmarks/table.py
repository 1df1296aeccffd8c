"""Recorded tables: what every config of a full factorial measured after every epoch.

A table is a Parquet file with one row per config and epoch, and per seed if it has several. Its
columns: the parameters, ``epoch``, ``val_<head>_loss`` for each head, ``seconds``, and optionally
``seed``; see README.md in this folder.
"""

import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from search.errors import InputError
from search.space import Choice, SearchSpace

METADATA = b"twohead"
"""Key of the schema's metadata; its value is JSON."""
PREFIX, SUFFIX = "val_", "_loss"
GIVEN_UP = 95
"""Percentile of the first epoch's losses that stands for a baseline nobody recorded."""
MOST_ROWS = 2**62
"""Of a full factorial; more than fit a 64-bit place in it."""


def write_table(
    path: Path | str, rows: Iterable[Mapping[str, Any]], about: Mapping[str, Any]
) -> None:
    """Write rows as a table, with what there is to know about it; atomically.

    Losses and seconds become 32-bit floats: seven digits are more than a training repeats.

    Args:
        path: The file to write.
        rows: Each with the same keys: the columns.
        about: JSON values; ``heads`` and ``baselines`` are read again, the rest is for people.
    """
    table = pa.Table.from_pylist([dict(row) for row in rows])
    for place, name in enumerate(table.column_names):
        if _head_of(name) is not None or name == "seconds":
            table = table.set_column(place, name, table[name].cast(pa.float32()))
    measured = [n for n in table.column_names if _head_of(n) is not None or n == "seconds"]
    temporary = Path(path).with_name(f".{Path(path).name}.writing")
    pq.write_table(
        table.replace_schema_metadata({METADATA: json.dumps(dict(about))}),
        temporary,
        compression="zstd",
        compression_level=19,
        use_dictionary=[name for name in table.column_names if name not in measured],
        use_byte_stream_split=measured,
        write_page_checksum=True,
    )
    temporary.replace(path)


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """A full factorial of recorded trainings.

    Config ``c`` is the ``c``-th combination of ``parameters``, the last one changing fastest.
    """

    heads: tuple[str, ...]
    parameters: Mapping[str, tuple[Any, ...]]
    """Parameter -> its values, in order; one value: it was constant."""
    seeds: tuple[int, ...]
    losses: np.ndarray
    """Shape ``(configs, seeds, epochs, heads)``; NaN where a training diverged."""
    seconds: np.ndarray
    """Shape ``(configs, seeds, epochs)``."""
    baselines: Mapping[str, float]
    """Head -> loss of the best constant prediction, or what stands for it."""
    about: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path | str) -> "Table":
        """Read a table of anybody.

        Baselines that its metadata does not tell are the 95th percentile of the finite losses
        of the first epoch.

        Raises:
            InputError: If columns, rows or values are missing or wrong, with the first of them.
        """
        if not Path(path).is_file():
            raise InputError(f"a table needs to be a file, got {path}, which is none")
        try:
            columns = pq.read_table(path, page_checksum_verification=True)
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"a table needs to be a Parquet file, got {path}: {error}") from error
        return _Reader(str(path), columns).table()

    @property
    def epochs(self) -> int:
        """Epochs of every config."""
        return int(self.losses.shape[2])

    @property
    def num_configs(self) -> int:
        """How many configs were trained."""
        return int(self.losses.shape[0])

    @cached_property
    def space(self) -> SearchSpace:
        """What could be searched: a choice per parameter with several values."""
        return SearchSpace(
            parameters=tuple(
                (name, Choice(values=values) if len(values) > 1 else values[0])
                for name, values in self.parameters.items()
            )
        )

    @cached_property
    def averaged(self) -> np.ndarray:
        """Losses averaged over the seeds, shape ``(configs, epochs, heads)``.

        Not finite where any seed's is not: a config that may diverge earns nothing.
        """
        return self.losses.mean(axis=1)

    def place(self, config: Mapping[str, Any]) -> int:
        """Return which config this is.

        Raises:
            InputError: If the table has no such config.
        """
        place = 0
        for name, values in self.parameters.items():
            try:
                place = place * len(values) + self._places[name][config[name]]
            except KeyError:
                got = repr(config[name]) if name in config else "none"
                raise InputError(f"{name} needs one of {list(values)}, got {got}") from None
        return place

    def curve(self, config: Mapping[str, Any], seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Return what one training measured.

        Args:
            config: A value of every parameter.
            seed: Place of the seed in ``seeds``, from 0.

        Returns:
            Losses, shape ``(epochs, heads)``, and seconds of each epoch, shape ``(epochs,)``.
        """
        place = self.place(config)
        return self.losses[place, seed], self.seconds[place, seed]

    @cached_property
    def _places(self) -> dict[str, dict[Any, int]]:
        return {
            name: {value: place for place, value in enumerate(values)}
            for name, values in self.parameters.items()
        }


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
        self._measured = ["seconds", *map(_column_of, self._heads)]
        for name in ("epoch", "seconds"):
            if name not in names:
                self._refuse(f"a column {name!r}", names)
        kept = {"seed", "epoch", *self._measured}
        self._names = [name for name in names if name not in kept]
        if not columns.num_rows:
            self._refuse("rows", "none")

    def table(self) -> Table:
        """Return the table, or refuse it."""
        axes, codes = self._axes()
        order = self._order(axes, codes)
        configs = math.prod(len(axes[name]) for name in self._names)
        shape = (configs, len(axes["seed"]), len(axes["epoch"]))
        measured = {name: self._numbers(name)[order].reshape(shape) for name in self._measured}
        losses = np.stack([measured[_column_of(head)] for head in self._heads], axis=-1)
        if (losses < 0).any():
            self._refuse(
                "losses >= 0, for they are compared on a log scale", losses[losses < 0][0]
            )
        seconds = measured["seconds"]
        if not (np.isfinite(seconds) & (seconds >= 0)).all():
            self._refuse("finite seconds >= 0", seconds[~(seconds >= 0) | np.isinf(seconds)][0])
        return Table(
            heads=self._heads,
            parameters={name: axes[name] for name in self._names},
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
        found = [head for head in map(_head_of, names) if head is not None]
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

    def _refuse(self, rule: str, received: object) -> None:
        raise InputError(f"table {self._path} needs {rule}, got {received}")


def combinations(parameters: Mapping[str, Sequence[Any]]) -> Iterable[dict[str, Any]]:
    """Yield every config of a factorial, in the order of `Table`."""
    for values in itertools.product(*parameters.values()):
        yield dict(zip(parameters, values, strict=True))


def _column_of(head: str) -> str:
    return f"{PREFIX}{head}{SUFFIX}"


def _head_of(column: str) -> str | None:
    is_loss = column.startswith(PREFIX) and column.endswith(SUFFIX)
    return column[len(PREFIX) : -len(SUFFIX)] or None if is_loss else None
