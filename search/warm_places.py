"""Where a config of an earlier study lies in this study's space, if it does."""

from collections.abc import Mapping
from typing import Any

from search.conditions import DEPTH
from search.sampling.coding import key_of
from search.space import SearchSpace
from search.warm_sources import Known
from trainables.parameters import config_depth


def place(
    trial: Known, model_there: str | None, model_here: str | None, space: SearchSpace
) -> dict[str, Any] | None:
    """Return an earlier trial's config as this study's space names it, None if it is outside.

    What the space leaves constant must be the same, what it searches a possible value, and a
    parameter that the space does not know shapes another model. Only the depth may be said in
    one study and follow from the blocks in the other.

    Args:
        trial: The earlier trial.
        model_there: The user's own function of its study, None for the built-in model.
        model_here: The same of this study.
        space: The whole space of this study.
    """
    if trial.is_foreign or (model_there is None) != (model_here is None):
        return None
    config = dict(trial.config)
    if model_here is None:
        config = _with_depth(config, space)
    names = [name for name, _ in space.parameters]
    if not config.keys() <= set(names):
        return None
    if key_of(dict(space.searched), dict(space.constants), config, space.gates) is None:
        return None
    return {name: config[name] for name in names if name in config}


def _with_depth(config: Mapping[str, Any], space: SearchSpace) -> dict[str, Any]:
    """Return a config that says its depth if, and only if, the space does."""
    known = dict(space.parameters)
    plain = {name: value for name, value in config.items() if name != DEPTH}
    depth = config_depth(list(plain), config.get(DEPTH))
    if DEPTH in known:
        return {DEPTH: depth, **plain}
    # A depth that the space has not is left in, where it is a parameter unknown to it.
    return plain if depth == config_depth(list(known), None) else {DEPTH: depth, **plain}
