"""What one epoch of one trial gave, as its actor writes it into the study's folder."""

import re
from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import Meta, Struct
from msgspec.structs import asdict

from trainables.errors import InputError, StorageError
from trainables.storage.sealed_json import (
    DamagedRecord,
    convert,
    floats_of,
    names_of,
    seal,
    unseal,
)
from trainables.storage.store import Store
from trainables.storage.study_folder import StudyFolder

FOLDER = StudyFolder.EPOCHS
"""Where actors write, relative to the study's folder."""

_NAME = re.compile(rf"{FOLDER}/(\d{{6,}})-(\d{{6,}})-(\d{{3,}})-(\d{{4,}})\.json")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_Count = Annotated[int, Meta(ge=1)]


class Measurement(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that is known of one trial after one epoch; immutable once written.

    Floats may be NaN or infinite. Types and ranges are checked where it is written and read.
    """

    number: Annotated[int, Meta(ge=0)]
    """The trial, from 0."""

    attempt: _Count
    """Which try to train the trial, from 1."""

    epoch: _Count
    """Epochs trained so far, from 1."""

    generation: _Count
    """The generation of the study's owner that started the attempt, from 1."""

    losses: Annotated[Mapping[str, float], Meta(min_length=1)]
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
        """Check what the types cannot say of a checkpoint."""
        if self.checkpoint is None and self.checkpoint_sha256 is None:
            return
        folder = self.checkpoint
        if any(part in {"", ".", ".."} for part in (folder or "").split("/")):
            raise InputError(
                f"measurement's checkpoint needs a folder of the study, got {folder!r}"
            )
        digest = self.checkpoint_sha256
        if digest is None or not _SHA256.fullmatch(digest):
            raise InputError(
                f"measurement's checkpoint_sha256 needs 64 hexadecimal digits, got {digest!r}"
            )

    @property
    def weights(self) -> tuple[str, str]:
        """The folder and the hash of its checkpoint, of one that has it."""
        assert self.checkpoint is not None, f"{self.path} has no checkpoint"
        assert self.checkpoint_sha256 is not None, "as the checkpoint has one"
        return self.checkpoint, self.checkpoint_sha256

    @property
    def path(self) -> str:
        """The object's name in the study's folder; no two measurements share one."""
        return path_of(self.generation, self.number, self.attempt, self.epoch)

    def to_json(self) -> bytes:
        """Return the measurement as a sealed object; `InputError` if it could not be read."""
        body = self.to_dict()
        _convert(body)
        return seal("measurement", body)

    def to_dict(self) -> dict[str, Any]:
        """Return the measurement as plain JSON values."""
        return {
            **asdict(self),
            "losses": names_of(self.losses),
            "metrics": names_of(self.metrics),
            "seconds": names_of(self.seconds),
            **names_of({"loss": self.loss}),
        }

    @classmethod
    def from_json(cls, data: bytes, *, where: str = "measurement") -> "Measurement":
        """Read what `to_json` gave."""
        return cls.from_dict(unseal("measurement", data, where), where=where)

    @classmethod
    def from_dict(cls, body: Any, *, where: str = "measurement") -> "Measurement":
        """Read what `to_dict` gave; `DamagedRecord` if a field is not what it should be."""
        try:
            return _convert(body)
        except InputError as error:
            raise DamagedRecord(f"{where} is not a measurement: {error}") from error


def _convert(body: Any) -> Measurement:
    if isinstance(body, dict):
        floats = {name: floats_of(body.get(name)) for name in ("losses", "metrics", "seconds")}
        body = {**body, **floats, **floats_of({"loss": body.get("loss")})}
    return convert(body, Measurement)


def write(store: Store, measurement: Measurement) -> None:
    """Write a measurement into the study's folder; durable on return.

    Writing the same again changes nothing; another one in its place is a `StorageError`.
    """
    data = measurement.to_json()
    if not store.put_new(measurement.path, data) and store.get(measurement.path) != data:
        raise StorageError(
            f"{measurement.path} holds another measurement of the same attempt and epoch; "
            "an attempt needs to measure each epoch once"
        )


def read(store: Store, path: str) -> Measurement:
    """Read the measurement of a name; `DamagedRecord` if it does not belong there."""
    measurement = Measurement.from_json(store.get(path), where=path)
    if measurement.path != path:
        raise DamagedRecord(f"{path} holds the measurement of {measurement.path}; remove it")
    return measurement


def path_of(generation: int, number: int, attempt: int, epoch: int) -> str:
    """Return the name of the object of one epoch of one attempt."""
    return f"{FOLDER}/{generation:06d}-{number:06d}-{attempt:03d}-{epoch:04d}.json"


def place(path: str) -> tuple[int, int, int, int]:
    """Return (generation, number, attempt, epoch) from an object's name."""
    match = _NAME.fullmatch(path)
    if match is None:
        raise DamagedRecord(f"{path} is no measurement of this study; move it elsewhere")
    generation, number, attempt, epoch = map(int, match.groups())
    return generation, number, attempt, epoch
