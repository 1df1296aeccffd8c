"""What a study may vary: parameters by the name of what they shape, and which count when."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, final

from search.errors import InputError
from search.space.parameters import (
    MOST_CHOICES,
    Choice,
    Constant,
    Int,
    Parameter,
    ends,
    from_plain,
    to_plain,
)
from trainables.spec.parameters import DEPTH, block_of, config_depth
from trainables.spec.plain_values import plain
from trainables.spec.problems import Problems, check_mapping, refused, shown
from trainables.spec.rules import is_same

MOST_PARAMETERS = 200


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSpace:
    """Parameters by name, each searched or constant.

    Raises:
        InputError: If there are too many, a name stands twice or is none, or a value is not plain.

    Example:
        >>> space = SearchSpace.from_mapping({"conv1_filters": {"choice": [8, 16]}, "l2": 0.0})
        >>> space.contains({"conv1_filters": 16, "l2": 0.0}), space.size
        (True, 2)
    """

    parameters: tuple[tuple[str, Parameter | Constant], ...]

    def __post_init__(self) -> None:
        names = [name for name, _ in self.parameters]
        problems, read = Problems(), []
        if len(names) > MOST_PARAMETERS:
            rule = f"needs at most {MOST_PARAMETERS} parameters"
            raise refused(("space",), f"{rule}, got {len(names)}")
        for name, value in self.parameters:
            if not isinstance(name, str) or not name.isidentifier():
                path = ("space", str(name))
                problems.add(path, f"space needs identifiers as names, got {shown(name)}")
            with problems.at("space", str(name)):
                read.append((plain(name), from_plain(value)))
        if len(set(names)) < len(names):
            problems.add(("space",), f"needs names that differ, got {shown(names)}")
        problems.refuse_any()
        object.__setattr__(self, "parameters", tuple(read))

    @property
    def searched(self) -> tuple[tuple[str, Parameter], ...]:
        """The parameters that vary, with what they may be."""
        return tuple((n, p) for n, p in self.parameters if isinstance(p, Parameter))

    @property
    def constants(self) -> tuple[tuple[str, Constant], ...]:
        """The parameters that do not vary, with their value."""
        return tuple((n, p) for n, p in self.parameters if not isinstance(p, Parameter))

    @property
    def gates(self) -> dict[str, int]:
        """The parameters that do not count in all configs: equal models are equal configs."""
        return gates_of(dict(self.parameters))

    @property
    def size(self) -> int | None:
        """How many configs there are; None where a real number can be any between its bounds."""
        gates = self.gates
        if not gates:
            return _size([parameter for _, parameter in self.searched])
        sizes = []
        for depth in depths_of(dict(self.parameters)[DEPTH]):
            idle = {DEPTH, *idle_in(gates, {DEPTH: depth})}
            sizes.append(_size([kind for name, kind in self.searched if name not in idle]))
        return None if None in sizes else sum(size for size in sizes if size is not None)

    @property
    def corners(self) -> list[dict[str, Any]]:
        """The smallest and the largest config, parameter by parameter; one if equal."""
        lowest, highest = (
            self.counting({name: ends(kind)[end] for name, kind in self.parameters})
            for end in (0, 1)
        )
        return [lowest] if lowest == highest else [lowest, highest]

    def counting(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return a config without what does not count at its depth."""
        idle = idle_in(self.gates, config)
        return {name: value for name, value in config.items() if name not in idle}

    def crossed(
        self, base: Mapping[str, Any], values: Mapping[str, Sequence[Any]]
    ) -> Iterator[dict[str, Any]]:
        """Yield a config with every combination of some values, without what does not count."""
        for combined in product(*values.values()):
            yield self.counting({**base, **dict(zip(values, combined, strict=True))})

    def contains(self, config: Mapping[str, Any]) -> bool:
        """Tell whether a config has a possible value for each parameter that counts, no more."""
        return not any(self._problems(config))

    def check(self, config: Mapping[str, Any]) -> None:
        """Refuse a config with parameters that are missing, unknown or cannot have their value."""
        problems = list(self._problems(config))
        if problems:
            raise InputError.of(problems)

    def _problems(self, config: Mapping[str, Any]) -> Iterator[str]:
        config = plain(config)
        idle = idle_in(self.gates, config) if DEPTH in config else set()
        for name in sorted(idle & config.keys()):
            yield f"{name} shapes nothing: {DEPTH} is {shown(config[DEPTH])}"
        for name, parameter in self.parameters:
            if name in idle:
                continue
            if name not in config:
                yield f"config needs {name!r}, a value of {to_plain(parameter)}, got none"
            elif not _can_be(parameter, config[name]):
                yield f"{name} needs a value of {to_plain(parameter)}, got {shown(config[name])}"
        known = sorted(name for name, _ in self.parameters)
        unknown = sorted(str(name) for name in config if name not in known)
        if unknown:
            yield f"config has unknown parameters {unknown}; the space defines {known}"

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> "SearchSpace":
        """Read a space in the form of the study file.

        The `InputError` has every problem found, each with the path of its key.
        """
        such_as = "{learning_rate: {float: [0.001, 0.01]}}"
        given: Any = check_mapping(plain(values), ("space",), such_as)
        return cls(parameters=tuple(given.items()))

    def to_mapping(self) -> dict[str, Any]:
        """Return the space in the form of the study file."""
        return {name: to_plain(parameter) for name, parameter in self.parameters}


def _size(searched: Sequence[Parameter]) -> int | None:
    sizes = [parameter.size for parameter in searched]
    return None if None in sizes else math.prod(size for size in sizes if size is not None)


def _can_be(parameter: Parameter | Constant, value: object) -> bool:
    return value in parameter if isinstance(parameter, Parameter) else is_same(parameter, value)


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

    With a depth of 1 to 3 that is ``{"conv2_filters": 2, "conv3_filters": 3}``.
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
    """
    if not gates:
        return set()
    depth = config[DEPTH] if DEPTH in config else config_depth(list(config), None)
    if isinstance(depth, bool) or not isinstance(depth, int | float):
        return set()
    return {name for name, block in gates.items() if block > depth}
