"""Wall time of this project, of other tools and of two bare limits, on the same trials.

Run with ``python -m tests.benchmarks.wall --trials 48 --epochs 3 --concurrent 2 --rounds 3``.
"""

import argparse
import hashlib
import json
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from tests.benchmarks.wall import machine, preparing, printing, running
from tests.benchmarks.wall.entries import ENTRIES, LIMIT
from tests.benchmarks.wall.keeping import keep, kept, rotated
from tests.benchmarks.wall.table import OTHER_SEED, make_table
from tests.benchmarks.wall.task import Task

PRECISIONS = ("float32", "bfloat16")
NOISE_CONFIGS = 12
Job = tuple[str, str, int]
"""A contender, its precision and its seed."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, keep and print; return 0, 1 if a run failed, or 2 for bad configs."""
    args = _parse(arguments)
    try:
        settings = _settings(args)
    except (OSError, ValueError) as error:
        _note(f"error: {error}")
        return 2
    versions, left_out = _look(args)
    data = preparing.write_data(
        args.out / "data", image_size=args.image_size, rows=args.rows
    ).resolve()
    failed = 0
    for job in _jobs(args, settings, left_out):
        found = _run(job, args, data)
        failed += found["error"] is not None
        keep(args.out, {**found, "settings": settings, "versions": versions})
    runs, others = kept(args.out, settings)
    if others:
        _note(f"{others} runs in {args.out} have other settings and are left out")
    report = {
        "settings": settings,
        "machine": settings["machine"],
        "versions": {name: number for run in runs for name, number in run["versions"].items()},
        "date": time.strftime("%Y-%m-%d", time.gmtime(runs[-1]["started"])) if runs else "",
        "left_out": list(left_out.values()),
        **make_table(runs, args.epochs),
    }
    _print(args, report)
    return 1 if failed else 0


def _print(args: argparse.Namespace, report: Mapping[str, Any]) -> None:
    if args.json:
        print(json.dumps(report))
    elif args.markdown:
        print(printing.as_markdown(report))
    else:
        print(printing.as_text(report))


def _jobs(
    args: argparse.Namespace, settings: Mapping[str, Any], left_out: Mapping[str, str]
) -> Iterator[Job]:
    """Yield what is to be run, round by round, the noise of the seed first if not yet known."""
    names = [name for name in args.contenders if name not in left_out]
    known = [run for run in kept(args.out, settings)[0] if run["seed"] == OTHER_SEED]
    if not known and LIMIT in names and args.rounds:
        yield LIMIT, PRECISIONS[0], OTHER_SEED
    pairs = [f"{name} {precision}" for name in names for precision in args.precision]
    for round_ in range(args.rounds):
        for pair in rotated(pairs, round_):
            name, precision = pair.split()
            yield name, precision, 0


def _run(job: Job, args: argparse.Namespace, data: Path) -> dict[str, Any]:
    name, precision, seed = job
    configs = _configs(args)[: NOISE_CONFIGS if seed == OTHER_SEED else None]
    task = Task(
        folder="",
        data=str(data),
        configs={str(number): config for number, config in enumerate(configs)},
        epochs=args.epochs,
        concurrent=args.concurrent,
        threads=max(1, machine.cores() // args.concurrent),
        precision=precision,
        seed=seed,
        head_activations={head.name: head.activation for head in preparing.HEAD_SPECS},
    )
    found = running.run(
        ENTRIES[name], task, python=args.python.get(name, sys.executable), limit=args.limit
    )
    walls = ", ".join(
        f"{clock} {found[f'{clock}_seconds']:.1f} s"
        for clock in ("wall", "exit")
        if found[f"{clock}_seconds"] is not None
    )
    seeded = " with another seed" if seed == OTHER_SEED else ""
    _note(f"{name} {precision}{seeded}: {found['error'] or walls}")
    return {"contender": name, "precision": precision, "seed": seed, **found}


def _look(args: argparse.Namespace) -> tuple[dict[str, str], dict[str, str]]:
    """Return the versions by package, and by name why a contender cannot be run."""
    versions: dict[str, str] = {}
    left_out = {}
    warm = set()
    for name in args.contenders if args.rounds else ():
        python = args.python.get(name, sys.executable)
        found, missing = machine.look_into(python, ENTRIES[name].packages)
        versions = {**found, **versions}
        if missing:
            left_out[name] = f"left out {name}: {python} has no {', '.join(missing)}"
            _note(left_out[name])
        elif python not in warm:
            machine.warm_up(python)
            warm.add(python)
    return versions, left_out


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    """Return what must be equal for runs to be compared."""
    return {
        "trials": args.trials,
        "configs": _digest(_configs(args)),
        "epochs": args.epochs,
        "concurrent": args.concurrent,
        "image_size": args.image_size,
        "rows": args.rows,
        "machine": {"processor": machine.processor(), "cores": machine.cores()},
    }


def _configs(args: argparse.Namespace) -> list[dict[str, Any]]:
    configs = preparing.configs_of(args.trials, args.configs)
    return [preparing.with_paddings(config, args.image_size) for config in configs]


def _digest(configs: Sequence[Mapping[str, Any]]) -> str:
    return hashlib.sha256(json.dumps(configs, sort_keys=True).encode()).hexdigest()[:8]


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.wall", description=(__doc__ or "").splitlines()[0]
    )
    counts = {"trials": 48, "epochs": 3, "concurrent": 2, "image-size": 64, "rows": 3200}
    for name, default in counts.items():
        parser.add_argument(f"--{name}", type=_count(1), default=default, metavar="N")
    parser.add_argument("--rounds", type=_count(0), default=3, metavar="N", help="0 only prints")
    parser.add_argument("--contenders", type=_some_of(ENTRIES), default=list(ENTRIES))
    parser.add_argument("--precision", type=_some_of(PRECISIONS), default=["float32"])
    parser.add_argument("--configs", type=Path, metavar="FILE.json", help="a list of configs")
    parser.add_argument("--python", action="append", default=[], metavar="NAME=PATH")
    parser.add_argument("--limit", type=float, default=900.0, metavar="SECONDS")
    parser.add_argument("--out", type=Path, default=Path("wall-runs"), metavar="FOLDER")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON object")
    form.add_argument("--markdown", action="store_true", help="print a table for the README")
    args = parser.parse_args(arguments)
    pairs = [pair.partition("=") for pair in args.python]
    if unknown := [name for name, _, path in pairs if name not in ENTRIES or not path]:
        parser.error(f"--python needs NAME=PATH with a contender's name, got {unknown}")
    args.python = {name: path for name, _, path in pairs}
    return args


def _count(least: int) -> Any:
    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"needs a whole number >= {least}, got {text!r}")
        return int(text)

    return read


def _some_of(known: Any) -> Any:
    def read(text: str) -> list[str]:
        names = list(dict.fromkeys(text.split(",")))
        if unknown := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"needs some of {list(known)}, got {unknown}")
        return names

    return read


def _leave(number: int, frame: object) -> NoReturn:
    raise SystemExit(128 + number)


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _leave)  # so that what is running is ended and removed
    sys.exit(main())
