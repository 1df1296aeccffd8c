"""From the command to the first training step: where the seconds go, against TensorFlow and Ray.

``python -m tests.benchmarks.startup`` runs a small study of digits, two trials at a time, as
``twohead run`` does; before each run TensorFlow is imported in a bare process, and a bare process
starts Ray, once as this project does and once with ``ray.init()`` as it comes. Figures are
medians over the rounds. Nothing else should run meanwhile.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
NOTES = Path(__file__).parent / "timeline"
GATE = 1.5
"""Imports of TensorFlow that lie between the command and the first step, besides Ray's start."""
FIRST_STEP = "trainables.training.keras_run.KerasRun.run_epoch"
STUDY = """
name: startup
data: {data}
storage: {storage}
heads: {{c_output: {{kind: classification}}, r_output: {{kind: box}}}}
space:
  conv1_filters: {{choice: [4, 8]}}
  conv2_filters: {{choice: [4, 8]}}
  c_output_units: 16
  r_output_units: 16
  learning_rate: {{float: [0.0005, 0.002], log: true}}
budget: {{trials: 4, epochs: 1}}
reference: false
resources: {{concurrent: 2}}
"""
RUN = "import sys; from search.cli.main import main; sys.exit(main())"
IMPORT = """
import time
began = time.perf_counter()
import tensorflow
print(time.perf_counter() - began)
"""
START = """
import os, sys, time
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
import ray
began = time.perf_counter()
if sys.argv[1] == "ours":
    from search.cluster.starting import start_ray
    start_ray(
        dict(
            address="local", num_cpus=2, include_dashboard=False, log_to_driver=False,
            object_store_memory=128 * 2**20, logging_level="error",
        ),
        warms=False,
    )
else:
    ray.init(address="local", num_cpus=2, log_to_driver=False, logging_level="error")
print(time.perf_counter() - began)
ray.shutdown()
"""


def environment(folder: Path, **changes: str) -> dict[str, str]:
    """Return what the processes get: bytecode, and Ray's files in a folder of our own."""
    kept = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    return {**kept, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder), **changes}


def bare(code: str, folder: Path, *arguments: str) -> tuple[float, float]:
    """Run code in a process; return the seconds that it printed and those of the process."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=environment(folder, TF_CPP_MIN_LOG_LEVEL="3"),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
        cwd=folder,
    )
    return float(done.stdout.split()[-1]), time.perf_counter() - began


def run(data: Path, folder: Path) -> tuple[float, list[dict[str, Any]]]:
    """Run the study; return the seconds of the whole command and what was noted meanwhile."""
    with tempfile.TemporaryDirectory(dir=folder) as storage:
        study, notes = Path(storage, "study.yaml"), Path(storage, "notes")
        study.write_text(STUDY.format(data=data, storage=storage))
        path = os.pathsep.join([str(NOTES), str(ROOT)])
        began = time.time()
        subprocess.run(
            [sys.executable, "-c", RUN, "run", str(study)],
            env=environment(folder, PYTHONPATH=path, TWOHEAD_TIMELINE=str(notes)),
            stdout=subprocess.DEVNULL,
            check=True,
            cwd=storage,
        )
        return time.time() - began, spans(notes.read_text().splitlines(), began)


def spans(lines: Sequence[str], began: float) -> list[dict[str, Any]]:
    """Return what began when, how long it took, and how much of it a processor worked."""
    found: list[dict[str, Any]] = []
    under_way: dict[tuple[int, str], list[dict[str, Any]]] = {}
    places: dict[int, int] = {}
    for line in lines:
        pid, now, cpu, what, edge = json.loads(line)
        if edge == "begin":
            span = {"at": now - began, "cpu_at": cpu, "what": what, "seconds": None}
            span["process"] = places.setdefault(pid, len(places))
            found.append(span)
            under_way.setdefault((pid, what), []).append(span)
        else:
            span = under_way[pid, what].pop()
            span["seconds"], span["cpu"] = now - began - span["at"], cpu - span["cpu_at"]
    return found


def first(found: Sequence[dict[str, Any]], what: str) -> dict[str, Any]:
    """Return what of this name began first."""
    return min((span for span in found if span["what"] == what), key=lambda span: span["at"])


def print_timeline(found: Sequence[dict[str, Any]]) -> None:
    """Print everything up to the first step."""
    print("  at s     s  cpu s  process")
    for span in sorted(found, key=lambda span: span["at"]):
        if span["at"] > first(found, FIRST_STEP)["at"]:
            break
        took = "           " if span["seconds"] is None else "{seconds:5.2f}  {cpu:5.2f}"
        print(f"{span['at']:6.2f} {took.format(**span)}  {span['process']:>3}  {span['what']}")


def main() -> None:
    """Measure, and print a timeline and the ratio of the gate."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rows: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory(prefix="su-", dir="/tmp") as name:
        folder = Path(name)
        data = folder / "digits.parquet"
        from trainables.data.digits import write_digits

        write_digits(data, num=1000, image_size=32, seed=0)
        for _ in range(options.rounds):
            inside, process = bare(IMPORT, folder)
            row = {"tensorflow inside": inside, "tensorflow process": process}
            row["ray ours"] = bare(START, folder, "ours")[0]
            row["ray plain"] = bare(START, folder, "plain")[0]
            row["whole"], found = run(data, folder)
            row["ray in the run"] = first(found, "ray.init")["seconds"]
            row["first step"] = first(found, FIRST_STEP)["at"]
            for ray in ("in the run", "ours", "plain"):
                for tensorflow in ("inside", "process"):
                    left = row["first step"] - row[f"ray {ray}"]
                    row[f"ratio: {ray}, {tensorflow}"] = left / row[f"tensorflow {tensorflow}"]
            rows.append(row)
    print_timeline(found)
    print(f"medians of {len(rows)}; gate: {GATE} imports besides Ray's start")
    for key in rows[0]:
        listed = " ".join(f"{row[key]:6.2f}" for row in rows)
        print(f"{key:28} {median(row[key] for row in rows):6.2f}   ({listed})")


if __name__ == "__main__":
    main()
