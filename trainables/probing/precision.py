"""Which precision trains a config better on this machine.

Whether bfloat16 is worth it differs between machines: tensor cores, AMX tiles and AVX-512's
bfloat16 dot products make it up to twice as fast, and where there is none of them it is emulated
and slower. So a short training in each precision is timed and compared.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.data.dataset import Dataset, Split
from trainables.data.labels import Labels
from trainables.model.user_modules import add_import_folder
from trainables.spec.heads import HeadSpec
from trainables.spec.settings import StudySettings
from trainables.spec.trial import TrialSpec
from trainables.training.run import EpochResult

LEAST_GAIN = 1.1
"""What bfloat16 has to be faster by: the time of one and the same epoch varies by less."""
NOISE = 0.1
"""Relative difference of a loss that counts as noise, however little two seeds differ."""
EPOCHS = 4
STEPS = 8
FEW_STEPS = 2
MOST_BYTES = 2**24
"""Of images to train on: where an image is large, so is the time of a step."""


def fast_precision(config: Mapping[str, Any], settings: StudySettings, cpu: int) -> str:
    """Return ``bfloat16`` where it trains this config clearly faster than float32, and as well.

    Well is: no head's validation loss differs more than another seed's does, or by a tenth.
    Takes some seconds, more where images are large; ``cpu`` are the threads of a trial.
    """
    from trainables.model.backend import configure_process
    from trainables.training.keras_run import KerasRun

    configure_process(num_threads=cpu)
    add_import_folder(settings.module_folder)
    spec = settings.trial_spec(config, is_reference=False)
    batch = spec.batch_size * math.prod(spec.model.image_shape)
    num_rows = spec.batch_size * min(max(MOST_BYTES // batch, FEW_STEPS), STEPS)
    data = blocks(spec, {"train": num_rows, "validation": num_rows})

    def run(precision: str, seed: int = 0) -> Any:
        return KerasRun(spec=spec, dataset=data, seed=seed, precision=precision)

    seconds: list[tuple[float, float]] = []
    exact, brief, other = run("float32"), run("bfloat16"), run("float32", seed=1)
    for _ in range(EPOCHS):
        wanted, found = exact.run_epoch(), brief.run_epoch()
        seconds.append((_spent(wanted), _spent(found)))
        others = other.run_epoch()
    is_faster = min(a for a, _ in seconds) >= LEAST_GAIN * min(b for _, b in seconds)
    is_as_good = _are_within_noise(wanted.losses, found.losses, others.losses)
    return "bfloat16" if is_faster and is_as_good else "float32"


def _spent(epoch: EpochResult) -> float:
    # Not what it takes to hand one graph's variables from run to run.
    return epoch.seconds["train"] + epoch.seconds["validate"]


def _are_within_noise(
    wanted: Mapping[str, float], found: Mapping[str, float], others: Mapping[str, float]
) -> bool:
    """Tell whether losses are as those wanted, but for noise."""

    def is_within(head: str) -> bool:
        noise = max(NOISE * abs(wanted[head]), abs(others[head] - wanted[head]))
        return math.isfinite(found[head]) and abs(found[head] - wanted[head]) <= noise

    return all(map(is_within, wanted))


def blocks(spec: TrialSpec, rows: Mapping[str, int]) -> Dataset:
    """Return a data set of the study's form that can be learnt, of so many rows by split.

    Each image has a bright block, and the labels follow from where it lies.
    """
    splits = tuple(_blocks(spec, name, num) for name, num in rows.items())
    return Dataset(fingerprint="blocks", splits=splits)


def _blocks(spec: TrialSpec, name: str, num: int) -> Split:
    rng = np.random.default_rng(len(name))
    height, width, _ = shape = spec.model.image_shape
    images = rng.integers(0, 64, (num, *shape), np.uint8)
    corners = rng.random((num, 2), np.float32) * 0.75
    for image, (y, x) in zip(images, corners * (height, width), strict=True):
        image[int(y) : int(y) + -(-height // 4), int(x) : int(x) + -(-width // 4)] |= 192
    labels = {head.name: _labels(head, corners) for head in spec.heads}
    return Split(name=name, images=images, labels=labels)


def _labels(head: HeadSpec, corners: NDArray[np.float32]) -> Labels:
    if head.kind == "classification":
        rows, columns = (corners / 0.75 * 4).astype(np.int32).clip(0, 3).T
        classes: NDArray[np.int32] = (4 * rows + columns) % head.units
        return classes
    whole = np.concatenate([corners, corners + np.float32(0.25)], axis=1)
    return np.tile(whole, -(-head.units // 4))[:, : head.units]
