"""Train every config of a grid, and write what each epoch gave as one Parquet table.

Run with ``python -m tests.benchmarks.record digits24 OUT.parquet``. It may be killed at any time:
the same command goes on with the configs that are missing in ``OUT.parquet.parts``.
"""

import argparse
import json
import multiprocessing
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.grids import GRIDS, Grid
from tests.benchmarks.table import write_table
from trainables.data.check import check_dataset
from trainables.data.dataset import open_dataset
from trainables.data.decode import decode_dataset
from trainables.data.digits import write_digits
from trainables.data.request import DataInfo, DataRequest


def main() -> None:
    """Record one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("grid", choices=sorted(GRIDS))
    parser.add_argument("out", type=Path, metavar="OUT.parquet")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, metavar="N")
    args = parser.parse_args()
    grid = GRIDS[args.grid]
    folder = args.out.with_name(f"{args.out.name}.parts")
    data = _make_data(grid, folder)
    _record_all(grid, folder, data, args.processes)
    write_table(
        args.out,
        _rows(grid, folder),
        {
            "about": grid.about,
            "heads": [head.name for head in grid.heads],
            "baselines": dict(data.baselines),
            "constants": dict(grid.constants),
            "command": f"python -m tests.benchmarks.record {grid.name} {args.out.name}",
        },
    )


def _make_data(grid: Grid, folder: Path) -> DataInfo:
    """Write and decode the grid's data set; return what there is to know of it."""
    path = write_digits(folder / "digits.parquet", **grid.digits)
    request = DataRequest(uri=str(path), heads=grid.heads, image_size=None)
    info = check_dataset(request).info
    decode_dataset(request, info.fingerprint, str(folder))
    return info


def _record_all(grid: Grid, folder: Path, data: DataInfo, processes: int) -> None:
    """Train what is missing, side by side; each process takes every n-th architecture."""
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=_record_share, args=(grid.name, folder, data, place, processes))
        for place in range(processes)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        raise SystemExit("a process failed; what it wrote is kept")


def _record_share(grid_name: str, folder: Path, data: DataInfo, place: int, share: int) -> None:
    """Train the configs of one process, one file per config and seed."""
    from trainables.model.backend import configure_process

    configure_process(num_threads=1)
    grid = GRIDS[grid_name]
    dataset = open_dataset(str(folder), data.fingerprint, folder / "cache")
    for number, config in enumerate(grid.configs()):
        for seed in grid.seeds:
            path = folder / f"{number:05d}-{seed}.json"
            if number // 16 % share == place and not path.exists():
                epochs = _train(grid, config, seed, dataset, data)
                temporary = path.with_suffix(".tmp")
                part = {"config": config, "seed": seed, "epochs": epochs}
                temporary.write_text(json.dumps(part))
                temporary.replace(path)


def _train(
    grid: Grid, config: Mapping[str, Any], seed: int, dataset: Any, data: DataInfo
) -> list[dict[str, float]]:
    """Return the losses and the seconds of each epoch; NaN from the first that is not finite.

    Seconds are processor time on one thread, so that a busy machine does not show in them.
    """
    from trainables.spec.trial import TrialSpec
    from trainables.training.keras_run import KerasRun

    spec = TrialSpec.from_config(config, image_shape=data.image_shape, heads=data.heads)
    run = KerasRun(spec=spec, dataset=dataset, seed=seed)
    epochs: list[dict[str, float]] = []
    for _ in range(grid.epochs):
        start = time.process_time()
        losses = run.run_epoch().losses
        epochs.append({**losses, "seconds": time.process_time() - start})
        if not np.isfinite(list(losses.values())).all():
            break
    return epochs


def _rows(grid: Grid, folder: Path) -> Iterator[dict[str, Any]]:
    """Yield a row per config, seed and epoch."""
    for number, config in enumerate(grid.configs()):
        for seed in grid.seeds:
            part = json.loads((folder / f"{number:05d}-{seed}.json").read_text())
            if part["config"] != config:
                raise SystemExit(f"{folder} holds another grid; remove it to record anew")
            searched = {name: config[name] for name in grid.parameters}
            epochs = part["epochs"] + [{}] * (grid.epochs - len(part["epochs"]))
            for epoch, figures in enumerate(epochs, start=1):
                losses = {
                    f"val_{head.name}_loss": figures.get(head.name, np.nan) for head in grid.heads
                }
                seconds = figures.get("seconds", 0.0)
                yield {**searched, "seed": seed, "epoch": epoch, **losses, "seconds": seconds}


if __name__ == "__main__":
    main()
