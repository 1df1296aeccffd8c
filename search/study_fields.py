"""How each field of a study is read from its plain form, and checked by itself."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from search.errors import InputError
from search.keys import unknown_keys
from search.scheduler import SCHEDULERS
from search.settings import Budget, Resources, Validation, check_whole, read_value
from search.space import SearchSpace
from trainables.head_spec import DeclaredHead
from trainables.spec import UserModelSpec

SAMPLERS = ("tpe", "random", "nsga2")
PRECISIONS = ("float32", "bfloat16", "auto")
MOST_FIRST_CONFIGS = 1000
HEAD_KEYS = tuple(item.name for item in fields(DeclaredHead) if item.name != "name")
"""What may be said of a head."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def _read_name(value: Any) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise InputError(
            "name needs 1 to 64 letters, digits, '.', '_' or '-', the first a letter or digit, "
            f"got {value!r}"
        )
    return value


def _read_place(name: str) -> Any:
    def read(value: Any) -> str:
        if isinstance(value, os.PathLike):
            value = os.fspath(value)
        if not isinstance(value, str) or not value.strip() or "\0" in value:
            raise InputError(f"{name} needs a path or a URI, got {value!r}")
        # Absolute, so that a study can be resumed from any folder.
        return value if "://" in value else os.path.abspath(os.path.expanduser(value))

    return read


def _read_heads(value: Any) -> tuple[DeclaredHead, ...]:
    if isinstance(value, tuple) and value and all(isinstance(v, DeclaredHead) for v in value):
        return value
    if not isinstance(value, Mapping) or not value:
        raise InputError(
            "heads needs a mapping such as {c_output: {kind: classification}}, with at least "
            f"one head, got {value!r}"
        )
    heads, problems = [], []
    for name, given in value.items():
        try:
            heads.append(_read_head(name, given))
        except InputError as error:
            problems.append(f"heads.{name}: {error}")
    if problems:
        raise InputError.of(problems)
    return tuple(heads)


def _read_head(name: Any, given: Any) -> DeclaredHead:
    if isinstance(given, DeclaredHead):
        return given
    if not isinstance(given, Mapping) or "kind" not in given:
        raise InputError(f"needs a mapping with a kind, such as {{kind: box}}, got {given!r}")
    problems = unknown_keys(given, HEAD_KEYS, where=f"heads.{name}")
    if problems:
        raise InputError.of(problems)
    return DeclaredHead(name=name, **given)


def _read_image_size(value: Any) -> tuple[int, int] | None:
    if value is None:
        return None
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 2:
        raise InputError(f"image_size needs [height, width], got {value!r}")
    for name, side in zip(("height", "width"), value, strict=True):
        check_whole(f"image_size's {name}", side, least=1, most=8192)
    return (value[0], value[1])


def _read_space(value: Any) -> SearchSpace | None:
    if value is None or isinstance(value, SearchSpace):
        return value
    return SearchSpace.from_mapping(value)


def _read_first(value: Any) -> tuple[dict[str, Any], ...]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise InputError(f"start_with needs a list of configs, got {value!r}")
    if len(value) > MOST_FIRST_CONFIGS:
        raise InputError(
            f"start_with needs at most {MOST_FIRST_CONFIGS} configs, got {len(value)}"
        )
    for index, config in enumerate(value):
        if not isinstance(config, Mapping):
            raise InputError(f"start_with[{index}] needs a mapping of parameters, got {config!r}")
    return tuple(dict(config) for config in value)


def _read_model(value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise InputError(f"model needs 'package.module:function', got {value!r}")
    return UserModelSpec(target=value, image_shape=(1, 1, 1), heads=(), arguments=()).target


def _one_of(name: str, allowed: Sequence[str]) -> Any:
    def read(value: Any) -> Any:
        if value not in allowed:
            raise InputError(f"{name} needs to be one of {list(allowed)}, got {value!r}")
        return value

    return read


def _read_seed(value: Any) -> int:
    check_whole("seed", value, least=0, most=2**32 - 1)
    return int(value)


def _read_reference(value: Any) -> bool:
    if not isinstance(value, bool):
        raise InputError(f"reference needs true or false, got {value!r}")
    return value


READERS: dict[str, Any] = {
    "name": _read_name,
    "data": _read_place("data"),
    "heads": _read_heads,
    "image_size": _read_image_size,
    "validation": lambda value: read_value(Validation, "validation", value),
    "model": _read_model,
    "space": _read_space,
    "budget": lambda value: read_value(Budget, "budget", value),
    "start_with": _read_first,
    "sampler": _one_of("sampler", SAMPLERS),
    "scheduler": _one_of("scheduler", SCHEDULERS),
    "resources": lambda value: read_value(Resources, "resources", value),
    "precision": _one_of("precision", PRECISIONS),
    "seed": _read_seed,
    "reference": _read_reference,
    "storage": _read_place("storage"),
}
"""Of each field: from what was given to its value; raises an `InputError`."""
