"""Reads a study file: plain YAML, no tags, every problem with its line."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from search.errors import InputError

if TYPE_CHECKING:
    from search.study import Study

LARGEST_BYTES = 2**18
"""PyYAML takes about 15 s for a MiB."""
DEEPEST = 20
MOST_DIGITS = 40

Lines = dict[tuple[str, ...], int]
"""From the path of a key to the line it stands in, from 1."""


class _Loader(yaml.SafeLoader):
    """Reads the core schema of YAML 1.2, and neither tags nor anchors.

    PyYAML's own is 1.1, where ``1e-3`` is text, ``1:30`` is 90, ``010`` is 8 and ``no`` is false.
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
    "int": (r"[-+]?[0-9]+", list("-+0123456789")),
    "float": (
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
}
_Loader.yaml_implicit_resolvers = {}
for _name, (_rule, _first) in _CORE.items():
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_name}", re.compile(f"(?:{_rule})\\Z"), _first
    )
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_whole)


def read_study_file(path: Path, changes: Mapping[str, Any]) -> "Study":
    """Read and check a study file; see ``Study.from_yaml``."""
    from search.study import Study

    values, lines = parse(_read(path), str(path))
    if not isinstance(values, dict):
        raise InputError(f"{path}: a study needs keys and values such as 'name: digits'")
    folder = path.resolve().parent
    if isinstance(values.get("data"), str):
        values["data"] = _beside(folder, values["data"])
    values.setdefault("module_folder", str(folder))
    given = {key: value for key, value in changes.items() if value is not None}
    try:
        return Study.from_dict({**values, **given})
    except InputError as error:
        own = {key: line for key, line in lines.items() if key[:1] and key[0] not in given}
        raise InputError(_placed(str(error), str(path), own)) from None


def parse(text: str, where: str) -> tuple[Any, Lines]:
    """Return the plain values of a YAML text, and where each key stands.

    Raises:
        InputError: If it is no YAML, or has a tag, an anchor, a key twice or too much depth.
    """
    try:
        loader = _Loader(text)
        loader.where = where
        node = loader.get_single_node()
        if node is None:
            raise InputError(f"{where} is empty; a study needs 'name', 'data' and 'heads'")
        lines: Lines = {}
        _note_lines(node, where, (), lines)
        return loader.construct_document(node), lines
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise InputError(f"{where}:{line} is not YAML: {error.reason}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{where}:{mark.line + 1}" if mark else where
        said = getattr(error, "problem", None) or str(error).splitlines()[0]
        hint = "; indent with spaces, not tabs" if "\\t" in said else ""
        raise InputError(f"{place} is not YAML: {said}{hint}") from None


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
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


def _note_lines(node: yaml.Node, where: str, path: tuple[str, ...], lines: Lines) -> None:
    """Note the line of every key and item; refuse keys that are no text or stand twice."""
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _note_lines(item, where, (*path, f"[{index}]"), lines)
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode) or not key.tag.endswith(":str"):
            got = repr(key.value) if isinstance(key, yaml.ScalarNode) else f"a {key.id}"
            raise InputError(f"{where}:{line} needs text as a key, got {got}")
        if (*path, key.value) in lines:
            raise InputError(f"{where}:{line} has the key {key.value!r} twice")
        lines[(*path, key.value)] = line
        _note_lines(value, where, (*path, key.value), lines)


def _beside(folder: Path, data: str) -> str:
    """Return a relative path as one beside the file, if it lies there."""
    if "://" in data or "\0" in data or os.path.isabs(data):
        return data
    return str(folder / data) if os.path.exists(folder / data) else data


def _placed(message: str, where: str, lines: Lines) -> str:
    """Put file and line before each problem, found by the key path that it begins with."""
    head, *items = message.split("\n  - ")
    if not items:
        return f"{where}{_line(head, lines)}: {head}"
    placed = "".join(f"\n  - {where}{_line(item, lines)}: {item}" for item in items)
    return f"{where}: {head}{placed}"


def _line(problem: str, lines: Lines) -> str:
    """Return ``:line`` of the key that a problem is about: its path, and the name it quotes."""
    match = re.match(r"[A-Za-z_]\w*(\.\w+|\[\d+\])*", problem)
    path = tuple(re.findall(r"\w+|\[\d+\]", match.group())) if match else ()
    path = path[1:] if path[:1] == ("study",) else path
    for name in re.findall(r"'([^']*)'", problem):
        if (*path, name) in lines:
            return f":{lines[(*path, name)]}"
    while path and path not in lines:
        path = path[:-1]
    return f":{lines[path]}" if path else ""
