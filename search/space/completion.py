"""From the parameters a study names to one entry for everything that shapes a trial."""

from collections.abc import Iterator, Mapping
from typing import Any

from search.errors import InputError
from search.space.parameters import (
    Choice,
    Constant,
    Float,
    Int,
    Parameter,
    check_constant,
    ends,
    is_plain,
    to_plain,
)
from search.space.space import SearchSpace, depths_of, gates_of, idle_in
from trainables.model.user_model import GIVEN, REQUIRED
from trainables.spec.parameters import (
    DEPTH,
    DEPTH_RULE,
    MOST_BLOCKS,
    Heads,
    block_of,
    config_depth,
    reference_config,
    reference_training,
    rule_of,
    units_name,
    weight_name,
)
from trainables.spec.problems import Path, Problem, Problems, hint, problem, refused, shown
from trainables.spec.rules import Rule, is_number, is_same

Named = Mapping[str, Parameter | Constant]
"""Parameters by name."""

DEFAULT_BATCH = 64
COLUMNS = ("number", "epoch", "state", "is_reference", "loss", "seconds")
"""What a trial's table has besides its parameters; also all that begins as ``_COLUMNS`` do."""

_COLUMNS = ("seconds_", "val_")


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

    ``model_parameters`` are a user's own function's: keyword names and defaults, or `REQUIRED`.
    `InputError` if a parameter shapes nothing, its values cannot be, or one is missing.
    """
    named = read_named(dict(space.parameters), heads, is_builtin=model_parameters is None)
    if model_parameters is None:
        known = _built_in(named, heads, ("space",))
    else:
        known = _of_function(named, heads, model_parameters)
    return SearchSpace(parameters=tuple({**known, **named}.items()))


def read_named(
    named: Named, heads: Heads, *, is_builtin: bool, at: Path = ("space",)
) -> dict[str, Parameter | Constant]:
    """Return the named parameters with their values in the right types, such as 64 for 64.0.

    Of a user's own model, whose parameters are not known here, only those of training are
    looked at.
    """
    problems = Problems()
    if is_builtin:
        known = _built_in(named, heads, at)
        problems.extend(_shapeless(named, known, at))
    else:
        known = reference_training(heads)
        problems.extend(_taken(named, at))
    read = dict(named)
    for name in (name for name in named if name in known):
        rule = rule_of(name, heads)
        if rule is not None:
            with problems.at(*at, name):
                read[name] = fit(named[name], rule)
    if heads and all(is_same(named.get(weight_name(head.name), 1.0), 0) for head in heads):
        problems.add(at, "needs a loss weight > 0 for at least one head, got 0 for all")
    problems.refuse_any()
    return read


def read_first(
    config: Mapping[Any, Any], space: SearchSpace, heads: Heads, *, is_builtin: bool, at: Path
) -> dict[str, Any]:
    """Return a config to try first with its values in the right types.

    It has a depth of the space, and of what is searched a value in the range, on a step or
    not. A parameter that the space leaves constant may have another value. The filters of a
    block that it does not have it does not name: they would be taken for part of the model.
    """
    problems = Problems()
    for name, value in config.items():
        with problems.at(*at, str(name)):
            _check_plain(name, value)
    if is_builtin:
        problems.extend(_misplaced(config, space, at))
    problems.refuse_any()
    idle = idle_in(space.gates, config)
    fixed = {name: value for name, value in space.constants if name not in idle}
    read = read_named({**fixed, **config}, heads, is_builtin=is_builtin, at=at)
    for name, parameter in space.searched:
        if name in config and not _is_possible(parameter, read[name]):
            rule = f"needs a value of {to_plain(parameter)}, as in the space"
            problems.add((*at, name), f"{rule}, got {shown(config[name])}")
    problems.refuse_any()
    return {name: read[name] for name in config}


def _check_plain(name: object, value: object) -> None:
    if not isinstance(name, str) or not name.isidentifier():
        raise InputError("shapes nothing: it is no name")
    if isinstance(value, Mapping):
        raise InputError(f"needs a single value; ranges belong in the space, got {shown(value)}")
    check_constant(value, "config")


def _misplaced(config: Mapping[str, Any], space: SearchSpace, at: Path) -> Iterator[Problem]:
    """Say what of a config shapes nothing in the model of a complete space."""
    known = dict(space.parameters)
    blocks = sum(block_of(name) is not None for name in known)
    is_searched = bool(depths_of(known.get(DEPTH)))
    idle = idle_in(space.gates, config)
    for name, value in config.items():
        if name == DEPTH and value != blocks and not is_searched:
            rule = f"needs {blocks}, as many convolution blocks as the space has"
            yield problem((*at, name), f"{rule}, got {shown(value)}")
        elif name in idle:
            yield problem((*at, name), f"shapes nothing: {DEPTH} is {shown(config[DEPTH])}")
        elif name != DEPTH and name not in known:
            most = "at most " if is_searched else ""
            why = f": the space has {most}{blocks} convolution blocks" if block_of(name) else ""
            why = why or f"; {hint(name, sorted(known))}"
            yield problem((*at, str(name)), f"shapes nothing{why}")


def _is_possible(parameter: Parameter, value: Any) -> bool:
    """Tell whether a value is among the choices or in the range, on a step or not."""
    if isinstance(parameter, Choice):
        return any(is_same(value, known) for known in parameter.values)
    is_whole = is_number(value) and float(value).is_integer()
    is_right = is_whole or (is_number(value) and isinstance(parameter, Float))
    return is_right and bool(parameter.low <= value <= parameter.high)


def _depth(named: Named, at: Path) -> int:
    """Return the largest number of blocks: the named one, or that of the deepest block named."""
    blocks = {name: block_of(name) or 0 for name in named}
    depth = named.get(DEPTH)
    if depth is None:
        deepest = max(blocks, key=lambda name: blocks[name], default="")
        if blocks and blocks[deepest] > MOST_BLOCKS:
            rule = f"needs at most {MOST_BLOCKS} convolution blocks"
            raise refused((*at, deepest), f"{rule}, got {blocks[deepest]}")
        return config_depth([name for name in blocks if blocks[name]], None)
    problems = Problems()
    with problems.at(*at, DEPTH):
        depth = fit(depth, DEPTH_RULE)
    problems.refuse_any()
    return int(ends(depth)[1])


def _built_in(named: Named, heads: Heads, at: Path) -> dict[str, Any]:
    """Return every parameter that there is of the built-in model, at the reference's value."""
    depth = _depth(named, at)
    known = reference_config(heads, depth)
    return {**known, DEPTH: depth} if DEPTH in named else known


def _shapeless(named: Named, known: Mapping[str, Any], at: Path) -> Iterator[Problem]:
    is_searched = bool(depths_of(named.get(DEPTH)))
    for name in named:
        if name not in known:
            is_block = DEPTH in known and block_of(name) is not None
            depth = f"{'at most ' if is_searched else ''}{known.get(DEPTH)}"
            why = f": {DEPTH} is {depth}" if is_block else f"; {hint(name, sorted(known))}"
            yield problem((*at, name), f"shapes nothing{why}")


def _taken(names: Mapping[str, Any], at: Path) -> Iterator[Problem]:
    """Say which names a user's own parameter cannot have."""
    for name in names:
        if name in COLUMNS or name.startswith(_COLUMNS):
            why = "the table of trials has a column of this name"
        elif name in GIVEN:
            why = "every model function is given this"
        else:
            continue
        yield problem((*at, name), f"needs another name: {why}")


def _of_function(
    named: Named, heads: Heads, model_parameters: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what a user's model takes and what its training does, with their defaults."""
    training = reference_training(heads)
    problems = Problems()
    problems.extend(_taken(model_parameters, ("model",)))
    for name in model_parameters.keys() & training.keys():
        problems.add(("model", name), "needs another name: it is a parameter of the training")
    known = {**model_parameters, **training}
    problems.extend(_shapeless(named, known, ("space",)))
    for name, value in known.items():
        if value is REQUIRED and name not in named:
            problems.add(("space",), f"needs {name!r}: the model function gives it no default")
    for name in gates_of(named):
        if known.get(name) is REQUIRED:
            why = f"a config of fewer {DEPTH} does not name it"
            problems.add(("model", name), f"needs a default in the model function: {why}")
    problems.refuse_any()
    # What a function's default is need not be a plain value; it is left to the function.
    return {
        name: check_constant(value, "default") if is_plain(value) else value
        for name, value in known.items()
        if name in named or is_plain(value)
    }


def fit(parameter: Parameter | Constant, rule: Rule) -> Parameter | Constant:
    """Return a parameter with its values in the type that a rule asks for: 64 for 64.0."""
    if isinstance(parameter, Choice):
        return Choice(values=tuple(map(rule, parameter.values)))
    if not isinstance(parameter, Float | Int):
        constant: Constant = rule(parameter)
        return constant
    received = shown(to_plain(parameter))
    if rule.type is None or (rule.type is int and isinstance(parameter, Float)):
        instead = "a constant" if rule.type is None else "an int"
        raise InputError(f"needs {rule.words}, as a choice or {instead}, got {received}")
    if not all(map(rule.test, ends(parameter))):
        raise InputError(f"needs {rule.words}, got {received}")
    return parameter
