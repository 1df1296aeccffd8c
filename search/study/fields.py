"""How each field of a study is read from its plain form, and checked by itself."""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from search.errors import InputError
from search.space.parameters import is_text
from search.space.problems import (
    Path,
    Problem,
    Problems,
    check_mapping,
    dotted,
    problem,
    refused,
    shown,
    unknown_keys,
)
from search.space.space import SearchSpace
from search.study.objective import read_objective
from search.study.samplers import read_sampler
from search.study.settings import LARGEST_SEED, Budget, Resources, Validation, read_value, whole
from trainables.data.request import IMAGE_COLUMN, LARGEST_SIDE, SPLIT_COLUMN
from trainables.spec.heads import KINDS, DeclaredHead
from trainables.spec.plain_values import plain
from trainables.spec.trial import UserModelSpec
from trainables.storage.uri_keys import check_no_key

SCHEDULERS = ("fifo", "pareto_asha")
PRECISIONS = ("float32", "bfloat16", "auto")
MOST_FIRST_CONFIGS = 1000
MOST_EARLIER = 100
MOST_HEADS = 64
MOST_HEAD_UNITS = 2**20
HEAD_KEYS = tuple(item.name for item in fields(DeclaredHead) if item.name != "name")
"""What may be said of a head."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def _read_name(value: Any) -> str:
    if not isinstance(value, str) or not NAME.fullmatch(value):
        rule = "needs 1 to 64 letters, digits, '.', '_' or '-', the first a letter or digit"
        raise refused(("name",), f"{rule}, got {shown(value)}")
    return value


def _read_place(name: str) -> Callable[[Any], str]:
    return lambda value: _place(value, (name,))


def _place(value: Any, at: Path) -> str:
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(path, str) or not path.strip() or "\0" in path or not is_text(path):
        raise refused(at, f"needs a path or a URI, got {shown(value)}")
    check_no_key(dotted(at), path)
    # Absolute, so that a study can be resumed from any folder.
    return path if "://" in path else os.path.abspath(os.path.expanduser(path))


def _read_folder(value: Any) -> str | None:
    return None if value is None else _read_place("module_folder")(value)


def _read_heads(value: Any) -> tuple[DeclaredHead, ...]:
    if isinstance(value, tuple) and all(isinstance(head, DeclaredHead) for head in value):
        heads = list(value)
    else:
        heads = _heads_of(check_mapping(value, ("heads",), "{c_output: {kind: classification}}"))
    if not 1 <= len(heads) <= MOST_HEADS:
        raise refused(("heads",), f"needs 1 to {MOST_HEADS} heads, got {len(heads)}")
    problems = Problems()
    problems.extend(_name_problems([head.name for head in heads]))
    problems.extend(
        problem(("heads", head.name), f"needs units <= {MOST_HEAD_UNITS}, got {head.units}")
        for head in heads
        if head.units is not None and head.units > MOST_HEAD_UNITS
    )
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
    path: Path = ("heads", str(name))
    if isinstance(given, DeclaredHead):
        if given.name != name:
            raise refused(path, f"needs a head of this name, got one named {given.name!r}")
        return given
    if not isinstance(given, Mapping) or not isinstance(given.get("kind"), str):
        rule = f"needs a mapping with a kind of {list(KINDS)}, such as {{kind: box}}"
        raise refused(path, f"{rule}, got {shown(given)}")
    problems = Problems()
    problems.extend(unknown_keys(given, HEAD_KEYS, at=path))
    for key in ("loss", "activation"):
        if key in given and not isinstance(given[key], str | None):
            problems.add((*path, key), f"needs text, got {shown(given[key])}")
        elif given.get(key) == "":
            problems.add((*path, key), "needs text, or leave it out for the default, got ''")
    problems.refuse_any()
    return DeclaredHead(name=name, **{**given, **_read_units(given, path)})


def _read_units(given: Mapping[str, Any], path: Path) -> dict[str, int]:
    """Return the units as an int where they are a float without fraction."""
    units = given.get("units")
    is_whole = isinstance(units, float) and units.is_integer()
    return {"units": int(units)} if is_whole else {}  # type: ignore[arg-type]


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
    path = ("image_size",)
    if not isinstance(value, Sequence) or isinstance(value, str | bytes) or len(value) != 2:
        raise refused(path, f"needs [height, width], got {shown(value)}")
    rule = f"needs a height and a width of 1 to {LARGEST_SIDE} pixels"
    height, width = (whole(v, path, least=1, most=LARGEST_SIDE, rule=rule) for v in value)
    return height, width


def _read_space(value: Any) -> SearchSpace | None:
    if value is None or isinstance(value, SearchSpace):
        return value
    return SearchSpace.from_mapping(value)


def _read_first(value: Any) -> tuple[dict[str, Any], ...]:
    path = ("start_with",)
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise refused(path, f"needs a list of configs, got {shown(value)}")
    if len(value) > MOST_FIRST_CONFIGS:
        raise refused(path, f"needs at most {MOST_FIRST_CONFIGS} configs, got {len(value)}")
    problems = Problems()
    for index, config in enumerate(value):
        with problems.at(*path, index):
            check_mapping(config, (*path, index), "{learning_rate: 0.001}")
    problems.refuse_any()
    return tuple(dict(config) for config in value)


def _read_earlier(value: Any) -> tuple[str, ...]:
    path = ("warm_start",)
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise refused(path, f"needs a list of study folders, got {shown(value)}")
    if len(value) > MOST_EARLIER:
        raise refused(path, f"needs at most {MOST_EARLIER} studies, got {len(value)}")
    problems, folders = Problems(), []
    for index, folder in enumerate(value):
        with problems.at(*path, index):
            folders.append(_place(folder, (*path, index)))
    problems.refuse_any()
    return tuple(folders)


def _read_model(value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise refused(("model",), f"needs the form 'package.module:function', got {shown(value)}")
    try:
        return UserModelSpec(target=value, image_shape=(1, 1, 1), heads=(), arguments=()).target
    except InputError as error:
        raise refused(("model",), str(error).removeprefix("model ")) from None


def _one_of(name: str, allowed: Sequence[str]) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if not isinstance(value, str) or value not in allowed:
            raise refused((name,), f"needs to be one of {list(allowed)}, got {shown(value)}")
        return value

    return read


def _read_seed(value: Any) -> int:
    return whole(value, ("seed",), least=0, most=LARGEST_SEED)


def _read_reference(value: Any) -> bool:
    if not isinstance(value, bool):
        raise refused(("reference",), f"needs true or false, got {shown(value)}")
    return value


_READERS: dict[str, Callable[[Any], Any]] = {
    "name": _read_name,
    "data": _read_place("data"),
    "heads": _read_heads,
    "image_size": _read_image_size,
    "validation": lambda value: read_value(Validation, "validation", value),
    "model": _read_model,
    "space": _read_space,
    "budget": lambda value: read_value(Budget, "budget", value),
    "start_with": _read_first,
    "warm_start": _read_earlier,
    "objective": read_objective,
    "sampler": read_sampler,
    "scheduler": _one_of("scheduler", SCHEDULERS),
    "resources": lambda value: read_value(Resources, "resources", value),
    "precision": _one_of("precision", PRECISIONS),
    "seed": _read_seed,
    "reference": _read_reference,
    "storage": _read_place("storage"),
    "module_folder": _read_folder,
}


def _of_plain(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: read(plain(value))


READERS = {name: _of_plain(read) for name, read in _READERS.items()}
"""Of each field: from what was given to its value; raises an `InputError`."""
