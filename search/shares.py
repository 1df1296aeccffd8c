"""The shares that were measured for a study's trials: kept with it, so that they stay the same."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from search.peaks import Peaks, share_words, usable_bytes
from search.settings import Resources
from search.study import Study
from search.wording import count, gibibytes
from trainables.errors import InputError
from trainables.record import DamagedRecord, as_count, as_float, seal, unseal
from trainables.store import Store

SHARES = "shares.json"
"""Where a study keeps them, relative to its folder; one with fixed shares has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredShares:
    """What each trial of a study gets where it says ``auto``, and what that follows from."""

    cpu: int
    gpu: float
    gpu_bytes: int = 0
    """Memory of the smallest GPU that trials may be placed on; 0 if it was not asked."""
    outside_bytes: int = 0
    """What a process takes of a GPU besides TensorFlow's own part."""
    peaks: Peaks | None = None
    """None if memory was not measured."""
    speeds: Mapping[int, float] = field(default_factory=dict)
    """By threads of a trial: images trained in a second on a node full of trials."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        as_count(self.cpu, "measured shares' cpu", least=1)
        as_float(self.gpu, "measured shares' gpu")
        for name in ("gpu_bytes", "outside_bytes"):
            as_count(getattr(self, name), f"measured shares' {name}")

    @property
    def settings(self) -> dict[str, int]:
        """What a trial's process must know to keep to its share; see `gpu_limit`."""
        usable = usable_bytes(self.gpu_bytes)
        return {"gpu_usable_bytes": usable, "gpu_outside_bytes": self.outside_bytes}

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
        return {
            "cpu": self.cpu,
            "gpu": self.gpu,
            "gpu_bytes": self.gpu_bytes,
            "outside_bytes": self.outside_bytes,
            "peaks": None if self.peaks is None else self.peaks.to_dict(),
            "speeds": {str(threads): speed for threads, speed in self.speeds.items()},
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "MeasuredShares":
        """Return what ``to_dict`` was made from; what it does not know is passed over.

        Raises:
            InputError: If a field is missing or has another form.
        """
        try:
            peaks = values["peaks"]
            return cls(
                cpu=values["cpu"],
                gpu=values["gpu"],
                gpu_bytes=values["gpu_bytes"],
                outside_bytes=values["outside_bytes"],
                peaks=None if peaks is None else Peaks.from_dict(peaks),
                speeds={int(n): as_float(s, "speed") for n, s in values["speeds"].items()},
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise InputError(f"measured shares need the fields of to_dict: {error}") from error


def read_shares(store: Store) -> MeasuredShares | None:
    """Return what was measured for a study; None if nothing was.

    Raises:
        DamagedRecord: If it is not what was written.
        StorageError: If the storage refuses.
    """
    try:
        data = store.get(SHARES)
    except FileNotFoundError:
        return None
    try:
        return MeasuredShares.from_dict(unseal("shares", data, f"{store.uri}/{SHARES}"))
    except InputError as error:
        raise DamagedRecord(f"{store.uri}/{SHARES} is no record of shares: {error}") from error


def write_shares(store: Store, shares: MeasuredShares) -> None:
    """Keep what was measured for a study; only by its owner. Raises `StorageError`."""
    store.put(SHARES, seal("shares", shares.to_dict()))


def threads_of(study: Study) -> int:
    """Return the threads with which a study's trials were trained; 1 if that is not known yet."""
    if study.resources.cpu != "auto":
        return int(study.resources.cpu)
    known = read_shares(Store(study.folder))
    return 1 if known is None else known.cpu
