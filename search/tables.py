"""Trials as an Arrow table: a row per trial and epoch."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from search.points import TrialRecord
from trainables.measurement import Measurement

NUM_LEADING = 4
"""Columns before the parameters."""


def study_table(trials: Sequence[TrialRecord], heads: Sequence[str]) -> pa.Table:
    """Return the table that `search.results.StudyResult.table` describes."""
    rows = [_row(trial, m, heads) for trial in trials for m in trial.measurements]
    # Of all configs: the first may have fewer blocks than others, whose filters are null there.
    configs = [name for trial in trials for name in trial.config if rows]
    first = [*rows[0]][:NUM_LEADING] if rows else []
    names = list(dict.fromkeys([*first, *configs, *(name for row in rows for name in row)]))
    last = [name for name in names if name.startswith("seconds")]
    names = [name for name in names if name not in last] + last
    return pa.table({name: _column([row.get(name) for row in rows]) for name in names})


def _row(trial: TrialRecord, m: Measurement, heads: Sequence[str]) -> dict[str, Any]:
    return {
        "number": trial.number,
        "epoch": m.epoch,
        "state": trial.state,
        "is_reference": trial.is_reference,
        **trial.config,
        **{f"val_{head}_loss": m.losses[head] for head in heads},
        **m.metrics,
        "loss": m.loss,
        "seconds": sum(m.seconds.values()),
        **{f"seconds_{part}": seconds for part, seconds in m.seconds.items()},
    }


def _column(values: list[Any]) -> pa.Array:
    """Return values as one column; a parameter whose values differ in type becomes text."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int, float}:
        return pa.array([None if value is None else float(value) for value in values])
    if len(kinds) > 1:
        return pa.array([None if value is None else str(value) for value in values])
    return pa.array(values)
