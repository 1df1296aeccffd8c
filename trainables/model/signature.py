"""What goes into a model and what comes out: said with every model, kept in every saved file."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike, fspath
from typing import Any

from trainables.data.boxes import FORMAT_FIELDS
from trainables.errors import InputError
from trainables.spec.heads import BOX_FORM, HeadSpec

KEY = "twohead"
"""Where a saved model holds it: in ``config.json``, below ``build_config``."""

FORMAT = 1
CONFIG = "config.json"
LARGEST_CONFIG_BYTES = 64 * 2**20
PREPROCESSING = (
    "pixels as stored (EXIF orientation ignored), transparent parts black, {depth}-bit grey to "
    "its upper 8 bits, resized to height x width by Pillow's antialiased bilinear filter, the "
    "aspect not kept"
)
"""What is done to every image before a model sees it; see ``trainables.model.preprocessing``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxForm:
    """How the labels of a box head write a box.

    Raises:
        InputError: If a field is not one of those there are.
    """

    format: str = "yxyx"
    """One of ``BOX_FORMATS``."""

    scale: str = "fraction"
    """One of ``BOX_SCALES``: fractions of the image, or its pixels."""

    def __post_init__(self) -> None:
        """Check both fields."""
        for name, rule in BOX_FORM.items():
            rule(getattr(self, name), what="box")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSignature:
    """What a model takes and gives, and what its training labels looked like.

    The model itself takes ``(rows, height, width, channels)``, uint8 or float, 0..255, and gives
    a dict by head name: probabilities ``(rows, units)`` in the order of the classes, numbers
    ``(rows, units)`` in the label's own unit, or boxes ``(rows, 4)`` as yxyx fractions.
    """

    image_shape: tuple[int, int, int]
    """Height, width and channels (1 or 3) that the model takes."""

    heads: tuple[HeadSpec, ...]

    box_forms: Mapping[str, BoxForm] = field(default_factory=dict)
    """How the labels of each box head write a box; one that is not named: as `BoxForm` does."""

    depth: int = 16
    """Bits that images of more than 8 bits use: the upper 8 of these are taken."""

    is_made_grey: bool = False
    """Whether colour images become grey, where the model takes grey ones."""

    def box_form(self, head: str) -> BoxForm:
        """Return how the labels of a box head write a box."""
        return self.box_forms.get(head, BoxForm())

    def in_words(self) -> tuple[str, ...]:
        """Return a line on what goes in, and one per head on what comes out.

        Example:
            >>> head = HeadSpec(name="r_output", kind="box", units=4)
            >>> form = BoxForm(format="xyxy", scale="pixel")
            >>> forms = {"r_output": form}
            >>> shape = (64, 64, 3)
            >>> signature = ModelSignature(image_shape=shape, heads=(head,), box_forms=forms)
            >>> for line in signature.in_words():
            ...     print(line)
            takes images (rows, 64, 64, 3) of 0..255, as result.preprocess(...) makes them
            r_output: [y_min, x_min, y_max, x_max] in fractions
                      (result.predict: [x_min, y_min, x_max, y_max] in pixels)
        """
        shape = ", ".join(map(str, self.image_shape))
        taken = f"takes images (rows, {shape}) of 0..255, as result.preprocess(...) makes them"
        return (taken, *(line for head in self.heads for line in self._given(head)))

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON values that also explain themselves."""
        height, width, channels = self.image_shape
        return {
            "format": FORMAT,
            "image": {
                "height": height,
                "width": width,
                "channels": channels,
                "pixels": "0..255, not scaled: the model does that",
                "preprocessing": PREPROCESSING.format(depth=self.depth),
                **({} if self.depth == 16 else {"depth": self.depth}),
                **({"is_made_grey": True} if self.is_made_grey else {}),
            },
            "outputs": {head.name: self._output(head) for head in self.heads},
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ModelSignature":
        """Return what ``to_dict`` was made from.

        Raises:
            InputError: If a field is missing or has another form.
        """
        try:
            if values["format"] != FORMAT:
                raise ValueError(f"format {values['format']!r}, not {FORMAT}")
            height, width, channels = (
                int(values["image"][side]) for side in ("height", "width", "channels")
            )
            outputs = dict(values["outputs"])
            return cls(
                image_shape=(height, width, channels),
                depth=int(values["image"].get("depth", 16)),
                is_made_grey=bool(values["image"].get("is_made_grey", False)),
                heads=tuple(_head(name, one) for name, one in outputs.items()),
                box_forms={
                    name: BoxForm(**one["labels"])
                    for name, one in outputs.items()
                    if one["kind"] == "box"
                },
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise InputError(f"a signature needs what to_dict wrote, got: {error}") from error

    def _output(self, head: HeadSpec) -> dict[str, Any]:
        about: dict[str, Any] = {"kind": head.kind, "units": head.units, "gives": _gives(head)}
        if head.kind == "classification":
            about["classes"] = list(class_labels(head))
        if head.kind == "box":
            form = self.box_form(head.name)
            about["labels"] = {"format": form.format, "scale": form.scale}
        return about

    def _given(self, head: HeadSpec) -> tuple[str, ...]:
        first = f"{head.name}: {_gives(head)}"
        if head.kind == "classification":
            shown = ", ".join(map(str, class_labels(head)[:5]))
            return (f"{first} in this order: {shown}{', ...' if head.units > 5 else ''}",)
        form = self.box_form(head.name)
        if head.kind != "box" or form == BoxForm():
            return (first,)
        declared = f"{FORMAT_FIELDS[form.format]} in {form.scale}s"
        return first, f"{' ' * (len(head.name) + 2)}(result.predict: {declared})"


def class_labels(head: HeadSpec) -> Sequence[int | str]:
    """Return the labels of a head's classes in the order of its outputs: texts, or ids."""
    return head.classes or range(head.units)


def attach_signature(model: Any, signature: ModelSignature) -> None:
    """Have every ``.keras`` file that this Keras model is saved to carry the signature.

    Keras writes a model's ``build_config`` and reads it only for a model that is not built
    (keras 3.15); a functional one is, as soon as it is made of its config. So plain
    ``keras.models.load_model`` needs nothing of this package, and what it loads is the same.
    """
    former = model.get_build_config

    def with_signature() -> dict[str, Any]:
        return {**(former() or {}), KEY: signature.to_dict()}

    model.get_build_config = with_signature


def read_signature(path: str | PathLike[str]) -> ModelSignature:
    """Return the signature that a ``.keras`` file carries; nothing of it is run.

    Raises:
        InputError: If it is no such file, or carries none.
    """
    import zipfile  # takes 3 ms, which `import search` and every command would pay
    import zlib

    if not isinstance(path, str | PathLike):
        raise InputError(f"a saved model needs the path of a .keras file, got {path!r}")
    who = f"saved model {fspath(path)!r}"
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo(CONFIG).file_size > LARGEST_CONFIG_BYTES:
                raise ValueError(f"a config of more than {LARGEST_CONFIG_BYTES} bytes")
            config = json.loads(archive.read(CONFIG))
        values = (config.get("build_config") or {}).get(KEY)
    except (
        *(OSError, EOFError, LookupError, ValueError, AttributeError, RuntimeError),
        *(zipfile.BadZipFile, zlib.error),
    ) as error:  # what such a file raises that is none, or damaged
        raise InputError(f"{who} needs to be a .keras file, got: {error}") from error
    if values is None:
        raise InputError(
            f"{who} needs the signature of a model that StudyResult.model gave, got none; of a "
            "copy of one, load it yourself and give it to Predictor with result.signature"
        )
    return ModelSignature.from_dict(values)


def _gives(head: HeadSpec) -> str:
    if head.kind == "classification":
        return f"probabilities of {head.units} classes"
    if head.kind == "box":
        return f"{FORMAT_FIELDS['yxyx']} in fractions"
    return f"{head.units} number{'s' if head.units > 1 else ''} in the labels' own unit"


def _head(name: str, output: Mapping[str, Any]) -> HeadSpec:
    labels = output.get("classes", ())
    return HeadSpec(
        name=name,
        kind=output["kind"],
        units=int(output["units"]),
        classes=tuple(labels) if all(isinstance(label, str) for label in labels) else (),
    )
