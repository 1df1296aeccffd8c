"""The shares that were measured for a study's trials: kept with it, so that they stay the same."""

from collections.abc import Mapping
from math import ceil
from typing import Annotated, Any

import numpy as np
from msgspec import Meta, Struct, field, to_builtins

from search.study.settings import GPU_FRACTIONS, Resources
from search.study.study import Study
from search.text import count, gibibytes
from trainables.errors import InputError
from trainables.spec.footprint import Footprint
from trainables.storage.sealed_json import DamagedRecord, convert
from trainables.storage.store import Store
from trainables.storage.study_folder import StudyFolder

CLASSES = (*sorted(GPU_FRACTIONS), 1.0)
"""Shares of one GPU, the smallest first."""
MARGIN = 0.1
"""By how much a training may need more than a few of its steps took: memory in pieces, other
steps, other ways to compute the same. The same training took 4 % more another time."""
GUESSED = 0.25
"""The same of a training that was not measured itself. Of 100 random configs of the default
space (128x128 pixels, CPU) one took 1.13 times what the measured ones told
(``tests.benchmarks.probe_classes``)."""
GPU_RESERVE = 0.04
"""The part of a GPU that is nobody's: what its driver keeps, and what displays take."""
_Bytes = Annotated[int, Meta(ge=0)]


class Peak(Struct, frozen=True, kw_only=True, array_like=True):
    """What one training took at most."""

    weights: _Bytes
    activations: _Bytes
    num_bytes: Annotated[int, Meta(ge=1)]

    @property
    def size(self) -> Footprint:
        """What was trained."""
        return Footprint(weights=self.weights, activations=self.activations)


class Peaks(Struct, frozen=True, kw_only=True):
    """What some trainings of a study took, among them its largest; the others lie between."""

    measured: Annotated[tuple[Peak, ...], Meta(min_length=1)]
    beside_bytes: _Bytes = 0
    """What a process takes besides, whatever it trains: a GPU's own libraries, and what is kept
    of earlier trials."""

    @property
    def largest_bytes(self) -> int:
        """The most that one was seen to take."""
        return max(peak.num_bytes for peak in self.measured)

    @property
    def most_bytes(self) -> int:
        """What any training of the study may need."""
        return ceil(self.largest_bytes * (1 + MARGIN)) + self.beside_bytes

    def needed(self, size: Footprint) -> int:
        """Return what a training of this footprint may need, in bytes.

        The memory is taken to be so much for every process, and so much for each byte of weights
        and of activations, as fits best to what was measured; where nothing fits, to be as much
        as the largest took.
        """
        base, *rates = self._rates()
        fitted = base + rates[0] * size.weights + rates[1] * size.activations
        if not size.total or fitted <= 0:
            return self.most_bytes
        least = min(peak.num_bytes for peak in self.measured)
        return min(self.most_bytes, ceil(max(fitted, least) * (1 + GUESSED)) + self.beside_bytes)

    def _rates(self) -> tuple[float, float, float]:
        """Return the bytes of every process, by byte of weights, and by byte of activations."""
        sizes = np.array([peak.size for peak in self.measured], dtype=float)
        taken = np.array([peak.num_bytes for peak in self.measured], dtype=float)
        both = np.column_stack([np.ones(len(sizes)), sizes])
        together = np.column_stack([np.ones(len(sizes)), sizes.sum(axis=1)])
        for columns in (both, together):
            # Relative errors count, and each column alike.
            scale = columns.max(axis=0).clip(1)
            found = np.linalg.lstsq(columns / scale / taken[:, None], np.ones(len(taken)))
            rates = found[0] / scale
            if found[2] == columns.shape[1] and (rates >= 0).all():
                return float(rates[0]), float(rates[1]), float(rates[-1])
        return 0.0, 0.0, 0.0


class MeasuredShares(Struct, frozen=True, kw_only=True):
    """What each trial of a study gets where it says ``auto``, and what that follows from."""

    cpu: Annotated[int, Meta(ge=1)]
    gpu: int | float
    gpu_bytes: _Bytes = 0
    """Memory of the smallest GPU that trials may be placed on; 0 if it was not asked."""
    outside_bytes: _Bytes = 0
    """What a process takes of a GPU besides TensorFlow's own part."""
    peaks: Peaks | None = None
    """None if memory was not measured."""
    speeds: Mapping[int, float] = field(default_factory=dict)
    """By threads of a trial: images trained in a second on a node full of trials."""

    def lines(self, resources: Resources) -> list[str]:
        """Say what each trial gets, a line for each share that was left to be measured."""
        told = []
        if resources.gpu == "auto" and self.peaks is not None and self.gpu:
            each = round(1 / self.gpu)
            told.append(
                f"a trial needs at most {gibibytes(self.peaks.most_bytes)}: "
                f"{share_words(self.gpu)} each, {each} on a GPU of {gibibytes(self.gpu_bytes)}"
            )
        elif resources.gpu == "auto":
            told.append("no node has a GPU, and none that may come: trials train on the CPU")
        if resources.cpu == "auto" and self.speeds:
            speeds = ", ".join(f"{n}: {speed:.0f}" for n, speed in sorted(self.speeds.items()))
            told.append(
                f"{count(self.cpu, 'thread')} for each trial (images a second on a full node, "
                f"by threads of a trial: {speeds})"
            )
        elif resources.cpu == "auto":
            told.append(f"{count(self.cpu, 'thread')} for each trial: the CPUs beside its GPU")
        return told

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        values: dict[str, Any] = to_builtins(self, str_keys=True)
        return values


def read_shares(store: Store) -> MeasuredShares | None:
    """Return what was measured for a study; None if nothing was."""
    body = StudyFolder.of(store).read("shares")
    try:
        return None if body is None else convert(body, MeasuredShares)
    except InputError as error:
        raise DamagedRecord(f"{store.uri}/shares.json is no record of shares: {error}") from error


def write_shares(store: Store, shares: MeasuredShares) -> None:
    """Keep what was measured for a study; only by its owner. Raises `StorageError`."""
    StudyFolder.of(store).write("shares", shares.to_dict())


def threads_of(study: Study) -> int:
    """Return the threads with which a study's trials were trained; 1 if that is not known yet."""
    if study.resources.cpu != "auto":
        return int(study.resources.cpu)
    known = read_shares(StudyFolder(study.folder))
    return 1 if known is None else known.cpu


def usable_bytes(gpu_bytes: int) -> int:
    """Return the part of a GPU's memory that is divided among trials."""
    return int(gpu_bytes * (1 - GPU_RESERVE))


def class_for(num_bytes: int, gpu_bytes: int) -> float | None:
    """Return the smallest share of a GPU that has room for so much; None if not even all of it."""
    usable = usable_bytes(gpu_bytes)
    return next((share for share in CLASSES if num_bytes <= share * usable), None)


def larger_class(share: float) -> float | None:
    """Return the next larger share of a GPU; None if there is none, or no GPU at all."""
    return next((one for one in CLASSES if 0 < share < one), None)


def check_fits(name: str, num_bytes: int, gpu_bytes: int) -> None:
    """Refuse a training, with its name, that not even a whole GPU has room for."""
    usable = gibibytes(usable_bytes(gpu_bytes))
    if class_for(num_bytes, gpu_bytes) is None:
        raise InputError(
            f"resources.gpu 'auto' needs a GPU with room for every trial, but {name} takes up to "
            f"{gibibytes(num_bytes)}, and there are GPUs with {usable} for trials: make its model "
            "or its batch smaller, or use larger GPUs"
        )


def share_words(share: float) -> str:
    """Return a share of a GPU for people."""
    return {0.25: "a quarter of a GPU", 0.5: "half a GPU", 1: "a whole GPU"}.get(
        share, f"{share:g} GPUs"
    )
