"""What the values of a parameter must be, whatever study names it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from search.conditions import DEPTH
from search.errors import InputError
from search.keys import shown
from search.kinds import Choice, Constant, Float, Int, Parameter, ends, is_number, to_plain
from trainables.head_spec import DeclaredHead, HeadSpec
from trainables.parameters import units_name, weight_name
from trainables.spec import OPTIMIZERS

Heads = Sequence[HeadSpec | DeclaredHead]

MOST_BLOCKS = 50
LARGEST_COUNT = 65_536
"""Filters, units or pixels; more is taken for a mistake."""
LARGEST_BATCH = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What the values of one parameter must be."""

    words: str
    """Goes on after ``needs``."""

    read: Callable[[Any], Constant | None]
    """From a value to the same in its right type, or None if it cannot be."""

    kinds: tuple[type, ...]
    """Which ranges there can be of it besides a choice."""


def _count(most: int) -> Rule:
    def read(value: Any) -> int | None:
        is_whole = is_number(value) and (isinstance(value, int) or value.is_integer())
        return int(value) if is_whole and 1 <= value <= most else None

    return Rule(words=f"whole numbers from 1 to {most}", read=read, kinds=(Int,))


def _real(words: str, is_right: Callable[[Any], bool]) -> Rule:
    def read(value: Any) -> float | None:
        return float(value) if is_number(value) and is_right(value) else None

    return Rule(words=words, read=read, kinds=(Float, Int))


DEPTH_RULE = _count(MOST_BLOCKS)
_NOT_NEGATIVE = _real("numbers >= 0", lambda value: value >= 0)
_COUNT = _count(LARGEST_COUNT)
_RULES = {
    DEPTH: DEPTH_RULE,
    "kernel_size": _COUNT,
    "pool_size": _COUNT,
    "batch_size": _count(LARGEST_BATCH),
    "learning_rate": _real("numbers > 0", lambda value: value > 0),
    "l2": _NOT_NEGATIVE,
    "dropout": _real("numbers in [0, 1)", lambda value: 0 <= value < 1),
    "batch_norm": Rule(
        words="true or false", read=lambda v: v if isinstance(v, bool) else None, kinds=()
    ),
    "optimizer": Rule(
        words=f"one of {list(OPTIMIZERS)}",
        read=lambda v: v if isinstance(v, str) and v in OPTIMIZERS else None,
        kinds=(),
    ),
}


def value_rule(name: str, heads: Heads) -> Rule | None:
    """Return the rule of a parameter of training or of the built-in model, if it has one."""
    if name in {weight_name(head.name) for head in heads}:
        return _NOT_NEGATIVE
    is_filters = name.startswith("conv") and name.endswith("_filters")
    if is_filters or name in {units_name(head.name) for head in heads}:
        return _COUNT
    return _RULES.get(name)


def fit(parameter: Parameter | Constant, rule: Rule) -> Parameter | Constant:
    """Return a parameter with its values in the type that a rule asks for.

    Raises:
        InputError: If it can take a value that cannot be.

    Example:
        >>> fit(64.0, _RULES["batch_size"]), fit(Choice(values=(0, 0.5)), _RULES["dropout"])
        (64, Choice(values=(0.0, 0.5)))
    """
    if isinstance(parameter, Choice):
        return Choice(values=tuple(_read(value, value, rule) for value in parameter.values))
    if not isinstance(parameter, Float | Int):
        return _read(parameter, parameter, rule)
    plain = to_plain(parameter)
    if not isinstance(parameter, rule.kinds):
        raise InputError(f"needs {rule.words}, as a choice or {_ranges(rule)}, got {shown(plain)}")
    for end in ends(parameter):
        _read(end, plain, rule)
    return parameter


def _ranges(rule: Rule) -> str:
    return "an int" if rule.kinds else "a constant"


def _read(value: Constant, received: Any, rule: Rule) -> Constant:
    read = rule.read(value)
    if read is None:
        raise InputError(f"needs {rule.words}, got {shown(received)}")
    return read
