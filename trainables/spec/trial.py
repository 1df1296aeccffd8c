"""Plain, checked values that say what is trained: the model, the trial, the reference."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from trainables.errors import InputError
from trainables.spec.heads import DeclaredHead, HeadKind, HeadSpec, check_one_of
from trainables.spec.parameters import (
    REFERENCE_DEPTH,
    REFERENCE_FILTERS,
    config_depth,
    filters_name,
    reference_config,
    reference_training,
    units_name,
    weight_name,
)

__all__ = [
    "REFERENCE",
    "Block",
    "DeclaredHead",
    "HeadKind",
    "HeadSpec",
    "ModelSpec",
    "TrialSpec",
    "UserModelSpec",
    "reference_config",
]

Config = Mapping[str, Any]

OPTIMIZERS = ("adam", "adamw", "sgd", "rmsprop")
SMALLEST_VALID = 3
"""Pixels that must remain on the smaller side after pooling for a block to use valid padding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One convolution with its pooling."""

    filters: int
    padding: Literal["valid", "same"]
    height: int
    """Pixels that are left after the pooling."""
    width: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """The functional model: convolution blocks shared by one dense branch per head.

    Raises:
        InputError: If a field is out of range or a block would leave no pixel.
    """

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
        """Check the ranges and that every block can be built."""
        counts = {"kernel_size": self.kernel_size, "pool_size": self.pool_size}
        counts |= {f"conv{i}_filters": n for i, n in enumerate(self.conv_filters, 1)}
        counts |= {f"{h.name}_units": n for h, n in zip(self.heads, self.head_units, strict=True)}
        problems = [f"{k} needs to be >= 1, got {n!r}" for k, n in counts.items() if n < 1]
        if not 0 <= self.dropout < 1:
            problems.append(f"dropout needs to lie in [0, 1), got {self.dropout!r}")
        if self.l2 < 0:
            problems.append(f"l2 needs to be >= 0, got {self.l2!r}")
        if problems:
            raise InputError.of(problems)
        self.blocks  # noqa: B018 - raises when a block cannot be built

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The blocks with the padding and the size that each has at this image size.

        A block pads nothing while at least three pixels remain on the smaller side after
        its pooling; a later one keeps the size in its convolution.
        """
        height, width, _ = self.image_shape
        blocks: list[Block] = []
        for filters in self.conv_filters:
            shrink = self.kernel_size - 1
            valid = (height - shrink) // self.pool_size, (width - shrink) // self.pool_size
            same = height // self.pool_size, width // self.pool_size
            padding: Literal["valid", "same"]
            padding = "valid" if min(valid) >= SMALLEST_VALID else "same"
            height, width = valid if padding == "valid" else same
            if min(height, width) < 1:
                raise self._too_deep(len(blocks))
            blocks.append(Block(filters=filters, padding=padding, height=height, width=width))
        return tuple(blocks)

    def _too_deep(self, possible: int) -> InputError:
        height, width, _ = self.image_shape
        return InputError(
            f"images of {height}x{width} pixels leave room for at most {possible} convolution "
            f"blocks with pool_size={self.pool_size}, got {len(self.conv_filters)}: "
            "use larger images, a smaller pool_size or fewer blocks"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return {
            "image_shape": list(self.image_shape),
            "heads": [head.to_dict() for head in self.heads],
            "head_units": list(self.head_units),
            "conv_filters": list(self.conv_filters),
            "kernel_size": self.kernel_size,
            "pool_size": self.pool_size,
            "dropout": self.dropout,
            "batch_norm": self.batch_norm,
            "l2": self.l2,
        }


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
        module, _, function = self.target.partition(":")
        if not all(part.isidentifier() for part in (*module.split("."), function)):
            raise InputError(
                f"model needs the form 'package.module:function', got {self.target!r}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return {
            "target": self.target,
            "image_shape": list(self.image_shape),
            "heads": [head.to_dict() for head in self.heads],
            "arguments": dict(self.arguments),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialSpec:
    """One config, parsed: the model and how it is trained."""

    model: ModelSpec | UserModelSpec
    loss_weights: tuple[float, ...]
    """The factor of each head's training loss, in the order of the heads."""

    learning_rate: float = 1e-3
    batch_size: int = 32
    optimizer: str = "adam"

    def __post_init__(self) -> None:
        """Check the ranges."""
        weights = zip(self.heads, self.loss_weights, strict=True)
        problems = [
            f"{head.name}_loss_weight needs to be a finite number >= 0, got {weight!r}"
            for head, weight in weights
            if not 0 <= weight < float("inf")
        ]
        if not 0 < self.learning_rate < float("inf"):
            problems.append(
                f"learning_rate needs to be finite and > 0, got {self.learning_rate!r}"
            )
        if self.batch_size < 1:
            problems.append(f"batch_size needs to be >= 1, got {self.batch_size!r}")
        if problems:
            raise InputError.of(problems)
        check_one_of("config", "optimizer", self.optimizer, OPTIMIZERS)

    @property
    def heads(self) -> tuple[HeadSpec, ...]:
        """The heads of the model."""
        return self.model.heads

    def architecture_key(self) -> str:
        """Return what shapes the compiled graph, as text: equal keys can share a graph."""
        return json.dumps(
            {**self.model.to_dict(), "optimizer": self.optimizer}, sort_keys=True, default=str
        )

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

        Args:
            config: Values by parameter name (see ``parameter_names``).
            image_shape: Height, width, channels.
            heads: The heads that the data set was checked for.
            model: A user's function ``package.module:function``; then every parameter that
                is not the training's own is one of its keyword arguments.

        Raises:
            InputError: If a parameter is unknown or its value out of range.
        """
        own = {name: config.get(name, value) for name, value in reference_training(heads).items()}
        rest = {name: value for name, value in config.items() if name not in own}
        if model is None:
            built: ModelSpec | UserModelSpec = _model_from(rest, image_shape, heads)
        else:
            built = UserModelSpec(
                target=model,
                image_shape=image_shape,
                heads=heads,
                arguments=tuple(sorted(rest.items())),
            )
        return cls(
            model=built,
            loss_weights=tuple(float(own[weight_name(head.name)]) for head in heads),
            learning_rate=float(own["learning_rate"]),
            batch_size=int(own["batch_size"]),
            optimizer=str(own["optimizer"]),
        )


def _model_from(
    config: Config, image_shape: tuple[int, int, int], heads: tuple[HeadSpec, ...]
) -> ModelSpec:
    depth = config_depth(list(config), config.get("num_conv_blocks"))
    known = reference_config(heads, depth)
    unknown = sorted(set(config) - set(known) - {"num_conv_blocks"})
    if unknown:
        raise InputError(f"config has unknown parameters {unknown}; known are {sorted(known)}")
    values = {**known, **config}
    return ModelSpec(
        image_shape=image_shape,
        heads=heads,
        head_units=tuple(int(values[units_name(head.name)]) for head in heads),
        conv_filters=tuple(int(values[filters_name(i)]) for i in range(1, depth + 1)),
        kernel_size=int(values["kernel_size"]),
        pool_size=int(values["pool_size"]),
        dropout=float(values["dropout"]),
        batch_norm=bool(values["batch_norm"]),
        l2=float(values["l2"]),
    )


_REFERENCE_HEADS = (
    HeadSpec(name="c_output", kind="classification", units=10, loss="binary_cross_entropy"),
    HeadSpec(name="r_output", kind="regression", units=1),
)

REFERENCE = TrialSpec.from_config({}, image_shape=(224, 224, 3), heads=_REFERENCE_HEADS)
"""The reference architecture and its own compile: 28,354,123 parameters."""
