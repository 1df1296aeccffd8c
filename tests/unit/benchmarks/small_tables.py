"""Small recorded tables, for the tests of the benchmark."""

import itertools

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

PARAMETERS = {
    "units": (8, 16, 32),
    "rate": (0.001, 0.01, 0.1),
    "optimizer": ("adam", "sgd"),
    "norm": (False, True),
}


def rows_of(
    parameters=PARAMETERS, *, heads=("kind", "place"), epochs=4, seeds=(0, 1), seed_of_noise=0
):
    """Return rows with losses in (0.1, 10) that mostly fall."""
    rng = np.random.default_rng(seed_of_noise)
    rows = []
    for values in itertools.product(*parameters.values()):
        levels = rng.uniform(0.2, 1.5, len(heads))
        pace = rng.uniform(0.5, 2.0)
        for seed in seeds:
            for epoch in range(1, epochs + 1):
                noise = rng.uniform(0.95, 1.05, len(heads))
                losses = ((levels + np.exp(1 - pace * epoch)) * noise).tolist()
                names = [f"val_{head}_loss" for head in heads]
                rows.append(
                    {
                        **dict(zip(parameters, values, strict=True)),
                        "seed": seed,
                        "epoch": epoch,
                        **dict(zip(names, losses, strict=True)),
                        "seconds": 0.1 + levels[0],
                    }
                )
    return rows


def write_plain(path, rows, *, without=()):
    """Write rows as anybody would, with no metadata; return the path."""
    kept = [{name: value for name, value in row.items() if name not in without} for row in rows]
    pq.write_table(pa.Table.from_pylist(kept), path)
    return path
