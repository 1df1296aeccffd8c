"""Reads a study file: plain YAML, no tags, every problem with its line."""

import os
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import yaml

from search.errors import InputError
from trainables.errors import joined
from trainables.spec.problems import MOST_SHOWN, PlacedError, Problem, refused, shown
from trainables.spec.problems import Path as KeyPath
from trainables.storage.local import open_plain

LARGEST_BYTES = 2**18
"""PyYAML takes about 15 s for a MiB."""
DEEPEST = 20
MOST_DIGITS = 40

Made = TypeVar("Made")
Lines = dict[KeyPath, int]
"""From the path of a key or item to the line it stands in, from 1."""


class _Loader(yaml.SafeLoader):
    """Reads the core schema of YAML 1.2, and neither tags nor anchors.

    PyYAML's own is 1.1, where ``1e-3`` is text, ``1:30`` is 90, ``010`` is 8 and ``no`` is false.
    ``010``, which is 10 in 1.2, is text here.
    """

    where = ""
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Refuse what a plain file does not have before anything is made of it."""
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        place = f"{self.where}:{event.start_mark.line + 1}"
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            sign = "*" if isinstance(event, yaml.AliasEvent) else "&"
            raise InputError(f"{place} has {sign}{event.anchor}: write the value again instead")
        if event.tag is not None:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            raise InputError(f"{place} has the tag {tag!r}: a study file is plain data")
        if self.depth > DEEPEST:
            raise InputError(f"{place} is nested more than {DEEPEST} deep")
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_whole(self, node: yaml.Node) -> int:
        """Read a whole number in decimals."""
        if len(node.value) > MOST_DIGITS:
            line = node.start_mark.line + 1
            raise InputError(f"{self.where}:{line} has a number of {len(node.value)} digits")
        return int(node.value)


_CORE = {
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?(0|[1-9][0-9]*)", list("-+0123456789")),
    "float": (
        r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
}
_Loader.yaml_implicit_resolvers = {}
for _name, (_rule, _first) in _CORE.items():
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_name}", re.compile(f"(?:{_rule})\\Z"), _first
    )
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_whole)


def read_study_file(
    path: Path, changes: Mapping[str, Any], make: Callable[[Mapping[str, Any]], Made]
) -> Made:
    """Return what is made of a study file's values; see ``Study.from_yaml``."""
    values, lines = parse(_read(path), str(path))
    if not isinstance(values, dict):
        needed = "needs keys and values such as 'name: digits'"
        raise InputError(f"{path}: a study {needed}, got {shown(values)}")
    given = {key: value for key, value in changes.items() if value is not None}
    placed = _placed_values(values, os.path.dirname(os.path.abspath(path)))
    try:
        if "space" in values and values["space"] is None and "space" not in given:
            rule = "needs parameters; without the key the default space is searched"
            raise refused(("space",), f"{rule}, got nothing")
        return make({**placed, **given})
    except PlacedError as error:
        told = [
            problem.message
            if problem.path and problem.path[0] in given
            else _told(problem, str(path), lines)
            for problem in error.problems
        ]
        raise InputError(
            joined(told, where=str(path) if len(told) > 1 else "", most=MOST_SHOWN)
        ) from None


def said_storage(path: str | Path) -> str | None:
    """Return what a study file says of its storage, as it stands there; None if nothing."""
    values, _ = parse(_read(Path(path)), str(path))
    said = values.get("storage") if isinstance(values, dict) else None
    return said if isinstance(said, str) else None


def parse(text: str, where: str) -> tuple[Any, Lines]:
    """Return the plain values of a YAML text, and where each key stands."""
    try:
        loader = _Loader(text)
        loader.where = where
        node = loader.get_single_node()
        if node is None:
            raise InputError(f"{where} is empty; a study needs 'name', 'data' and 'heads'")
        lines: Lines = {}
        _note_lines(node, where, (), lines)
        return loader.construct_document(node), lines
    except InputError:
        raise
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise InputError(f"{where}:{line} is not YAML: {error.reason}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{where}:{mark.line + 1}" if mark else where
        said = getattr(error, "problem", None) or str(error).splitlines()[0]
        hint = "; indent with spaces, not tabs" if "\\t" in said else ""
        raise InputError(f"{place} is not YAML: {said}{hint}") from None
    except (ValueError, OverflowError):  # PyYAML 6.0 on "\\UFFFFFFFF", beyond all characters
        raise InputError(f"{where} is not YAML: it has an escape of no character") from None


def _read(path: Path) -> str:
    try:
        with open(path, "rb", opener=partial(open_plain, follow=True)) as file:
            content = file.read(LARGEST_BYTES + 1)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; give the path of a study file") from None
    except IsADirectoryError:
        raise InputError(
            f"{path} is a folder; give a study file, or `twohead resume` a study's folder"
        ) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{str(path)!r} cannot be read: {reason}") from None
    if len(content) > LARGEST_BYTES:
        raise InputError(f"{path} needs at most {LARGEST_BYTES} bytes to be a study file")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}:{line} needs UTF-8 text, got {error.reason}") from None


def _note_lines(node: yaml.Node, where: str, path: KeyPath, lines: Lines) -> None:
    """Note the line of every key and item; refuse keys that are no text or stand twice."""
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _note_lines(item, where, (*path, index), lines)
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode) or not key.tag.endswith(":str"):
            got = shown(key.value) if isinstance(key, yaml.ScalarNode) else f"a {key.id}"
            raise InputError(f"{where}:{line} needs text as a key, got {got}")
        if (*path, key.value) in lines:
            raise InputError(f"{where}:{line} has the key {shown(key.value)} twice")
        lines[(*path, key.value)] = line
        _note_lines(value, where, (*path, key.value), lines)


def _placed_values(values: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """Return a file's values with the paths that are relative to its folder made absolute."""
    placed = {"module_folder": folder, **values}
    if isinstance(placed["module_folder"], str):
        placed["module_folder"] = os.path.join(folder, os.path.expanduser(placed["module_folder"]))
    data = values.get("data")
    if isinstance(data, str) and data and "://" not in data:
        beside = os.path.join(folder, data)
        placed["data"] = beside if os.path.exists(beside) else data
    return placed


def _told(problem: Problem, where: str, lines: Lines) -> str:
    """Return a problem after the file and the line of its key, or of what that stands in."""
    path = problem.path
    while path and path not in lines:
        path = path[:-1]
    line = f":{lines[path]}" if path else ""
    return f"{where}{line}: {problem.message}"
