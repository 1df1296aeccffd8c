"""Compare contenders on a recorded table: no Ray, no training, a virtual clock.

Run with ``python -m tests.benchmarks.simulate TABLE.parquet --seeds 50 --epochs 4800``.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from search.errors import InputError
from tests.benchmarks.clock import Trace, play
from tests.benchmarks.contender import Problem
from tests.benchmarks.contenders import CONTENDERS, OURS
from tests.benchmarks.scores import Scale
from tests.benchmarks.summary import ratios, summarise
from tests.benchmarks.table import Table

Runs = dict[str, list[Trace]]
Job = tuple[str, int]
"""A contender and the seed of its run."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate and print; return the exit status."""
    args = _parse(arguments)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # packages that print must not be in the JSON
            table = Table.read(args.table)
            Scale(table)
            names = _available(args.contenders)
            runs = run_all(
                str(args.table),
                names,
                seeds=args.seeds,
                workers=args.workers,
                budget=args.epochs,
                processes=args.processes,
                note=_note,
            )
            report = as_report(args, table, runs)
            if args.draw is not None:
                from tests.benchmarks.drawing import draw

                draw(args.draw, runs, report)
    except InputError as error:
        _note(f"error: {error}")
        return 2
    if args.json:
        print(json.dumps(report, allow_nan=False))
    else:
        from tests.benchmarks.printing import print_report

        print_report(report)
    return 0


def run_all(
    path: str,
    names: Sequence[str],
    *,
    seeds: int,
    workers: int,
    budget: int,
    processes: int = 1,
    note: Callable[[str], None] = lambda text: None,
) -> Runs:
    """Return the runs of every contender, by name, in the order of the seeds."""
    jobs = [(name, seed) for seed in range(seeds) for name in names]
    settings = (path, workers, budget)
    traces: dict[Job, Trace] = {}
    start = time.monotonic()
    for job, trace in _traces(jobs, settings, processes):
        traces[job] = trace
        took = time.monotonic() - start
        note(f"{len(traces)} of {len(jobs)} runs, {took:.0f} s: {job[0]}, seed {job[1]}")
    return {name: [traces[name, seed] for seed in range(seeds)] for name in names}


def _traces(
    jobs: Sequence[Job], settings: tuple[str, int, int], processes: int
) -> Iterator[tuple[Job, Trace]]:
    if processes == 1:
        _prepare(*settings)
        yield from ((job, _run(job)) for job in jobs)
        return
    for library in ("OPENBLAS", "OMP", "MKL"):
        # Else the processes wait for each other's threads: on two busy cores 198 s where one
        # thread each takes 35 s.
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")
    with ProcessPoolExecutor(
        processes, multiprocessing.get_context("spawn"), _prepare, settings
    ) as pool:
        futures = {pool.submit(_run, job): job for job in jobs}
        for future in as_completed(futures):
            yield futures[future], future.result()


_prepared: dict[str, Any] = {}
"""What all runs of this process share."""


def _prepare(path: str, workers: int, budget: int) -> None:
    table = Table.read(path)
    _prepared.update(table=table, scale=Scale(table), workers=workers, budget=budget)


def _run(job: Job) -> Trace:
    """Run one contender once."""
    name, seed = job
    table: Table = _prepared["table"]
    problem = Problem(space=table.space, baselines=table.baselines, epochs=table.epochs, seed=seed)
    with contextlib.redirect_stdout(sys.stderr):
        return play(
            table,
            _prepared["scale"],
            CONTENDERS[name].load()(problem),
            workers=_prepared["workers"],
            budget=_prepared["budget"],
            seed=seed % len(table.seeds),
        )


def as_report(args: argparse.Namespace, table: Table, runs: Runs) -> dict[str, Any]:
    """Return settings and figures as JSON values."""
    seconds = args.epochs * table.mean_seconds / args.workers
    results = {
        name: {
            "about": CONTENDERS[name].about,
            **summarise(traces, budget=args.epochs, seconds=seconds),
        }
        for name, traces in runs.items()
    }
    rivals = [name for name, entry in CONTENDERS.items() if entry.is_mo_tpe]
    return {
        "settings": {
            "table": args.table.name,
            "heads": list(table.heads),
            "configs": table.num_configs,
            "epochs_per_trial": table.epochs,
            "recorded_seeds": len(table.seeds),
            "baselines": dict(table.baselines),
            "seeds": args.seeds,
            "workers": args.workers,
            "epochs": args.epochs,
            "seconds": seconds,
        },
        "contenders": results,
        "ratios": ratios(results, OURS, rivals),
    }


def _available(names: Sequence[str]) -> list[str]:
    """Return the contenders whose packages are there."""
    available = []
    for name in names:
        try:
            CONTENDERS[name].load()
        except ImportError as error:
            _note(f"left out {name} ({CONTENDERS[name].about}): {error}")
        else:
            available.append(name)
    if not available:
        raise InputError(f"a comparison needs a contender that is installed, got {list(names)}")
    return available


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.simulate", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("table", type=Path, metavar="TABLE.parquet")
    parser.add_argument("--seeds", type=_positive, default=50, metavar="N")
    parser.add_argument("--workers", type=_positive, default=4, metavar="W")
    parser.add_argument("--epochs", type=_positive, required=True, metavar="BUDGET")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--contenders", type=_names, default=list(CONTENDERS), metavar="A,B")
    cpus = os.cpu_count() or 1
    parser.add_argument("--processes", type=_positive, default=cpus, metavar="P")
    parser.add_argument("--draw", type=Path, metavar="OUT.png")
    return parser.parse_args(arguments)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"needs a whole number >= 1, got {text!r}")
    return int(text)


def _names(text: str) -> list[str]:
    names = text.split(",")
    unknown = [name for name in names if name not in CONTENDERS]
    if unknown:
        raise argparse.ArgumentTypeError(f"needs some of {list(CONTENDERS)}, got {unknown}")
    return list(dict.fromkeys(names))


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
