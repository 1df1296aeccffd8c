"""Whether the share that a probe picks is the one that a training needs: run as a module.

``python -m tests.benchmarks.probe_classes --out FILE`` draws configs of the default space, trains
each in a process of its own (more steps than a probe takes) and notes the most memory that it
took. What a probe of that space would have said, from its smallest and its largest model alone,
is then compared for every size of a (simulated) GPU at which the largest model fits. What is in
FILE already is not measured again: run it in pieces with ``--seconds``.
"""

import argparse
import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from search.running.probe import _peaks_of, candidates
from search.space.parameters import ends
from search.study.configs import parse
from search.study.prepared import Prepared, shared_settings
from search.study.shares import CLASSES, Peaks, class_for
from search.study.study import Study
from tests.support.suggesting import suggest
from trainables.data.request import DataInfo
from trainables.probing.measure import Probe
from trainables.spec.footprint import Footprint, footprint
from trainables.spec.heads import HeadSpec

STEPS = 8
PIECE = 4
"""Trainings that share one import of TensorFlow."""
SIZES = 400


def study_of(side: int) -> tuple[Study, Prepared]:
    """Return a study of the default space on square images."""
    heads = {"c_output": {"kind": "classification"}, "r_output": {"kind": "box"}}
    study = Study(name="probe", data="none.parquet", heads=heads, reference=False)
    units = {"c_output": 10, "r_output": 4}
    data = DataInfo(
        fingerprint="0" * 64,
        image_shape=(side, side, 1),
        heads=tuple(HeadSpec(name=h.name, kind=h.kind, units=units[h.name]) for h in study.heads),
        rows={"train": 0, "validation": 0, "test": 0},
        baselines={"c_output": 1.0, "r_output": 1.0},
    )
    return study, Prepared(data=data, space=study.whole_space, precision="float32")


def drawn(prepared: Prepared, number: int, seed: int) -> dict[str, Any]:
    """Return a random config of the space."""
    asked = {"recorded": (), "num_heads": 2, "seed": seed, "number": number}
    found = suggest(name="random", space=prepared.space, **asked)
    return dict(found.config)


def size_of(study: Study, prepared: Prepared, config: Mapping[str, Any]) -> Footprint:
    """Return the `footprint` of a config of the built-in model, at the space's largest batch."""
    batch = int(ends(dict(prepared.space.parameters)["batch_size"])[1])
    spec = parse(study, config, prepared.data)
    return footprint(replace(spec, batch_size=max(batch, spec.batch_size)))


def job(config: Any, steps: int | None) -> dict[str, Any]:
    """Return what measures a training; without ``steps`` as a probe does."""
    made = {"what": "peak", "config": dict(config), "is_reference": False, "threads": 1}
    return {**made, "gpu_bytes": 0, "rows": [], **({"steps": steps} if steps else {})}


def verdicts(pairs: Iterable[tuple[int, int]], gpu_bytes: float) -> Counter[int]:
    """Count by how many classes the predicted share is too large; negative: too small.

    Args:
        pairs: Of each config what it took, and what was predicted.
        gpu_bytes: Of the GPU.
    """
    counted: Counter[int] = Counter()
    for took, predicted in pairs:
        needed = next(i for i, share in enumerate(CLASSES) if took <= share * gpu_bytes)
        picked = class_for(predicted, int(gpu_bytes)) or CLASSES[-1]
        counted[CLASSES.index(picked) - needed] += 1
    return counted


def report(peaks: Peaks, measured: list[dict[str, int]]) -> dict[str, Any]:
    """Return how right the probe's classes are, at one GPU and at all."""
    pairs = [(one["peak_bytes"], peaks.needed(Footprint(*one["size"]))) for one in measured]
    took = np.array([pair[0] for pair in pairs], dtype=float)
    middle = max(4 * float(np.quantile(took, 0.3)), float(took.max()))
    needed = Counter(str(next(c for c in CLASSES if t <= c * middle)) for t in took)
    sizes = np.geomspace(took.max(), 4.5 * took.max(), SIZES)
    alone = [(t, p - peaks.beside_bytes) for t, p in pairs]
    return {
        "configs": len(pairs),
        "took_MiB": [round(float(v) / 2**20) for v in (took.min(), np.median(took), took.max())],
        "predicted/took": [
            round(float(np.quantile([p / t for t, p in alone], q)), 3) for q in (0, 0.5, 1)
        ],
        "beside_MiB": round(peaks.beside_bytes / 2**20),
        "gpu_MiB": round(middle / 2**20),
        "needed": dict(sorted(needed.items())),
        "classes too large": _sorted(verdicts(pairs, middle)),
        "on all GPUs": _sorted(sum((verdicts(pairs, size) for size in sizes), Counter())),
        "with nothing beside": _sorted(sum((verdicts(alone, size) for size in sizes), Counter())),
    }


def _sorted(counted: Counter[int]) -> dict[str, int]:
    return {str(classes): number for classes, number in sorted(counted.items())}


def measure(out: Path, side: int, configs: int, seed: int, seconds: float) -> None:
    """Measure what is not in the file yet, for so long, and write it there."""
    study, prepared = study_of(side)
    settings = shared_settings(study, prepared)
    known = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    end = time.monotonic() + seconds
    while len(known) <= configs and time.monotonic() < end:
        if not known:
            found = candidates(study, prepared)
            answers = Probe().measure(settings, [job(one.config, None) for one in found])
            told: list[dict[str, Any]] = [
                msgspec.to_builtins(_peaks_of(list(zip(found, answers, strict=True))))
            ]
        else:
            numbers = range(len(known) - 1, min(len(known) - 1 + PIECE, configs))
            drawn_now = [drawn(prepared, number, seed) for number in numbers]
            answers = Probe().measure(settings, [job(one, STEPS) for one in drawn_now])
            told = [
                {**answer, "size": size_of(study, prepared, one), "config": one}
                for one, answer in zip(drawn_now, answers, strict=True)
            ]
        known += told
        out.write_text("".join(json.dumps(one) + "\n" for one in known))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--configs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=3600)
    args = parser.parse_args()
    measure(args.out, args.side, args.configs, args.seed, args.seconds)
    first, *rest = [json.loads(line) for line in args.out.read_text().splitlines()]
    print(json.dumps(report(msgspec.convert(first, Peaks), rest), indent=1))


if __name__ == "__main__":
    main()
