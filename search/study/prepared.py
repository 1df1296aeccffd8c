"""A study with everything that was found out about it before its first trial."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from search.space.space import SearchSpace
from search.study.study import Study
from trainables.data.request import DataInfo
from trainables.model.signature import BoxForm, ModelSignature
from trainables.spec.settings import StudySettings
from trainables.storage.sealed_json import convert
from trainables.storage.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A study with everything that was found out about it."""

    data: DataInfo
    space: SearchSpace
    """Complete: one entry for every parameter of the model and of training."""
    precision: str
    """``float32`` or ``bfloat16``, whatever the study left open."""
    reference: Mapping[str, Any] | None = None
    """With a user's own model: the config at which the function is the reference. None: the
    reference is the built-in architecture, as it also was beside a user's own model in records
    that do not say."""
    notes: tuple[str, ...] = ()
    """What a person should know of how it is run."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        values = {
            "data": self.data.to_dict(),
            "space": self.space.to_mapping(),
            "precision": self.precision,
        }
        if self.reference is not None:
            values["reference"] = dict(self.reference)
        return {**values, "notes": list(self.notes)} if self.notes else values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Prepared":
        """Return what ``to_dict`` was made from."""
        return cls(
            data=convert(values["data"], DataInfo),
            space=SearchSpace.from_mapping(values["space"]),
            precision=str(values["precision"]),
            reference=values.get("reference"),
            notes=tuple(map(str, values.get("notes", ()))),
        )


def shared_settings(study: Study, prepared: Prepared) -> StudySettings:
    """Return what it takes to parse a config and build its model."""
    return StudySettings(
        study=Store(study.folder).uri,
        storage=Store(study.storage).uri,
        fingerprint=prepared.data.fingerprint,
        image_shape=prepared.data.image_shape,
        heads=prepared.data.heads,
        model=study.model,
        reference_model=None if prepared.reference is None else study.model,
        module_folder=study.module_folder,
        precision=prepared.precision,
        signature=signature_of(study, prepared.data).to_dict(),
    )


def signature_of(study: Study, data: DataInfo) -> ModelSignature:
    """Return what every model of a study takes and gives, and how its labels are written."""
    boxes = [head for head in study.heads if head.kind == "box"]
    return ModelSignature(
        image_shape=data.image_shape,
        heads=data.heads,
        depth=data.depth,
        is_made_grey=data.is_made_grey,
        box_forms={box.name: BoxForm(format=box.format, scale=box.scale) for box in boxes},
    )
