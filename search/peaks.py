"""How much memory a trial needs, from what was measured, and the class of share that it takes."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np

from search.settings import GPU_FRACTIONS
from search.wording import gibibytes
from trainables.errors import InputError
from trainables.footprint import Footprint
from trainables.record import as_count

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """What one training took at most."""

    size: Footprint
    num_bytes: int

    def __post_init__(self) -> None:
        as_count(self.size.weights, "peak's weights")
        as_count(self.size.activations, "peak's activations")
        as_count(self.num_bytes, "peak's num_bytes", least=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Peaks:
    """What some trainings of a study took, among them its largest; the others lie between."""

    measured: tuple[Peak, ...]
    beside_bytes: int = 0
    """What a process takes besides, whatever it trains: a GPU's own libraries, and what is kept
    of earlier trials."""

    def __post_init__(self) -> None:
        as_count(self.beside_bytes, "peaks' beside_bytes")
        if not self.measured:
            raise InputError("peaks need something measured, got nothing")

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

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        measured = [[*peak.size, peak.num_bytes] for peak in self.measured]
        return {"measured": measured, "beside_bytes": self.beside_bytes}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Peaks":
        """Return what ``to_dict`` was made from; raises what a missing field raises."""
        measured = [
            Peak(size=Footprint(weights=weights, activations=activations), num_bytes=taken)
            for weights, activations, taken in values["measured"]
        ]
        return cls(measured=tuple(measured), beside_bytes=values["beside_bytes"])


def usable_bytes(gpu_bytes: int) -> int:
    """Return the part of a GPU's memory that is divided among trials."""
    return int(gpu_bytes * (1 - GPU_RESERVE))


def class_for(num_bytes: int, gpu_bytes: int) -> float | None:
    """Return the smallest share of a GPU that has room for so much; None if not even all of it.

    Example:
        >>> [class_for(gib * 2**30, 16 * 2**30) for gib in (3, 4, 16)]
        [0.25, 0.5, None]
    """
    usable = usable_bytes(gpu_bytes)
    return next((share for share in CLASSES if num_bytes <= share * usable), None)


def larger_class(share: float) -> float | None:
    """Return the next larger share of a GPU; None if there is none, or no GPU at all."""
    return next((one for one in CLASSES if 0 < share < one), None)


def check_fits(name: str, num_bytes: int, gpu_bytes: int) -> None:
    """Refuse a training that not even a whole GPU has room for.

    Args:
        name: Says which it is.
        num_bytes: What it needs.
        gpu_bytes: Of the smallest GPU that it could be placed on.

    Raises:
        InputError: If it does not fit.
    """
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
