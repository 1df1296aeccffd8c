"""How each field of a study is read from its plain form, and checked by itself."""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Required, TypedDict

from search.errors import InputError
from search.space.space import SearchSpace
from search.study.objective import read_objective
from search.study.samplers import read_sampler
from search.study.settings import Budget, Resources, Validation, read_value
from trainables.data.request import IMAGE_COLUMN, LARGEST_SIDE, SPLIT_COLUMN
from trainables.spec.heads import KINDS, DeclaredHead, HeadKind
from trainables.spec.problems import (
    Path,
    Problem,
    Problems,
    check_mapping,
    dotted,
    problem,
    shown,
    unknown_keys,
)
from trainables.spec.rules import FLAG, LARGEST_SEED, TARGET, Rule, is_text, one_of, whole
from trainables.storage.local import absolute_path
from trainables.storage.uri_keys import check_no_key

SCHEDULERS = ("fifo", "pareto_asha")
ON_BAD_ROWS = ("error", "skip")
PRECISIONS = ("float32", "bfloat16", "auto")
MOST_FIRST_CONFIGS = 1000
MOST_EARLIER = 100
MOST_HEADS = 64
MOST_HEAD_UNITS = 2**20


class HeadFields(TypedDict, total=False):
    """A `DeclaredHead` as a plain mapping."""

    kind: Required[HeadKind]
    units: int | None
    loss: str | None
    activation: str | None
    format: str
    scale: str


HEAD_KEYS = tuple(HeadFields.__annotations__)
"""What may be said of a head."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

_NAME = Rule(
    "1 to 64 letters, digits, '.', '_' or '-', the first a letter or digit",
    lambda value: isinstance(value, str) and bool(NAME.fullmatch(value)),
)
_CHANNELS = Rule("1 (grey) or 3 (colour)", lambda value: type(value) is int and value in (1, 3))
_SIDE = whole(1, LARGEST_SIDE, f"a height and a width of 1 to {LARGEST_SIDE} pixels")


def _read_name(value: Any) -> str:
    try:
        name: str = _NAME(value)
    except InputError as error:
        if isinstance(value, int | float):  # YAML takes a name of digits for a number
            raise InputError(f"{error}: quote it, name: '{value}'") from None
        raise
    return name


def _read_place(value: Any, at: Path) -> str:
    path: str = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not is_text(path) or not path.strip() or "\0" in path:
        raise InputError(f"needs a path or a URI, got {shown(value)}")
    check_no_key(dotted(at), path)
    # Absolute, so that a study can be resumed from any folder.
    return path if "://" in path else absolute_path(path)


def _read_heads(value: Any) -> tuple[DeclaredHead, ...]:
    if isinstance(value, tuple) and all(isinstance(head, DeclaredHead) for head in value):
        heads = list(value)
    else:
        heads = _heads_of(check_mapping(value, ("heads",), "{c_output: {kind: classification}}"))
    if not 1 <= len(heads) <= MOST_HEADS:
        raise InputError(f"needs 1 to {MOST_HEADS} heads, got {len(heads)}")
    problems = Problems()
    problems.extend(_name_problems([head.name for head in heads]))
    for head in heads:
        if head.units is not None and head.units > MOST_HEAD_UNITS:
            rule = f"needs units <= {MOST_HEAD_UNITS}"
            problems.add(("heads", head.name), f"{rule}, got {head.units}")
    problems.refuse_any()
    return tuple(heads)


def _heads_of(given: Mapping[Any, Any]) -> list[DeclaredHead]:
    heads, problems = [], Problems()
    for name, said in given.items():
        with problems.at("heads", str(name)):
            heads.append(_read_head(name, said))
    problems.refuse_any()
    return heads


def _read_head(name: Any, given: Any) -> DeclaredHead:
    if isinstance(given, DeclaredHead):
        if given.name != name:
            raise InputError(f"needs a head of this name, got one named {given.name!r}")
        return given
    if not isinstance(given, Mapping) or not isinstance(given.get("kind"), str):
        rule = f"needs a mapping with a kind of {list(KINDS)}, such as {{kind: box}}"
        raise InputError(f"{rule}, got {shown(given)}")
    path: Path = ("heads", str(name))
    problems = Problems()
    problems.extend(unknown_keys(given, HEAD_KEYS, at=path))
    for key in ("loss", "activation"):
        if key in given and not isinstance(given[key], str | None):
            problems.add((*path, key), f"needs text, got {shown(given[key])}")
        elif given.get(key) == "":
            problems.add((*path, key), "needs text, or leave it out for the default, got ''")
    problems.refuse_any()
    units = given.get("units")
    is_whole = isinstance(units, float) and units.is_integer()
    return DeclaredHead(name=name, **{**given, "units": int(units) if is_whole else units})  # type: ignore[arg-type]


def _name_problems(names: Sequence[str]) -> Iterator[Problem]:
    for name in (IMAGE_COLUMN, SPLIT_COLUMN):
        if name in names:
            why = f"the column {name!r} is not a label"
            yield problem(("heads", name), f"needs another name: {why}")
    if len(set(names)) < len(names):
        yield problem(("heads",), f"needs names that differ, got {shown(list(names))}")
    for name in names:
        # Two classifications would both record val_<name>_balanced_accuracy; and what is recorded
        # of val_<name> on the test split is named as what <name> has on the validation split.
        for other in (f"{name}_balanced", f"val_{name}"):
            if other in names:
                why = f"its metrics would have the names of some of {name!r}"
                yield problem(("heads", other), f"needs another name: {why}")


def _read_image_size(value: Any) -> tuple[int, int] | None:
    if value is None:
        return None
    if not isinstance(value, Sequence) or isinstance(value, str | bytes) or len(value) != 2:
        raise InputError(f"needs [height, width], got {shown(value)}")
    return _SIDE(value[0]), _SIDE(value[1])


def _read_space(value: Any) -> SearchSpace | None:
    if value is None or isinstance(value, SearchSpace):
        return value
    return SearchSpace.from_mapping(value)


def _read_first(value: Any) -> tuple[dict[str, Any], ...]:
    def read(config: Any, path: Path) -> dict[Any, Any]:
        return dict(check_mapping(config, path, "{learning_rate: 0.001}"))

    return _read_list(value, "start_with", ("configs", "configs", MOST_FIRST_CONFIGS), read)


def _read_earlier(value: Any) -> tuple[str, ...]:
    return _read_list(value, "warm_start", ("study folders", "studies", MOST_EARLIER), _read_place)


def _read_list(
    value: Any, at: str, rule: tuple[str, str, int], read: Callable[[Any, Path], Any]
) -> tuple[Any, ...]:
    """Return the items of a list, read one by one; the rule says of what, and how many at most."""
    kind, items, most = rule
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise InputError(f"needs a list of {kind}, got {shown(value)}")
    if len(value) > most:
        raise InputError(f"needs at most {most} {items}, got {len(value)}")
    problems, found = Problems(), []
    for index, item in enumerate(value):
        with problems.at(at, index):
            found.append(read(item, (at, index)))
    problems.refuse_any()
    return tuple(found)


READERS: dict[str, Callable[[Any], Any]] = {
    "name": _read_name,
    "data": lambda value: _read_place(value, ("data",)),
    "heads": _read_heads,
    "image_size": _read_image_size,
    "channels": _CHANNELS.allowing(None),
    "strict": FLAG,
    "on_bad_rows": one_of(ON_BAD_ROWS),
    "validation": lambda value: read_value(Validation, "validation", value),
    "model": TARGET.allowing(None),
    "space": _read_space,
    "budget": lambda value: read_value(Budget, "budget", value),
    "start_with": _read_first,
    "warm_start": _read_earlier,
    "objective": read_objective,
    "sampler": read_sampler,
    "scheduler": one_of(SCHEDULERS),
    "resources": lambda value: read_value(Resources, "resources", value),
    "precision": one_of(PRECISIONS),
    "seed": whole(0, LARGEST_SEED),
    "reference": FLAG,
    "storage": lambda value: _read_place(value, ("storage",)),
    "module_folder": lambda value: (
        None if value is None else _read_place(value, ("module_folder",))
    ),
}
"""Of each field: from what was given, made plain, to its value; raises an `InputError`."""
