"""The flat names of a config's parameters, what they may be, and their values at the reference."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from trainables.spec.heads import DeclaredHead, HeadSpec
from trainables.spec.rules import FLAG, Rule, number, one_of, whole

Heads = Sequence[HeadSpec | DeclaredHead]

DEPTH = "num_conv_blocks"
"""The parameter that says how many convolution blocks there are."""
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

OPTIMIZERS = ("adam", "adamw", "sgd", "rmsprop")
MOST_BLOCKS = 50
LARGEST_COUNT = 65_536
"""Filters, units or pixels; more is taken for a mistake."""

_BLOCK = re.compile(r"conv([1-9][0-9]{0,8})_filters")


def _counts(most: int) -> Rule:
    return whole(1, most, f"whole numbers from 1 to {most}")


_COUNT = _counts(LARGEST_COUNT)
_NOT_NEGATIVE = replace(number("numbers >= 0", lambda value: value >= 0), type=float)
DEPTH_RULE = _counts(MOST_BLOCKS)
_RULES = {
    DEPTH: DEPTH_RULE,
    "kernel_size": _COUNT,
    "pool_size": _COUNT,
    "batch_size": _counts(2**31 - 1),
    "learning_rate": replace(number("numbers > 0", lambda value: value > 0), type=float),
    "l2": _NOT_NEGATIVE,
    "dropout": replace(number("numbers in [0, 1)", lambda value: 0 <= value < 1), type=float),
    "batch_norm": FLAG,
    "optimizer": replace(one_of(OPTIMIZERS), words=f"one of {list(OPTIMIZERS)}"),
}


def rule_of(name: str, heads: Heads) -> Rule | None:
    """Return what a parameter of training or of the built-in model must be, if it is one.

    Its ``type`` is ``int``, ``float``, or None for a value without order.
    """
    if name in {weight_name(head.name) for head in heads}:
        return _NOT_NEGATIVE
    if name.startswith("conv") and name.endswith("_filters"):
        return _COUNT
    return _COUNT if name in {units_name(head.name) for head in heads} else _RULES.get(name)


def weight_name(head: str) -> str:
    """Return the name of the parameter that weighs a head's training loss."""
    return f"{head}_loss_weight"


def units_name(head: str) -> str:
    """Return the name of the parameter that is the dense width of a head's branch."""
    return f"{head}_units"


def filters_name(block: int) -> str:
    """Return the name of the parameter that is the filters of a block (from 1)."""
    return f"conv{block}_filters"


def block_of(name: object) -> int | None:
    """Return the number of the block whose filters a parameter is, from 1; else None."""
    found = _BLOCK.fullmatch(str(name))
    return int(found[1]) if found else None


def reference_training(heads: Heads) -> dict[str, Any]:
    """Return the parameters of training, whatever the model, at the reference's values."""
    return {**REFERENCE_TRAINING, **{weight_name(head.name): 1.0 for head in heads}}


def reference_config(heads: Heads, depth: int = REFERENCE_DEPTH) -> dict[str, Any]:
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
    return max([REFERENCE_DEPTH, *(block_of(name) or 0 for name in names)])
