"""Which parameters count in a config: the filters of a block only where there is the block."""

import re
from collections.abc import Mapping
from typing import Any

from search.kinds import MOST_CHOICES, Choice, Int
from trainables.parameters import config_depth

DEPTH = "num_conv_blocks"
"""The parameter that says how many convolution blocks there are."""

_BLOCK = re.compile(r"conv([1-9][0-9]{0,8})_filters")


def block_of(name: object) -> int | None:
    """Return the number of the block whose filters a parameter is, from 1; else None."""
    found = _BLOCK.fullmatch(str(name))
    return int(found[1]) if found else None


def depths_of(parameter: object) -> tuple[int, ...]:
    """Return the depths that can be drawn, ascending; none if the depth is not searched.

    Of a user's own function a parameter of this name may be anything; one that is no whole
    number, or has more than 1,000 values, is no depth.
    """
    if isinstance(parameter, Int) and parameter.size <= MOST_CHOICES:
        return tuple(range(parameter.low, parameter.high + 1, parameter.step))
    if isinstance(parameter, Choice):
        whole = [v for v in parameter.values if isinstance(v, int) and not isinstance(v, bool)]
        return tuple(sorted(whole)) if len(whole) == len(parameter.values) else ()
    return ()


def gates_of(parameters: Mapping[str, Any]) -> dict[str, int]:
    """Return the parameters that do not always count, with the depth from which on they do.

    Example:
        >>> names = ("conv1_filters", "conv2_filters", "conv3_filters")
        >>> gates_of({DEPTH: Int(low=1, high=3), **dict.fromkeys(names, 64)})
        {'conv2_filters': 2, 'conv3_filters': 3}
        >>> gates_of({DEPTH: 3, **dict.fromkeys(names, 64)})
        {}
    """
    depths = depths_of(parameters.get(DEPTH))
    if not depths:
        return {}
    blocks = {name: block_of(name) or 0 for name in parameters}
    return {name: block for name, block in blocks.items() if block > depths[0]}


def idle_in(gates: Mapping[str, int], config: Mapping[str, Any]) -> set[str]:
    """Return the parameters that do not count at the depth of a config.

    A config that does not say its depth, as the reference's does not, has the blocks that it
    names, and at least two.

    Example:
        >>> idle_in({"conv2_filters": 2, "conv3_filters": 3}, {DEPTH: 2})
        {'conv3_filters'}
    """
    if not gates:
        return set()
    depth = config[DEPTH] if DEPTH in config else config_depth(list(config), None)
    if isinstance(depth, bool) or not isinstance(depth, int | float):
        return set()
    return {name for name, block in gates.items() if block > depth}
