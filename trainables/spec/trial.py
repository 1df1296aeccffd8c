"""Plain, checked values that say what is trained: the model, the trial, the reference."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from trainables.errors import InputError
from trainables.spec.heads import HeadSpec
from trainables.spec.parameters import (
    DEPTH,
    REFERENCE_DEPTH,
    REFERENCE_FILTERS,
    REFERENCE_MODEL,
    config_depth,
    filters_name,
    reference_config,
    reference_training,
    rule_of,
    units_name,
    weight_name,
)
from trainables.spec.rules import TARGET

Config = Mapping[str, Any]

SMALLEST_VALID = 3
"""Pixels that must remain on the smaller side after pooling for a block to use valid padding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvBlock:
    """One convolution with its pooling."""

    filters: int
    padding: Literal["valid", "same"]
    height: int
    """Pixels that are left after the pooling."""
    width: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """The functional model: convolution blocks shared by one dense branch per head."""

    image_shape: tuple[int, int, int]
    """Height, width, channels."""

    heads: tuple[HeadSpec, ...]

    head_units: tuple[int, ...]
    """Width of the dense layer before each head's output, in the order of ``heads``."""

    conv_filters: tuple[int, ...] = (REFERENCE_FILTERS,) * REFERENCE_DEPTH
    """Filters of each block, from the image on."""

    kernel_size: int = 3
    pool_size: int = 3
    dropout: float = 0.0
    """Share dropped behind each head's dense layer, in [0, 1)."""

    batch_norm: bool = False
    """Whether each convolution is followed by a batch normalisation."""

    l2: float = 0.0
    """L2 penalty on every kernel except those of the output layers."""

    def __post_init__(self) -> None:
        """Check that every block can be built; what a parameter may be, `rule_of` says."""
        self.blocks  # noqa: B018 - raises when a block cannot be built

    @property
    def blocks(self) -> tuple[ConvBlock, ...]:
        """The blocks with the padding and the size that each has at this image size.

        A block pads nothing while at least three pixels remain on the smaller side after
        its pooling; a later one keeps the size in its convolution.
        """
        height, width, _ = self.image_shape
        blocks: list[ConvBlock] = []
        for filters in self.conv_filters:
            shrink = self.kernel_size - 1
            valid = (height - shrink) // self.pool_size, (width - shrink) // self.pool_size
            same = height // self.pool_size, width // self.pool_size
            padding: Literal["valid", "same"]
            padding = "valid" if min(valid) >= SMALLEST_VALID else "same"
            height, width = valid if padding == "valid" else same
            if min(height, width) < 1:
                raise InputError(
                    f"images of {self.image_shape[0]}x{self.image_shape[1]} pixels leave room for "
                    f"at most {len(blocks)} convolution blocks with pool_size={self.pool_size}, "
                    f"got {len(self.conv_filters)}: use larger images, a smaller pool_size or "
                    "fewer blocks"
                )
            blocks.append(ConvBlock(filters=filters, padding=padding, height=height, width=width))
        return tuple(blocks)


@dataclass(frozen=True, slots=True, kw_only=True)
class UserModelSpec:
    """A model that a user's own function builds."""

    target: str
    """``package.module:function``."""

    image_shape: tuple[int, int, int]
    heads: tuple[HeadSpec, ...]
    arguments: tuple[tuple[str, Any], ...]
    """The function's keyword arguments besides ``image_shape`` and ``heads``, by name."""

    def __post_init__(self) -> None:
        """Check the form of the target."""
        TARGET(self.target, what="model")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialSpec:
    """One config, parsed: the model and how it is trained."""

    model: ModelSpec | UserModelSpec
    loss_weights: tuple[float, ...]
    """The factor of each head's training loss, in the order of the heads."""

    learning_rate: float = 1e-3
    batch_size: int = 32
    optimizer: str = "adam"

    @property
    def heads(self) -> tuple[HeadSpec, ...]:
        """The heads of the model."""
        return self.model.heads

    def architecture_key(self) -> str:
        """Return what shapes the compiled graph, as text: equal keys can share a graph."""
        shaping = {**asdict(self.model), "optimizer": self.optimizer}
        return json.dumps(shaping, sort_keys=True, default=str)

    @classmethod
    def from_config(
        cls,
        config: Config,
        *,
        image_shape: tuple[int, int, int],
        heads: tuple[HeadSpec, ...],
        model: str | None = None,
    ) -> "TrialSpec":
        """Parse a flat config; what it does not name is at the reference's value.

        Of a user's function, ``package.module:function``, every parameter that is not the
        training's own is one of its keyword arguments. `InputError` if a parameter is unknown or
        its value out of range.
        """
        training = reference_training(heads)
        rest = {name: value for name, value in config.items() if name not in training}
        own = _read({name: config.get(name, value) for name, value in training.items()}, heads)
        built: ModelSpec | UserModelSpec
        if model is None:
            built = _model_from(rest, image_shape, heads)
        else:
            arguments = tuple(sorted(rest.items()))
            built = UserModelSpec(
                target=model, image_shape=image_shape, heads=heads, arguments=arguments
            )
        return cls(
            model=built,
            loss_weights=tuple(own[weight_name(head.name)] for head in heads),
            learning_rate=own["learning_rate"],
            batch_size=own["batch_size"],
            optimizer=own["optimizer"],
        )


def _read(config: Config, heads: tuple[HeadSpec, ...]) -> dict[str, Any]:
    """Return values in their right types, where a parameter has a rule; all problems at once."""
    problems, read = [], {}
    for name, value in config.items():
        rule = rule_of(name, heads)
        try:
            read[name] = value if rule is None else rule(value, what=name)
        except InputError as error:
            problems.append(str(error))
    if problems:
        raise InputError.of(problems)
    return read


def _model_from(
    config: Config, image_shape: tuple[int, int, int], heads: tuple[HeadSpec, ...]
) -> ModelSpec:
    depth = config_depth(list(config), config.get(DEPTH))
    known = reference_config(heads, depth)
    unknown = sorted(set(config) - set(known) - {DEPTH})
    if unknown:
        raise InputError(f"config has unknown parameters {unknown}; known are {sorted(known)}")
    values = _read({**known, **config}, heads)
    return ModelSpec(
        image_shape=image_shape,
        heads=heads,
        head_units=tuple(values[units_name(head.name)] for head in heads),
        conv_filters=tuple(values[filters_name(i)] for i in range(1, depth + 1)),
        **{name: values[name] for name in REFERENCE_MODEL},
    )


_REFERENCE_HEADS = (
    HeadSpec(name="c_output", kind="classification", units=10, loss="binary_cross_entropy"),
    HeadSpec(name="r_output", kind="regression", units=1),
)

REFERENCE = TrialSpec.from_config({}, image_shape=(224, 224, 3), heads=_REFERENCE_HEADS)
"""The reference architecture and its own compile: 28,354,123 parameters."""
