"""What the driver costs in a study of thousands of trials: run as a module.

``python -m tests.benchmarks.driver_scale --trials 10000`` runs a study of trainings that take no
time (`noop_run`) on a Ray of its own: the real runner, searcher, scheduler, record and Ray Tune,
real processes. It prints what each thousand trials took, where the driver's time went and which
threads used the processor, its memory and what lies on the disk; then it lets one more trial run
under a grown budget, in a new process, and prints when that was ready to hand it out.
"""

import argparse
import cProfile
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from tests.benchmarks import noop_run
from tests.benchmarks.driver_parts import Parts, instrument
from tests.benchmarks.many_workers import many_workers
from tests.benchmarks.prefilled import prefill
from tests.benchmarks.threads import of_children, of_threads

SPACE = {
    "conv1_filters": {"int": [4, 64]},
    "conv2_filters": {"int": [4, 64]},
    "learning_rate": {"float": [1e-4, 1e-1], "log": True},
    "dropout": {"float": [0.0, 0.5]},
    "batch_size": {"choice": [4, 8]},
    "pool_size": 2,
}


def main(given: Sequence[str] | None = None) -> None:
    """Run what the command line asks for."""
    words = list(sys.argv[1:] if given is None else given)
    options = parser().parse_args(words)
    if options.folder is not None:
        part(options)
        return
    with tempfile.TemporaryDirectory(prefix="scale-", dir=options.under) as folder:
        options.folder = folder

        def call(*more: str) -> None:
            command = [sys.executable, "-m", "tests.benchmarks.driver_scale", *words]
            subprocess.run(
                [*command, "--folder", folder, "--began", str(time.time()), *more], check=True
            )

        if options.prefilled:
            call("--trials", "2", "--silent")
            prefill(study_of(options), options.prefilled)
        call()
        if not options.no_resume:
            call("--trials", str(options.trials + 1))


def parser() -> argparse.ArgumentParser:
    """Return what is understood on the command line."""
    parser = argparse.ArgumentParser(prog="driver_scale")
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--sampler", default="random")
    parser.add_argument("--scheduler", default="pareto_asha")
    parser.add_argument("--workers", type=int, default=2, help="processes, one CPU each")
    parser.add_argument("--played", type=int, default=0, help="workers, played by few processes")
    parser.add_argument("--pause", type=float, default=2.0, help="seconds of a played epoch")
    parser.add_argument("--prefilled", type=int, default=0, help="trials that are there before")
    parser.add_argument("--every", type=int, default=1000, help="trials between two lines")
    parser.add_argument("--no-resume", action="store_true")
    parser.add_argument("--profile", help="a file for cProfile's figures")
    parser.add_argument("--under", help="make the temporary folder there")
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    parser.add_argument("--began", type=float, default=0.0, help=argparse.SUPPRESS)
    parser.add_argument("--silent", action="store_true", help=argparse.SUPPRESS)
    return parser


def study_of(options: argparse.Namespace) -> Any:
    """Return the study of a benchmark, whose data set is written where it is missing."""
    from tests.support.stub_study import stub_study

    return stub_study(
        Path(options.folder) / "s",
        name="scale",
        space=SPACE,
        sampler=options.sampler,
        scheduler=options.scheduler,
        budget={"trials": options.trials, "epochs": options.epochs},
        resources={"cpu": 1, "concurrent": options.workers},
    )


def part(options: argparse.Namespace) -> None:
    """Run the study, or resume it, in this process."""
    from rich.console import Console

    from search.running.run import run
    from search.view.live import PlainWatcher
    from tests.support.stub_study import embedded_ray

    study = study_of(options)
    os.environ["RAY_TMPDIR"] = f"{options.folder}/ray"
    with embedded_ray(Path(options.folder) / "ray") if options.played else nullcontext():
        parts = Parts()
        with open(os.devnull, "w") as nowhere:
            scale = Scale(PlainWatcher(Console(file=nowhere)), parts, options)
            profile = cProfile.Profile() if options.profile else None
            played = many_workers(options.played, options.pause) if options.played else None
            with instrument(parts), played or nullcontext(), profile or nullcontext():
                run(study, factory=noop_run.FACTORY, watcher=scale)
    if profile is not None:
        profile.dump_stats(options.profile)
    if not options.silent:
        scale.report(Path(study.folder))


class Scale:
    """Looks on beside the lines that a user has, and takes note of time and memory."""

    def __init__(self, watcher: Any, parts: Parts, options: argparse.Namespace) -> None:
        self._watcher = watcher
        self._parts = parts
        self._options = options
        self._ready = 0.0
        self._before = 0
        self._calls = 0
        self._rows: list[tuple[int, float, float, int, int]] = []
        self._used: list[tuple[Counter[str], Counter[str]]] = []

    def preparing(self, what: str) -> None:
        self._watcher.preparing(what)

    def told(self, line: str) -> None:
        self._watcher.told(line)

    def started(self, study: Any, prepared: Any, conductor: Any) -> None:
        self._conductor = conductor
        self._parts.begin("live view")
        self._watcher.started(study, prepared, conductor)
        self._parts.end()
        self._before = len(conductor.trials)
        self._ready = time.time() - self._options.began
        self._at_start = dict(self._parts.wall), dict(self._parts.cpu)
        self._note()

    def changed(self) -> None:
        self._parts.begin("live view")
        self._watcher.changed()
        self._parts.end()
        num = len(self._conductor.trials)
        self._calls += 1
        if num >= self._rows[-1][0] + self._options.every:
            self._note()

    def report(self, folder: Path) -> None:
        """Print what was noted."""
        self._note()
        start, used = self._at_start[0].get("Ray's start", 0.0), sum(self._used[0][1].values())
        print(f"ready {self._ready:.1f} s after the command, of which Ray's start {start:.1f};")
        print(f"  its processes had used {used:.2f} s of the processor by then")
        if self._before:
            for name, seconds in sorted(self._at_start[0].items(), key=lambda one: -one[1])[:9]:
                print(f"  {name:>20} {seconds:6.2f} s, processor {self._at_start[1][name]:6.2f} s")
        print("   trials  trials/s  results/s  processor ms/result  resident MiB")
        for one, next_ in itertools.pairwise(self._rows):
            num, began, cpu, results, _ = one
            wall = next_[1] - began
            done, new = next_[0] - num, next_[3] - results
            print(
                f"{next_[0]:9} {done / wall:9.1f} {new / wall:10.1f}"
                f" {1000 * (next_[2] - cpu) / max(new, 1):20.2f} {next_[4] / 2**20:13.0f}"
            )
        self._print_parts()
        self._print_used()
        files = [path for path in folder.rglob("*") if path.is_file()]
        kinds = Counter(path.relative_to(folder).parts[0] for path in files)
        size = sum(path.stat().st_size for path in files)
        print(f"on disk: {len(files)} objects, {size / 2**20:.1f} MiB: {dict(kinds)}")

    def _print_parts(self) -> None:
        trials = max(1, self._rows[-1][0] - self._before)
        results = max(1, self._rows[-1][3])
        print(f"of each of {trials} trials ({results} results), milliseconds:   wall  processor")
        for name in sorted(self._parts.wall, key=lambda name: -self._parts.wall[name]):
            wall = self._parts.wall[name] - self._at_start[0].get(name, 0.0)
            cpu = self._parts.cpu[name] - self._at_start[1].get(name, 0.0)
            print(
                f"{name:>45} {1000 * wall / trials:18.2f} {1000 * cpu / trials:10.2f}"
                f"   {self._parts.calls[name] / trials:6.2f} calls"
            )

    def _print_used(self) -> None:
        """Print who used the processor from the second line of the table on, per result."""
        first, last = (1, -2) if len(self._rows) > 3 else (0, -1)
        results = max(1, self._rows[last][3] - self._rows[first][3])
        print(f"processor milliseconds of each of {results} results:")
        for title, which in (("threads of the driver", 0), ("its Ray's processes", 1)):
            used = self._used[last][which] - self._used[first][which]
            each = [f"{name} {1000 * s / results:.2f}" for name, s in used.most_common(12)]
            print(f"  {title}, {1000 * sum(used.values()) / results:.2f}: {', '.join(each)}")

    def _note(self) -> None:
        self._used.append((of_threads(), of_children()))
        self._rows.append(
            (
                len(self._conductor.trials),
                time.perf_counter(),
                time.process_time(),
                self._results,
                _resident_bytes(),
            )
        )

    @property
    def _results(self) -> int:
        return self._parts.calls["conductor: result"]


def _resident_bytes() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
