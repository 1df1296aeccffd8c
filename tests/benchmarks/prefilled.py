"""A study of thousands of ended trials, written straight into its record."""

import math
import random
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from search.record.decisions import Asked, Closed, Decision, Ended, Opened, Stopped
from search.record.epochs import BLOCK_SIZE
from search.record.epochs import FOLDER as TRIALS
from search.record.segments import FOLDER as LOG
from search.record.segments import PACK_SIZE, encode_segments, segment_path
from search.study.study import Study
from tests.benchmarks.noop_run import losses_of
from trainables.storage.sealed_json import seal
from trainables.storage.store import Store
from trainables.trial.checkpoint import MANIFEST, TRAINING, WEIGHTS
from trainables.trial.measurement import Measurement


def prefill(study: Study, trials: int) -> None:
    """Let a study that has run for two trials or so have many instead, half of them stopped.

    Args:
        study: Its folder is changed; the budget in force becomes that many trials.
        trials: A multiple of the size of a block.
    """
    if trials % BLOCK_SIZE:
        raise ValueError(f"prefill needs a multiple of {BLOCK_SIZE} trials, got {trials}")
    store = Store(study.folder)
    for folder in (LOG, TRIALS, "epochs", "checkpoints", "owner", "lease", "runs"):
        store.delete(folder)
    epochs = study.budget.epochs
    budget = asdict(replace(study.budget, trials=trials))
    segments: list[tuple[Decision, ...]] = [(Opened(budget=budget),)]
    for first in range(0, trials, BLOCK_SIZE):
        bodies = []
        for number in range(first, first + BLOCK_SIZE):
            config = config_of(number)
            last = epochs if number % 2 else math.ceil(epochs / 3)
            segments.append((Asked(number=number, config=config),))
            if last < epochs:
                segments.append((Stopped(number=number, epoch=last),))
            state: Any = "complete" if last == epochs else "stopped"
            segments.append((Ended(number=number, state=state, epoch=last),))
            measured = [measured_of(number, config, epoch) for epoch in range(1, last + 1)]
            _leave_checkpoint(Path(study.folder), measured[-1], may_go_on=last == epochs)
            bodies.append({"number": number, "measurements": [m.to_dict() for m in measured]})
        name = f"{TRIALS}/{first:06d}-{first + BLOCK_SIZE - 1:06d}.json"
        store.put(name, seal("trials", {"first": first, "trials": bodies}))
    segments.append((Closed(reason="done"),))
    for first in range(0, len(segments), PACK_SIZE):
        chunk = segments[first : first + PACK_SIZE]
        store.put(segment_path(1, first, first + len(chunk) - 1), encode_segments(1, first, chunk))


def _leave_checkpoint(folder: Path, measured: Measurement, *, may_go_on: bool) -> None:
    """Put something where the weights of an epoch would lie; nothing here reads them."""
    kept = folder / str(measured.checkpoint)
    kept.mkdir(parents=True)
    for name in (MANIFEST, WEIGHTS, *([TRAINING] if may_go_on else [])):
        (kept / name).touch()


def config_of(number: int) -> dict[str, Any]:
    """Return a config of the benchmark's space."""
    draw = random.Random(number)
    return {
        "conv1_filters": draw.randint(4, 64),
        "conv2_filters": draw.randint(4, 64),
        "learning_rate": 10 ** draw.uniform(-4, -1),
        "dropout": draw.uniform(0.0, 0.5),
        "batch_size": draw.choice([4, 8]),
        "pool_size": 2,
    }


def measured_of(number: int, config: dict[str, Any], epoch: int) -> Measurement:
    """Return what one epoch gave."""
    losses = losses_of(config, epoch)
    return Measurement(
        number=number,
        attempt=1,
        epoch=epoch,
        generation=1,
        losses=losses,
        metrics={"val_c_output_accuracy": 1 / (1 + losses["c_output"])},
        loss=sum(losses.values()),
        seconds={"train": 0.0, "validate": 0.0, "save": 0.0},
        checkpoint=f"checkpoints/{number:06d}/000001-001-{epoch:04d}",
        checkpoint_sha256="0" * 64,
        node="benchmark",
    )
