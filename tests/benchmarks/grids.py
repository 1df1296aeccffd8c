"""What the recorded tables hold: data sets, and every combination of some parameters."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainables.spec.heads import DeclaredHead


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A full factorial of configs on one data set."""

    name: str
    about: str
    digits: Mapping[str, int]
    """Arguments of ``write_digits``."""
    heads: tuple[DeclaredHead, ...]
    parameters: Mapping[str, Sequence[Any]]
    """Parameter -> its values; the table has a row for every combination, epoch and seed."""
    constants: Mapping[str, Any]
    epochs: int = 12
    seeds: tuple[int, ...] = (0, 1)

    def configs(self) -> Iterator[dict[str, Any]]:
        """Yield every whole config, those of one architecture in a row."""
        for values in itertools.product(*self.parameters.values()):
            yield {**self.constants, **dict(zip(self.parameters, values, strict=True))}


_TRAINING = {
    "num_conv_blocks": 2,
    "c_output_loss_weight": 1.0,
    "l2": 0.0,
    "batch_norm": False,
}

TUNING = Grid(
    name="digits24",
    about="2,500 digits of 24x24 pixels, class and box (MSE)",
    digits={"num": 2500, "image_size": 24, "seed": 1},
    heads=(
        DeclaredHead(name="c_output", kind="classification"),
        DeclaredHead(name="r_output", kind="box"),
    ),
    parameters={
        "conv1_filters": (4, 8, 16),
        "conv2_filters": (8, 16, 32),
        "c_output_units": (16, 48, 128),
        "dropout": (0.0, 0.3),
        "learning_rate": (3e-4, 1e-3, 3e-3, 1e-2),
        "r_output_loss_weight": (0.1, 1.0, 10.0, 100.0),
    },
    constants={
        **_TRAINING,
        "kernel_size": 3,
        "pool_size": 2,
        "r_output_units": 64,
        "batch_size": 32,
        "optimizer": "adam",
    },
)
"""The table by which defaults were chosen."""

HELD_OUT = Grid(
    name="digits20",
    about="2,000 other digits of 20x20 pixels, class and box (Huber)",
    digits={"num": 2000, "image_size": 20, "seed": 7},
    heads=(
        DeclaredHead(name="c_output", kind="classification"),
        DeclaredHead(name="r_output", kind="box", loss="huber"),
    ),
    parameters={
        "kernel_size": (3, 5),
        "pool_size": (2, 3),
        "conv1_filters": (4, 12),
        "conv2_filters": (8, 24),
        "optimizer": ("adam", "rmsprop"),
        "batch_size": (16, 64),
        "learning_rate": (5e-4, 2e-3, 8e-3),
        "r_output_loss_weight": (0.3, 3.0, 30.0),
    },
    constants={**_TRAINING, "c_output_units": 64, "r_output_units": 64, "dropout": 0.1},
)
"""Reported beside the other; nothing was chosen by it."""

GRIDS = {grid.name: grid for grid in (TUNING, HELD_OUT)}
