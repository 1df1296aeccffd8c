"""The flat names of a config's parameters, and their values at the reference."""

from collections.abc import Sequence
from typing import Any

from trainables.spec.heads import DeclaredHead, HeadSpec

REFERENCE_FILTERS = 64
REFERENCE_DEPTH = 2
REFERENCE_UNITS = {"classification": 256, "regression": 512, "box": 512}
REFERENCE_MODEL: dict[str, Any] = {
    "kernel_size": 3,
    "pool_size": 3,
    "dropout": 0.0,
    "batch_norm": False,
    "l2": 0.0,
}
REFERENCE_TRAINING: dict[str, Any] = {
    "learning_rate": 1e-3,
    "batch_size": 32,
    "optimizer": "adam",
}

REFERENCE_TRIAL = "the reference trial (`reference: false` leaves it out)"
"""The subject of messages about it."""


def weight_name(head: str) -> str:
    """Return the name of the parameter that weighs a head's training loss."""
    return f"{head}_loss_weight"


def units_name(head: str) -> str:
    """Return the name of the parameter that is the dense width of a head's branch."""
    return f"{head}_units"


def filters_name(block: int) -> str:
    """Return the name of the parameter that is the filters of a block (from 1)."""
    return f"conv{block}_filters"


def reference_training(heads: Sequence[HeadSpec | DeclaredHead]) -> dict[str, Any]:
    """Return the parameters of training, whatever the model, at the reference's values."""
    return {**REFERENCE_TRAINING, **{weight_name(head.name): 1.0 for head in heads}}


def reference_config(
    heads: Sequence[HeadSpec | DeclaredHead], depth: int = REFERENCE_DEPTH
) -> dict[str, Any]:
    """Return the config of the reference for these heads, with ``depth`` blocks."""
    return {
        **{filters_name(block): REFERENCE_FILTERS for block in range(1, depth + 1)},
        **REFERENCE_MODEL,
        **{units_name(head.name): REFERENCE_UNITS[head.kind] for head in heads},
        **reference_training(heads),
    }


def config_depth(names: Sequence[str], num_conv_blocks: int | None) -> int:
    """Return how many blocks a config with these parameter names has."""
    if num_conv_blocks is not None:
        return num_conv_blocks
    named = [
        int(name[4:-8])
        for name in names
        if name.startswith("conv") and name.endswith("_filters") and name[4:-8].isdecimal()
    ]
    return max([REFERENCE_DEPTH, *named])
