"""Makes the golden studies and answers: ``python -m tests.golden.make FOLDER [answers]``.

FOLDER is where the runs take place. Names of hosts and paths are made neutral in what is kept.
"""

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

from tests.golden import files, histories
from tests.golden.files import ANSWERS, OUTPUTS, STUDIES, edit
from tests.support.stub_study import ROOT, SPACE

LATE = (0.001, 0.002)
FAULTS = {str(rate): {"kind": "late", "at": 3} for rate in LATE}
RATES = (0.0003, *LATE, 0.004, 0.02, 0.05)
CONTINUED = {
    "space": {
        "batch_size": 4,
        "conv1_filters": {"choice": [4, 8, 16]},
        "learning_rate": {"choice": list(RATES)},
        "pool_size": 2,
    },
    "budget": {"trials": 17, "epochs": 6},
    "sampler": "ehvi",
    "scheduler": "pareto_asha",
    "seed": 0,
    "start_with": [{"conv1_filters": 8, "learning_rate": LATE[1]}],
}
WEIGHTS = {"c_output_loss_weight": 1.0, "r_output_loss_weight": 2.5}
DIGITS = """
name: digits
data: digits.parquet
heads:
  c_output: {kind: classification}
  r_output: {kind: box}
space:
  conv1_filters: {choice: [4, 8]}
  conv2_filters: {int: [4, 16], log: true}
  pool_size: 2
  c_output_units: {choice: [8, 16]}
  r_output_units: 8
  learning_rate: {float: [0.0001, 0.1], log: true}
  batch_size: 16
budget: {trials: 9, epochs: 6}
resources: {concurrent: 1}
"""
OWN = """
name: own
data: rectangles.parquet
model: own_models:build
heads:
  c: {kind: classification}
  b: {kind: box, format: xywh, scale: pixel, loss: giou, activation: linear}
  n: {kind: regression, loss: huber}
objective: [c, b]
space:
  filters: {choice: [4, 6]}
  norm: {choice: [true, false]}
  learning_rate: {float: [0.001, 0.1], log: true}
  batch_size: 16
start_with: [{filters: 6, norm: false}]
budget: {trials: 5, epochs: 2}
sampler: nsga2
scheduler: fifo
resources: {cpu: auto, concurrent: 1}
"""
MODELS = """
import keras


def build(*, image_shape, heads, filters: int, width=8, norm=True):
    images = keras.Input(image_shape)
    x = keras.layers.Rescaling(1 / 255)(images)
    x = keras.layers.Conv2D(filters, 3, activation="relu")(x)
    x = keras.layers.BatchNormalization()(x) if norm else x
    x = keras.layers.Dense(width)(keras.layers.Flatten()(x))
    return keras.Model(images, {head.name: output(head)(x) for head in heads})


def output(head):
    return keras.layers.Dense(head.units, activation=head.activation, name=head.name)
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("what", nargs="?", choices=["all", "answers"], default="all")
    args = parser.parse_args()
    if args.what == "all":
        make_studies(args.folder.absolute())
    make_answers(args.folder.absolute() / "read")


def make_studies(folder: Path) -> None:
    shutil.rmtree(STUDIES, ignore_errors=True)
    storage = folder / "stub"
    shutil.rmtree(folder, ignore_errors=True)
    storage.mkdir(parents=True)
    make_stub_studies(storage)
    make_keras_studies(folder)


def make_stub_studies(storage: Path) -> None:
    fault(storage, FAULTS)
    drive(storage, CONTINUED, "--after", "attempted:1", dies=True)
    keep(storage / "stub", "interrupted")
    shutil.copy(storage / "data.parquet", STUDIES / "interrupted.parquet")
    drive(storage, CONTINUED)
    keep(storage / "stub", "resumed")
    drive(storage, CONTINUED, "--confirm", json.dumps({"seeds": 2, "top": 3}))
    keep(storage / "stub", "confirmed")
    warm = {
        "name": "warm",
        "warm_start": [str(storage / "stub")],
        "reference": True,
        "start_with": [{"conv1_filters": 16, "learning_rate": 0.003}],
        "space": {**SPACE, "conv1_filters": {"choice": [8, 16]}},
        "budget": {"trials": 4, "epochs": 4},
        "sampler": "tpe",
        "seed": 5,
    }
    drive(storage, warm)
    drive(storage, {**warm, "budget": {"trials": 9, "epochs": 4}})
    keep(storage / "warm", "warm")
    drive(storage, {"name": "opened"}, "--after", "opened:1", dies=True)
    keep(storage / "opened", "opened")
    configs = [{"learning_rate": rate, "conv1_filters": 8} for rate in (0.01, 0.02, 0.03, 0.04)]
    odd = {
        "name": "odd",
        "objective": "total",
        "space": {**SPACE, **WEIGHTS},
        "start_with": configs,
        "scheduler": "fifo",
        "budget": {"trials": 6, "epochs": 4, "hours": 5},
        "resources": {"concurrent": 2},
    }
    kinds = [
        {"kind": "nan", "at": 2, "head": 1},
        {"kind": "inf", "at": 1},
        {"kind": "raise", "at": 3},
        {"kind": "os_exit", "at": 2},
    ]
    fault(storage, {str(one["learning_rate"]): k for one, k in zip(configs, kinds, strict=True)})
    drive(storage, odd)
    keep(storage / "odd", "odd")
    make_numbers()


def make_numbers() -> None:
    """Write counts and figures as the other kind of number, as readers take or refuse it."""
    edit(STUDIES / "odd", "lease/000001-*.json", '"counter":(\\d+)', '"counter":\\1.0')
    edit(STUDIES / "odd", "study.json", '"hours":5', '"hours":5.0')
    edit(STUDIES / "odd", "trials/000004.json", '"open":[-.e\\d]+', '"open":1')
    edit(STUDIES / "odd", "trials/000004.json", '"loss":[-.e\\d]+', '"loss":2')
    edit(STUDIES / "odd", "log/*.json", '"conv1_filters":8,', '"conv1_filters":8.0,')
    refused = shutil.copytree(STUDIES / "odd", STUDIES / "refused")
    edit(refused, "trials/000004.json", '"attempt":1,', '"attempt":1.0,')


def make_keras_studies(folder: Path) -> None:
    from tests.support.image_sets import rectangles, save, splits

    (folder / "digits.yaml").write_text(DIGITS)
    (folder / "own.yaml").write_text(OWN)
    (folder / "own_models.py").write_text(MODELS)
    seen = rectangles(48, height=20, width=31, channels=3)
    columns = {"c": seen.classes, "b": seen.xywh, "n": seen.fractions[:, 0], "split": splits(48)}
    save(folder / "rectangles.parquet", image=seen.encoded, **columns)
    command(folder, "data", "digits", "digits.parquet", "--num", "300", "--image-size", "16")
    command(folder, "run", "digits.yaml")
    command(folder, "confirm", "digits")
    keep(folder / "studies" / "digits", "digits")
    command(folder, "run", "own.yaml")
    keep(folder / "studies" / "own", "own")


def fault(storage: Path, faults: dict[str, Any]) -> None:
    (storage / "faults.json").write_text(json.dumps(faults))


def drive(storage: Path, study: dict[str, Any], *options: str, dies: bool = False) -> None:
    from tests.support.driven_study import Driver

    driver = Driver(storage, study, *options)
    assert (driver.wait() == 0) is not dies, (driver.out, driver.err)


def command(folder: Path, *argv: str) -> None:
    environment = {**os.environ, "PYTHONPATH": ROOT}
    arguments = [sys.executable, "-m", "search.cli.main", *argv]
    subprocess.run(arguments, cwd=folder, env=environment, check=True)


def keep(folder: Path, name: str) -> None:
    """Copy a study's folder in its neutral form, without the arrays of checkpoints."""
    kept = STUDIES / name
    shutil.copytree(folder, kept)
    for path in [*kept.glob("**/checkpoints")] if name != "interrupted" else []:
        shutil.rmtree(path)
    texts = {
        str(folder.parent): "/golden/studies",
        str(folder.parent.parent): "/golden",
        ROOT: "/golden/code",
        json.dumps(socket.gethostname()): '"golden"',
        Path("/proc/sys/kernel/random/boot_id").read_text().strip(): str(uuid.UUID(int=0)),
    }
    files.replace(kept, texts)


def make_answers(folder: Path) -> None:
    """Write down what the code at hand answers about the folders and histories."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(OUTPUTS, ignore_errors=True)
    with files.unpacked(folder):
        for name, argv in files.QUESTIONS.items():
            path = OUTPUTS / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files.answer(argv, folder))
    histories.make()
    recorded = json.loads((ANSWERS / "histories.json").read_text())
    files.write_json(ANSWERS / "suggestions.json", histories.suggestions(recorded))
    files.write_json(ANSWERS / "decisions.json", histories.decisions())


if __name__ == "__main__":
    main()
