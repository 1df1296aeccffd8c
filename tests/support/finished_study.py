"""A small study of two heads, written by the real log: complete, stopped and failed trials."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from search.record.decisions import Asked, Closed, Ended, Stopped, Tested
from search.record.log import StudyLog
from search.record.ownership import claim
from search.results.usage import _write_run
from search.space.space import SearchSpace
from search.study.prepared import Prepared
from search.study.study import Study
from trainables.data.request import DataInfo
from trainables.storage.store import Store
from trainables.trial.measurement import Measurement, write

SPACE = {
    "conv1_filters": {"choice": [8, 16, 32, 64]},
    "conv2_filters": {"choice": [8, 16, 32, 64]},
    "kernel_size": 3,
    "pool_size": {"choice": [2, 3]},
    "dropout": 0.0,
    "batch_norm": False,
    "c_output_units": {"int": [32, 256], "log": True},
    "r_output_units": {"int": [32, 512], "log": True},
    "c_output_loss_weight": 1.0,
    "r_output_loss_weight": {"float": [0.1, 10.0], "log": True},
    "learning_rate": {"float": [3e-4, 1e-2], "log": True},
    "batch_size": {"choice": [32, 64, 128]},
    "optimizer": "adam",
}
REFERENCE_CONFIG = {
    "conv1_filters": 64,
    "conv2_filters": 64,
    "kernel_size": 3,
    "pool_size": 3,
    "dropout": 0.0,
    "batch_norm": False,
    "c_output_units": 256,
    "r_output_units": 512,
    "c_output_loss_weight": 1.0,
    "r_output_loss_weight": 1.0,
    "learning_rate": 0.001,
    "batch_size": 32,
    "optimizer": "adam",
}
BASELINES = {"c_output": 2.302, "r_output": 0.0291}
SECONDS = {
    "start": 0.5,
    "open": 0.02,
    "build": 0.1,
    "trace": 0.4,
    "train": 1.0,
    "validate": 0.1,
    "save": 0.05,
}
RUN = {
    "wall_seconds": 24.0,
    "slots": 2,
    "startup_seconds": 9.0,
    "idle_seconds": 1.0,
    "trials": 6,
}


@dataclass(frozen=True)
class Script:
    """How one trial goes."""

    state: str
    losses: tuple[tuple[float, float], ...]
    """By epoch: c_output, r_output."""
    reason: str = ""
    config: Mapping[str, Any] | None = None


TRIALS = (
    Script("complete", ((1.2, 0.011), (0.8, 0.0071), (0.5034, 0.00512))),
    Script("complete", ((1.0, 0.012), (0.6, 0.0065), (0.3121, 0.00402))),
    Script("stopped", ((1.9, 0.021),)),
    Script("failed", ((0.1, 0.0001),), "val_c_output_loss became NaN in epoch 2"),
    Script("complete", ((0.9, 0.008), (0.55, 0.0041), (0.402, 0.00312))),
    Script("stopped", ((1.1, 0.009), (0.81, 0.0072))),
)


def make_study(storage: Path, **changes: Any) -> Study:
    fields = {
        "name": "digits",
        "data": "digits.parquet",
        "heads": {"c_output": {"kind": "classification"}, "r_output": {"kind": "box"}},
        "space": SPACE,
        "budget": {"trials": len(TRIALS), "epochs": 3},
        "storage": str(storage),
    }
    return Study(**{**fields, **changes})


def make_prepared(study: Study, test_rows: int = 500) -> Prepared:
    units = {"c_output": 10, "r_output": 4}
    return Prepared(
        data=DataInfo(
            fingerprint="f" * 64,
            image_shape=(32, 32, 1),
            heads=tuple(head.resolve(units[head.name]) for head in study.heads),
            rows={"train": 4000, "validation": 500, "test": test_rows},
            baselines=BASELINES,
        ),
        space=SearchSpace.from_mapping(study.space.to_mapping()),
        precision="float32",
    )


def config_of(number: int) -> dict[str, Any]:
    return {
        **REFERENCE_CONFIG,
        "conv1_filters": 8 * 2 ** (number % 4),
        "conv2_filters": 32,
        "pool_size": 2,
        "c_output_units": 40 + 17 * number,
        "learning_rate": 0.0007 * (number + 1),
        "r_output_loss_weight": 0.5 + 1.2345 * number,
        "batch_size": 64,
    }


def measurement(number: int, epoch: int, losses: tuple[float, float]) -> Measurement:
    is_first = epoch == 1
    seconds = {k: s for k, s in SECONDS.items() if is_first or k in {"train", "validate", "save"}}
    return Measurement(
        number=number,
        attempt=1,
        epoch=epoch,
        generation=1,
        losses=dict(zip(("c_output", "r_output"), losses, strict=True)),
        metrics={
            "val_c_output_accuracy": 1 - losses[0] / 4,
            "val_c_output_balanced_accuracy": 1 - losses[0] / 4,
            "val_r_output_iou": 1 - losses[1] * 50,
        },
        loss=sum(losses),
        seconds=seconds,
        checkpoint=f"checkpoints/{number:06d}/000001-001-{epoch:04d}",
        checkpoint_sha256=f"{number * 1000 + epoch:064x}",
    )


def record_trial(log: StudyLog, store: Store, number: int, script: Script) -> None:
    is_reference = number == 0
    log.record(
        Asked(
            number=number,
            config=REFERENCE_CONFIG if is_reference else dict(script.config or config_of(number)),
            origin="reference" if is_reference else "sampler",
            is_reference=is_reference,
        )
    )
    for epoch, losses in enumerate(script.losses, start=1):
        write(store, measurement(number, epoch, losses))
    if script.state == "stopped":
        log.record(Stopped(number=number, epoch=len(script.losses)))
    if script.state != "running":
        log.record(Ended(number=number, state=script.state, reason=script.reason))  # type: ignore[arg-type]


def write_study(
    storage: Path,
    trials: tuple[Script, ...] = TRIALS,
    *,
    tested: tuple[int, ...] = (0, 4),
    closed: str = "done",
    test_rows: int = 500,
    **changes: Any,
) -> Study:
    """Write the study into the storage as a run leaves it."""
    study = make_study(storage, **changes)
    store = Store(study.folder)
    with claim(store) as ownership:
        StudyLog.create(store, study.to_dict())
        log = StudyLog.open_for_writing(store, ownership, budget=asdict(study.budget))
        log.put_prepared(make_prepared(study, test_rows).to_dict())
        for number, script in enumerate(trials):
            record_trial(log, store, number, script)
        log.fold()
        for number in tested:
            log.record(
                Tested(
                    number=number,
                    epoch=len(trials[number].losses),
                    losses={"c_output": 0.43 + number / 100, "r_output": 0.0035},
                    metrics={"c_output_accuracy": 0.91, "r_output_iou": 0.801},
                )
            )
        if closed:
            log.record(Closed(reason=closed))
    _write_run(store, 1, RUN)
    return study
