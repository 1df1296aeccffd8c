"""What one epoch of one trial gave, as its actor writes it into the study's folder."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from trainables.errors import InputError, StorageError
from trainables.storage.sealed import (
    DamagedRecord,
    as_count,
    as_float,
    number_from_json,
    number_to_json,
    seal,
    unseal,
)
from trainables.storage.store import Store

FOLDER = "epochs"
"""Where actors write, relative to the study's folder."""

_NAME = re.compile(rf"{FOLDER}/(\d{{6,}})-(\d{{6,}})-(\d{{3,}})-(\d{{4,}})\.json")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """All that is known of one trial after one epoch; immutable once written.

    Floats may be NaN or infinite. The mappings are copied into plain dicts that keep their
    order; do not change them.

    Raises:
        InputError: If a field is not what its description allows.
    """

    number: int
    """The trial, from 0."""

    attempt: int
    """Which try to train the trial, from 1."""

    epoch: int
    """Epochs trained so far, from 1."""

    generation: int
    """The generation of the study's owner that started the attempt, from 1."""

    losses: Mapping[str, float]
    """The exact unweighted validation loss of each head, by head name; smaller is better."""

    metrics: Mapping[str, float]
    """The heads' own figures, named ``val_<head>_<metric>``."""

    loss: float
    """The weighted training loss, mean over the epoch's samples."""

    seconds: Mapping[str, float]
    """Where the time went: ``build``, ``trace``, ``train``, ``validate``, ``save``."""

    checkpoint: str | None = None
    """The folder of this epoch's weights, relative to the study's; None if none was kept."""

    checkpoint_sha256: str | None = None
    """What `trainables.trial.checkpoint` said the checkpoint's hash is, 64 hexadecimal digits."""

    node: str = ""
    """The name of the machine that trained it; empty in records that do not say it."""

    def __post_init__(self) -> None:
        _set(self, "number", as_count(self.number, "measurement's number"))
        for name in ("attempt", "epoch", "generation"):
            _set(self, name, as_count(getattr(self, name), f"measurement's {name}", least=1))
        for name in ("losses", "metrics", "seconds"):
            _set(self, name, _floats(getattr(self, name), f"measurement's {name}"))
        if not self.losses:
            raise InputError("measurement's losses needs at least one head, got {}")
        _set(self, "loss", as_float(self.loss, "measurement's loss"))
        _check_checkpoint(self.checkpoint, self.checkpoint_sha256)
        if not isinstance(self.node, str):
            raise InputError(f"measurement's node needs text, got {self.node!r}")

    @property
    def path(self) -> str:
        """The object's name in the study's folder; no two measurements share one."""
        return path_of(self.generation, self.number, self.attempt, self.epoch)

    def to_json(self) -> bytes:
        """Return the measurement as a sealed object."""
        return seal("measurement", self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Return the measurement as plain JSON values."""
        body = {field.name: getattr(self, field.name) for field in fields(self)}
        for name in ("losses", "metrics", "seconds"):
            body[name] = {key: number_to_json(value) for key, value in body[name].items()}
        body["loss"] = number_to_json(self.loss)
        return body

    @classmethod
    def from_json(cls, data: bytes, *, where: str = "measurement") -> "Measurement":
        """Read what `to_json` gave."""
        return cls.from_dict(unseal("measurement", data, where), where=where)

    @classmethod
    def from_dict(cls, body: Mapping[str, Any], *, where: str = "measurement") -> "Measurement":
        """Read what `to_dict` gave.

        Raises:
            DamagedRecord: If a field is missing, unknown or not what it should be.
        """
        values = dict(body)
        try:
            for name in ("losses", "metrics", "seconds"):
                given = values[name]
                if str in map(type, given.values()):  # as NaN and infinities are written
                    what = f"measurement's {name}"
                    values[name] = {k: number_from_json(v, what) for k, v in given.items()}
            values["loss"] = number_from_json(values["loss"], "measurement's loss")
            return cls(**values)
        except (TypeError, KeyError, AttributeError, InputError) as error:
            raise DamagedRecord(f"{where} is not a measurement: {error}") from error


def write(store: Store, measurement: Measurement) -> None:
    """Write a measurement into the study's folder; durable on return.

    Args:
        store: The study's folder.
        measurement: What was measured. Writing the same again changes nothing.

    Raises:
        StorageFull: If there is no room.
        StorageError: If the storage refuses, or another measurement has this place.
    """
    data = measurement.to_json()
    if not store.put_new(measurement.path, data) and store.get(measurement.path) != data:
        raise StorageError(
            f"{measurement.path} holds another measurement of the same attempt and epoch; "
            "an attempt needs to measure each epoch once"
        )


def read(store: Store, path: str) -> Measurement:
    """Read the measurement with the given name and check that it belongs there.

    Raises:
        FileNotFoundError: If there is none.
        DamagedRecord: If it is not exactly what was written under this name.
        StorageError: If the storage refuses.
    """
    measurement = Measurement.from_json(store.get(path), where=path)
    if measurement.path != path:
        raise DamagedRecord(f"{path} holds the measurement of {measurement.path}; remove it")
    return measurement


def path_of(generation: int, number: int, attempt: int, epoch: int) -> str:
    """Return the name of the object of one epoch of one attempt."""
    return f"{FOLDER}/{generation:06d}-{number:06d}-{attempt:03d}-{epoch:04d}.json"


def place(path: str) -> tuple[int, int, int, int]:
    """Return (generation, number, attempt, epoch) from an object's name.

    Raises:
        DamagedRecord: If this is not the name of a measurement.
    """
    match = _NAME.fullmatch(path)
    if match is None:
        raise DamagedRecord(f"{path} is no measurement of this study; move it elsewhere")
    generation, number, attempt, epoch = map(int, match.groups())
    return generation, number, attempt, epoch


def _set(measurement: Measurement, name: str, value: object) -> None:
    object.__setattr__(measurement, name, value)


def _floats(values: Any, what: str) -> dict[str, float]:
    if not isinstance(values, Mapping):
        raise InputError(f"{what} needs a mapping of names to numbers, got {values!r}")
    # By far the most frequent, and a study of 10,000 trials reads a million of them.
    if {*map(type, values)} <= {str} and {*map(type, values.values())} <= {float}:
        return dict(values)
    for key in values:
        if not isinstance(key, str):
            raise InputError(f"{what} needs text as names, got {key!r}")
    return {key: as_float(value, f"{what} {key!r}") for key, value in values.items()}


def _check_checkpoint(folder: Any, digest: Any) -> None:
    if folder is None and digest is None:
        return
    parts = folder.split("/") if isinstance(folder, str) else [""]
    if any(part in {"", ".", ".."} for part in parts):
        raise InputError(f"measurement's checkpoint needs a folder of the study, got {folder!r}")
    if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
        raise InputError(
            f"measurement's checkpoint_sha256 needs 64 hexadecimal digits, got {digest!r}"
        )
