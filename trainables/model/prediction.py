"""What a model says of an image, in the words, units and box form of its training labels."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from trainables.data.boxes import from_yxyx, to_pixels, without_reversal
from trainables.model.signature import BoxForm, ModelSignature, class_labels
from trainables.spec.heads import HeadSpec

Box: TypeAlias = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassPrediction:
    """What a classification head says of one image."""

    labels: tuple[int | str, ...] = field(repr=False)
    """Of all classes, as in the training data, in the order of the model's outputs."""

    values: tuple[float, ...] = field(repr=False)
    """The probability of each."""

    @property
    def id(self) -> int:
        """The place of the most probable class among the model's outputs, from 0."""
        return self.values.index(max(self.values))

    @property
    def label(self) -> int | str:
        """The most probable class as the training data write it: a text, or an id."""
        return self.labels[self.id]

    @property
    def name(self) -> str:
        """The most probable class as text."""
        return str(self.label)

    @property
    def probability(self) -> float:
        """Of that class."""
        return self.values[self.id]

    @property
    def probabilities(self) -> dict[str, float]:
        """Of every class by its name, in the order of the model's outputs."""
        return {str(label): p for label, p in zip(self.labels, self.values, strict=True)}

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "label": self.label,
            "probability": self.probability,
            "probabilities": self.probabilities,
        }

    def __repr__(self) -> str:
        return f"{self.label!r} {self.probability:.1%}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberPrediction:
    """What a regression head says of one image, in the labels' own unit."""

    values: tuple[float, ...]

    @property
    def value(self) -> float | tuple[float, ...]:
        """The number; of several, all of them."""
        return self.values[0] if len(self.values) == 1 else self.values

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {"value": self.values[0] if len(self.values) == 1 else list(self.values)}

    def __repr__(self) -> str:
        return ", ".join(f"{value:.4g}" for value in self.values)


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxPrediction:
    """What a box head says of one image.

    A side that the model puts out reversed has length 0, at its middle, as it counts in every
    IoU. Nothing is clipped: a box may reach out of the image where the head's activation is
    linear; with the default, a sigmoid, it cannot.
    """

    fractions: Box
    """``[y_min, x_min, y_max, x_max]`` of the image."""

    form: BoxForm
    """As the labels were declared: what ``box`` is written in."""

    height: int
    """Of the original image, in pixels."""

    width: int

    @property
    def box(self) -> Box:
        """Four numbers in the format and scale of the labels; pixels are the original's."""
        return self.to(self.form.format, self.form.scale)

    def to(self, format: str, scale: str) -> Box:
        """Return the box in another format and scale, such as ``("xyxy", "pixel")`` to draw it.

        Raises:
            InputError: If there is no such format or scale.
        """
        form = BoxForm(format=format, scale=scale)
        boxes = np.array([self.fractions], dtype=np.float64)
        if form.scale == "pixel":
            boxes = to_pixels(boxes, np.array([self.height]), np.array([self.width]))
        first, second, third, fourth = from_yxyx(boxes, form.format)[0].tolist()
        return first, second, third, fourth

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {"box": list(self.box), "format": self.form.format, "scale": self.form.scale}

    def __repr__(self) -> str:
        numbers = ", ".join(f"{value:.4g}" for value in self.box)
        return f"[{numbers}] {self.form.format} {self.form.scale}s"


HeadPrediction: TypeAlias = ClassPrediction | NumberPrediction | BoxPrediction


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Prediction(Mapping[str, Any]):
    """What a model says of one image, by head name.

    ``prediction["c_output"].name`` and ``.probability``, ``prediction["r_output"].box`` or
    ``.value``: see `ClassPrediction`, `BoxPrediction`, `NumberPrediction`.
    """

    image: str
    """Which image: its place among those given, with its path or row."""

    height: int
    """Of the original image, in pixels as stored."""

    width: int

    heads: Mapping[str, HeadPrediction]

    def __getitem__(self, head: str) -> Any:
        if head not in self.heads:
            raise KeyError(f"heads are {list(self.heads)}, got {head!r}")
        return self.heads[head]

    def __iter__(self) -> Iterator[str]:
        return iter(self.heads)

    def __len__(self) -> int:
        return len(self.heads)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; a list of them is what ``pyarrow.Table.from_pylist`` takes.

        No head is named ``image``, so that key is free for the image itself.
        """
        image = {"place": self.image, "height": self.height, "width": self.width}
        return {"image": image, **{name: one.to_dict() for name, one in self.heads.items()}}

    def __repr__(self) -> str:
        said = ", ".join(f"{name}={one!r}" for name, one in self.heads.items())
        return f"Prediction({said})"


def head_predictions(
    signature: ModelSignature,
    outputs: Mapping[str, Any],
    sizes: Sequence[tuple[int, int]],
) -> Iterator[dict[str, HeadPrediction]]:
    """Yield what every head says of each row.

    ``outputs`` is what the model gave, by head ``(rows, units)``, and ``sizes`` height and width
    of each original image.
    """
    columns = {
        head.name: _column(head, signature, np.asarray(outputs[head.name], np.float64), sizes)
        for head in signature.heads
    }
    for row in range(len(sizes)):
        yield {name: column[row] for name, column in columns.items()}


def _column(
    head: HeadSpec,
    signature: ModelSignature,
    outputs: NDArray[np.float64],
    sizes: Sequence[tuple[int, int]],
) -> list[HeadPrediction]:
    """Return what one head says of each row."""
    if head.kind == "classification":
        labels = tuple(class_labels(head))
        return [ClassPrediction(labels=labels, values=tuple(row)) for row in outputs.tolist()]
    if head.kind == "regression":
        return [NumberPrediction(values=tuple(row)) for row in outputs.tolist()]
    form, boxes = signature.box_form(head.name), without_reversal(outputs)
    return [
        BoxPrediction(fractions=tuple(box), form=form, height=height, width=width)
        for box, (height, width) in zip(boxes.tolist(), sizes, strict=True)
    ]
