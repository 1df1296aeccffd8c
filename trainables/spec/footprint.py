"""What the memory of a built-in model grows with, counted from its spec without building it."""

from collections.abc import Iterator
from math import prod
from typing import NamedTuple

from trainables.spec.trial import ModelSpec, TrialSpec

FLOAT_BYTES = 4
COPIES = {"adam": 4, "adamw": 4, "rmsprop": 3, "sgd": 2}
"""Of every weight: itself, its gradient, and what the optimizer keeps."""
PASSES = 2
"""Of every activation: itself and its gradient."""


class Footprint(NamedTuple):
    """Bytes of a training, by what they hold; both 0 where that is not known."""

    weights: int = 0
    """With their gradients and what the optimizer keeps."""
    activations: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.weights + self.activations


class Saved(NamedTuple):
    """Bytes of a checkpoint, by what they are for."""

    weights: int = 0
    """To predict with."""
    training: int = 0
    """To go on from, besides."""

    @property
    def total(self) -> int:
        """All of them."""
        return self.weights + self.training


def saved_bytes(spec: TrialSpec) -> Saved:
    """Return the bytes of a checkpoint of the built-in model; names and headers take little."""
    return saved_beside(FLOAT_BYTES * sum(_weights(_built_in(spec))), spec.optimizer)


def saved_beside(weights: int, optimizer: str) -> Saved:
    """Return the bytes of a checkpoint of so many bytes of weights."""
    # Gradients are not kept.
    return Saved(weights=weights, training=weights * (COPIES[optimizer] - 2))


def footprint(spec: TrialSpec) -> Footprint:
    """Return the bytes of weights and of activations while a batch is trained.

    Only proportions count: how much a process really takes for a byte of each is measured with a
    few models, and what lies between them follows (`search.study.shares`).
    """
    model = _built_in(spec)
    weights = sum(_weights(model)) * COPIES[spec.optimizer]
    activations = sum(_activations(model)) * PASSES * spec.batch_size
    return Footprint(weights=FLOAT_BYTES * weights, activations=FLOAT_BYTES * activations)


def _built_in(spec: TrialSpec) -> ModelSpec:
    if not isinstance(spec.model, ModelSpec):
        raise TypeError(f"footprint needs the built-in model, got {spec.model.target!r}")
    return spec.model


def _weights(model: ModelSpec) -> Iterator[int]:
    channels = model.image_shape[2]
    for filters in model.conv_filters:
        yield (model.kernel_size**2 * channels + 1 + 4 * model.batch_norm) * filters
        channels = filters
    for head, units in zip(model.heads, model.head_units, strict=True):
        yield (_flat(model) + 1) * units + (units + 1) * head.units


def _activations(model: ModelSpec) -> Iterator[int]:
    """Yield the numbers that each layer makes of one image."""
    yield prod(model.image_shape)
    height, width, _ = model.image_shape
    for block in model.blocks:
        shrink = model.kernel_size - 1 if block.padding == "valid" else 0
        convolved = (height - shrink) * (width - shrink) * block.filters
        yield convolved * (3 if model.batch_norm else 1)
        height, width = block.height, block.width
        yield height * width * block.filters
    yield sum(model.head_units)


def _flat(model: ModelSpec) -> int:
    last = model.blocks[-1]
    return last.height * last.width * last.filters
