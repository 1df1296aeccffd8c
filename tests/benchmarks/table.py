"""Recorded tables: what every config of a full factorial measured after every epoch.

A table is a Parquet file with one row per config and epoch, and per seed if it has several. Its
columns: the parameters, ``epoch``, ``val_<head>_loss`` for each head, ``seconds``, and optionally
``seed``; see README.md in this folder.
"""

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from search.errors import InputError
from search.space.parameters import Choice
from search.space.space import SearchSpace
from tests.benchmarks.table_columns import METADATA, head_of, read_contents


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
        if head_of(name) is not None or name == "seconds":
            table = table.set_column(place, name, table[name].cast(pa.float32()))
    measured = [n for n in table.column_names if head_of(n) is not None or n == "seconds"]
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
    """Parameter -> its values, in order; one value: it was constant. Named like its column, but
    for `plain_names`."""
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
        return cls(**read_contents(path))

    @property
    def epochs(self) -> int:
        """Epochs of every config."""
        return int(self.losses.shape[2])

    @property
    def num_configs(self) -> int:
        """How many configs were trained."""
        return int(self.losses.shape[0])

    @property
    def mean_seconds(self) -> float:
        """Of the epochs that did not diverge."""
        return float(self.seconds[np.isfinite(self.losses).all(axis=-1)].mean())

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
        return np.asarray(self.losses.mean(axis=1))

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


def combinations(parameters: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    """Yield every config of a factorial, in the order of a table's places."""
    for values in itertools.product(*parameters.values()):
        yield dict(zip(parameters, values, strict=True))
