"""The variables of the built-in model: their names, shapes and first values, without Keras."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from trainables.backend import Tensor, keras, tf
from trainables.model import layer_seed
from trainables.spec import ModelSpec

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One variable of the model that `build_model` makes of the same spec."""

    layer: str
    """``conv1``, ..., ``<head>_dense``, ``<head>_dropout`` or, of an output, ``<head>``."""

    role: Literal["kernel", "bias", "seed_generator_state"]
    """As Keras names it."""

    shape: Shape

    kind: Literal["conv", "dense", "dropout", "output"]

    @property
    def name(self) -> str:
        """Of all entries of a model another one, even if a head is called ``conv1``."""
        return f"{self.kind}/{self.layer}/{self.role}"

    @property
    def dtype(self) -> str:
        """Of the variable."""
        return "int64" if self.kind == "dropout" else "float32"

    @property
    def is_trainable(self) -> bool:
        """Whether it has a gradient."""
        return self.kind != "dropout"

    @property
    def is_penalised(self) -> bool:
        """Whether the L2 penalty counts it."""
        return self.role == "kernel" and self.kind != "output"

    @property
    def is_large(self) -> bool:
        """Whether it may take much: one row for each pixel that the convolutions leave."""
        return self.kind == "dense" and self.role == "kernel"

    @property
    def loose_shape(self) -> tuple[int | None, ...]:
        """The shape without what a config may change: with widths, and what they multiply."""
        if self.kind == "conv":
            return (*self.shape[:2], None, None) if self.role == "kernel" else (None,)
        if self.kind == "dense":
            return (None,) * len(self.shape)
        return (None, self.shape[1]) if self.role == "kernel" else self.shape

    def initial(self, seed: int) -> Tensor:
        """Return the first value, bit for bit that of `build_model` with this seed."""
        if self.kind == "dropout":
            return tf.constant([layer_seed(seed, self.layer), 0], self.dtype)
        if self.role == "bias":
            return tf.zeros(self.shape)
        draw = keras.initializers.GlorotUniform(seed=layer_seed(seed, self.layer))
        return draw(self.shape, dtype="float32")


def layout(spec: ModelSpec) -> tuple[Entry, ...]:
    """Return the variables of a model without batch normalisation, in Keras' order."""
    return tuple(_entries(spec))


def _entries(spec: ModelSpec) -> Iterator[Entry]:
    size, channels = spec.kernel_size, spec.image_shape[2]
    for number, block in enumerate(spec.blocks, 1):
        yield from _pair(f"conv{number}", "conv", (size, size, channels, block.filters))
        channels = block.filters
    flat = spec.blocks[-1].height * spec.blocks[-1].width * channels
    widths = zip(spec.heads, spec.head_units, strict=True)
    heads = sorted(widths, key=lambda one: one[0].name)  # as Keras walks a dict of outputs
    for head, units in heads:
        yield from _pair(f"{head.name}_dense", "dense", (flat, units))
    for head, _ in heads if spec.dropout else ():
        yield Entry(
            layer=f"{head.name}_dropout", role="seed_generator_state", shape=(2,), kind="dropout"
        )
    for head, units in heads:
        yield from _pair(head.name, "output", (units, head.units))


def _pair(layer: str, kind: Literal["conv", "dense", "output"], shape: Shape) -> Iterator[Entry]:
    yield Entry(layer=layer, role="kernel", shape=shape, kind=kind)
    yield Entry(layer=layer, role="bias", shape=shape[-1:], kind=kind)


def num_bytes(entries: tuple[Entry, ...]) -> int:
    """Return what the values of such variables take."""
    return sum(int(np.prod(entry.shape)) * np.dtype(entry.dtype).itemsize for entry in entries)
