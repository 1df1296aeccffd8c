"""From the parameters a study names to one entry for everything that shapes a trial."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from search.errors import InputError
from search.keys import unknown_keys
from search.space import Choice, Float, Int, SearchSpace, ends
from trainables.head_spec import DeclaredHead, HeadSpec
from trainables.parameters import (
    config_depth,
    reference_config,
    reference_training,
    units_name,
    weight_name,
)
from trainables.spec import OPTIMIZERS
from trainables.user_model import REQUIRED

Heads = Sequence[HeadSpec | DeclaredHead]

DEPTH = "num_conv_blocks"
DEFAULT_BATCH = 64


def default_space(heads: Heads) -> SearchSpace:
    """Return what a study searches that names no space.

    Filters of both blocks, the width of each head's branch, dropout, pooling, the learning rate,
    and the weight of every head's loss but the first: of weights only the ratios matter.
    """
    filters = Choice(values=(8, 16, 32, 64))
    named: dict[str, Any] = {"conv1_filters": filters, "conv2_filters": filters}
    for head in heads:
        widest = 256 if head.kind == "classification" else 512
        named[units_name(head.name)] = Int(low=32, high=widest, log=True)
    for head in heads[1:]:
        named[weight_name(head.name)] = Float(low=0.1, high=10.0, log=True)
    named["learning_rate"] = Float(low=3e-4, high=1e-2, log=True)
    named["dropout"] = Float(low=0.0, high=0.5)
    named["pool_size"] = Choice(values=(2, 3))
    named["batch_size"] = DEFAULT_BATCH
    return complete(SearchSpace(parameters=tuple(named.items())), heads)


def complete(
    space: SearchSpace, heads: Heads, *, model_parameters: Mapping[str, Any] | None = None
) -> SearchSpace:
    """Return the space with every parameter that it does not name, at the reference's value.

    Args:
        space: What the study names.
        heads: The heads of its data.
        model_parameters: Of a user's own model function: keyword names and defaults, or
            ``REQUIRED``; None for the built-in model.

    Raises:
        InputError: If a parameter shapes nothing, its values cannot be, or one is missing.
    """
    named = dict(space.parameters)
    known = _known(named, heads, model_parameters)
    problems = [
        problem.replace("has no key", "shapes nothing with")
        for problem in unknown_keys(named, known, where="space")
    ]
    problems += _values(named, heads)
    missing = [name for name, value in known.items() if value is REQUIRED and name not in named]
    problems += [
        f"space needs {name!r}: the model function gives it no default" for name in missing
    ]
    if problems:
        raise InputError.of(problems)
    whole = {**known, **named}
    if model_parameters is not None:
        # What a function's default is need not be a plain value; it is left to the function.
        plain = (bool, int, float, str, Float, Int, Choice)
        whole = {name: value for name, value in whole.items() if isinstance(value, plain)}
    return SearchSpace(parameters=tuple(whole.items()))


def _known(
    named: Mapping[str, Any], heads: Heads, model_parameters: Mapping[str, Any] | None
) -> dict[str, Any]:
    if model_parameters is not None:
        return {**model_parameters, **reference_training(heads)}
    depth = named.get(DEPTH)
    if depth is not None and (not isinstance(depth, int) or isinstance(depth, bool) or depth < 1):
        raise InputError(
            f"space.{DEPTH} needs a whole number >= 1, the same for all trials: a searched depth "
            f"is not offered yet, got {depth!r}"
        )
    known = reference_config(heads, config_depth(list(named), depth))
    return known if depth is None else {**known, DEPTH: depth}


Rule = tuple[str, Callable[[Any], bool]]


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_COUNT: Rule = ("whole numbers >= 1", _is_count)
_POSITIVE: Rule = ("numbers > 0", lambda v: _is_number(v) and v > 0)
_NOT_NEGATIVE: Rule = ("numbers >= 0", lambda v: _is_number(v) and v >= 0)
_RULES: dict[str, Rule] = {
    "kernel_size": _COUNT,
    "pool_size": _COUNT,
    "batch_size": _COUNT,
    "learning_rate": _POSITIVE,
    "l2": _NOT_NEGATIVE,
    "dropout": ("numbers in [0, 1)", lambda v: _is_number(v) and 0 <= v < 1),
    "batch_norm": ("true or false", lambda v: isinstance(v, bool)),
    "optimizer": (f"one of {list(OPTIMIZERS)}", lambda v: v in OPTIMIZERS),
}


def value_rule(name: str, heads: Heads) -> Rule | None:
    """Return in words, and as a function, what the values of a parameter must be."""
    if name in {weight_name(head.name) for head in heads}:
        return _NOT_NEGATIVE
    if name in {units_name(head.name) for head in heads} or _is_filters(name):
        return _COUNT
    return _RULES.get(name)


def _is_filters(name: str) -> bool:
    return name.startswith("conv") and name.endswith("_filters")


def _values(named: Mapping[str, Any], heads: Heads) -> Iterator[str]:
    """Say which parameters can take a value that nothing can be built with."""
    for name, parameter in named.items():
        rule = value_rule(name, heads)
        if rule is None:
            continue
        words, is_right = rule
        values = parameter.values if isinstance(parameter, Choice) else ends(parameter)
        wrong = [value for value in values if not is_right(value)]
        if wrong:
            yield f"space.{name} needs {words}, got {wrong[0]!r}"
