"""What one head is: kind, units, loss, activation; as declared and as resolved."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from trainables.errors import InputError
from trainables.spec.plain_values import make_plain
from trainables.spec.rules import Rule, one_of

HeadKind = Literal["classification", "regression", "box"]

KINDS: tuple[HeadKind, ...] = ("classification", "regression", "box")
SMALLEST_UNITS = {"classification": 2, "regression": 1, "box": 4}
LOSSES = {
    "classification": ("cross_entropy", "binary_cross_entropy"),
    "regression": ("mse", "huber"),
    "box": ("mse", "huber", "giou", "ciou"),
}
"""Training losses by kind, the default first."""
ACTIVATIONS = {
    "classification": ("softmax",),
    "regression": ("linear",),
    "box": ("sigmoid", "linear"),
}
BOX_FORMATS = ("yxyx", "xyxy", "xywh", "cxcywh")
BOX_SCALES = ("fraction", "pixel")
BOX_FORM = {"format": one_of(BOX_FORMATS, "format"), "scale": one_of(BOX_SCALES, "scale")}
"""The rules of how the label of a box is written."""

_NAME = Rule(
    "a Python identifier",
    lambda name: isinstance(name, str) and name.isidentifier() and not name.startswith("_"),
)


def _units_rule(kind: HeadKind) -> Rule:
    smallest = SMALLEST_UNITS[kind]
    return Rule(
        "units = 4" if kind == "box" else f"units >= {smallest}",
        lambda units: (
            type(units) is int and (units == smallest if kind == "box" else units >= smallest)
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadSpec:
    """One named output of the model and how its error is measured."""

    name: str
    """Output layer, label column, loss key and log prefix: ``val_<name>_loss`` is its loss."""

    kind: HeadKind
    """What the labels are: class ids ``0 .. units - 1``, real numbers, or one box
    ``[y_min, x_min, y_max, x_max]`` as fractions of the image."""

    units: int
    """Width of the output: number of classes (>= 2), of targets (>= 1), or 4."""

    loss: str = ""
    """The loss it is trained with, one of ``LOSSES[kind]``; empty: the first of them."""

    activation: str = ""
    """Of the output layer, one of ``ACTIVATIONS[kind]``; empty: the first of them."""

    classes: tuple[str, ...] = ()
    """The class labels in the order of their ids, where the labels are strings."""

    def __post_init__(self) -> None:
        """Fill the defaults of the kind and check every field."""
        if not _NAME.test(self.name):
            raise InputError(f"head name must be a Python identifier, got {self.name!r}")
        who = f"head {self.name!r}"
        one_of(KINDS, "kind")(self.kind, what=who)
        _units_rule(self.kind)(self.units, what=f"{who} ({self.kind})")
        for name, allowed in (("loss", LOSSES[self.kind]), ("activation", ACTIVATIONS[self.kind])):
            object.__setattr__(self, name, getattr(self, name) or allowed[0])
            one_of(allowed, name)(getattr(self, name), what=who)
        object.__setattr__(self, "classes", tuple(self.classes))
        if self.classes and len(self.classes) != self.units:
            raise InputError(f"{who} needs {self.units} class labels, got {len(self.classes)}")

    @property
    def recorded_loss(self) -> str:
        """The loss that is recorded and ranked: a property of the study, not of training."""
        if self.kind == "box":
            return self.loss
        return "cross_entropy" if self.kind == "classification" else "mse"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredHead:
    """A head as the user declares it, before the data told its number of units.

    As `HeadSpec`; what is absent is found in the data, or is the default of the kind.
    """

    name: str
    kind: HeadKind
    units: int | None = None
    loss: str | None = None
    activation: str | None = None

    format: str = "yxyx"
    """The order of a box label's four numbers, one of ``BOX_FORMATS``; boxes only."""

    scale: str = "fraction"
    """What a box label counts: fractions of the image or its pixels; boxes only."""

    def __post_init__(self) -> None:
        """Check what can be checked without the data."""
        make_plain(self)
        self.resolve(SMALLEST_UNITS.get(self.kind, 1) if self.units is None else self.units)
        who = f"head {self.name!r}"
        for name, rule in BOX_FORM.items():
            rule(getattr(self, name), what=who)
        if self.kind != "box" and (self.format, self.scale) != ("yxyx", "fraction"):
            raise InputError(
                f"{who} ({self.kind}) takes no 'format' or 'scale': only boxes have them, "
                f"got format={self.format!r}, scale={self.scale!r}"
            )

    def resolve(self, units: int, classes: Sequence[str] = ()) -> HeadSpec:
        """Return the head with the units (and class labels) that the data showed."""
        return HeadSpec(
            name=self.name,
            kind=self.kind,
            units=units,
            loss=self.loss or "",
            activation=self.activation or "",
            classes=tuple(classes),
        )
