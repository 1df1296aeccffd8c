"""A study: data, heads, space, budget, resources; checked as a whole when it is made."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from search.completion import DEPTH, complete, value_rule
from search.errors import InputError
from search.keys import unknown_keys
from search.kinds import Choice, check_constant, ends
from search.settings import Budget, Resources, Validation
from search.space import MOST_PARAMETERS, SearchSpace
from search.study_fields import HEAD_KEYS, READERS
from trainables.data_values import IMAGE_COLUMN, SPLIT_COLUMN
from trainables.head_spec import DeclaredHead
from trainables.parameters import reference_training


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """One search. A value that exists is valid, as far as that can be told without the data.

    ``heads``, ``space``, ``budget``, ``resources`` and ``validation`` may be given as plain
    mappings, in the form of the study file.

    Raises:
        InputError: With every problem found, each with the path of its key.

    Example:
        >>> heads = {"c_output": {"kind": "classification"}, "r_output": {"kind": "box"}}
        >>> study = Study(name="digits", data="digits.parquet", heads=heads)
        >>> study.budget.trials, study.heads[1].kind
        (24, 'box')
    """

    name: str
    """Letters, digits, ``.``, ``_`` and ``-``; the study's folder in the storage."""

    data: str
    """A Parquet file, a folder of them, or a URI."""

    heads: Any
    """The outputs by name; in the value a tuple of `DeclaredHead`."""

    image_size: tuple[int, int] | None = None
    """Height and width to resize to; None: the images' own."""

    validation: Any = field(default_factory=Validation)
    """Which rows validate, without a ``split`` column; in the value a `Validation`."""

    model: str | None = None
    """A user's own function ``package.module:function``; None: the built-in model."""

    space: Any = None
    """What is searched; in the value a `SearchSpace`, or None for the default space."""

    budget: Any = field(default_factory=Budget)
    """In the value a `Budget`."""

    start_with: Any = ()
    """Configs to try first; what they leave out is as in the space, or the reference's."""

    sampler: str = "tpe"
    """One of ``SAMPLERS``."""

    scheduler: str = "pareto_asha"
    """One of ``SCHEDULERS``."""

    resources: Any = field(default_factory=Resources)
    """In the value a `Resources`."""

    precision: str = "float32"
    """One of ``PRECISIONS``."""

    seed: int = 0
    """Of the suggestions, the initial weights and the shuffling; 0 to 2**32 - 1."""

    reference: bool = True
    """Whether trial 0 is the reference architecture."""

    storage: str = "studies"
    """A folder or URI; the study lies in ``<storage>/<name>``."""

    module_folder: str | None = None
    """Where the module of ``model`` is looked for first; by default the study file's folder."""

    def __post_init__(self) -> None:
        """Read the plain forms and check everything, all problems at once."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        read, problems = _read(values)
        for name, value in read.items():
            object.__setattr__(self, name, value)
        problems = problems or _joint_problems(self)
        if problems:
            raise InputError.of(problems)

    @property
    def folder(self) -> str:
        """Where the study lies: ``<storage>/<name>``."""
        return f"{self.storage.rstrip('/')}/{self.name}"

    @classmethod
    def from_yaml(cls, path: str | Path, **changes: Any) -> "Study":
        """Read a study file.

        ``data`` is taken relative to the file's folder if it lies there, else to the current
        folder; ``storage`` relative to the current folder; modules are found from the file's.

        Args:
            path: The file.
            **changes: Fields to take instead of the file's.

        Raises:
            InputError: Naming the file and, where it can be told, the line.
        """
        from search.study_yaml import read_study_file

        return read_study_file(Path(path), changes)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Study":
        """Return the study of a mapping with the keys of the study file.

        Raises:
            InputError: If a key is unknown or missing, or a value is not what it must be.
        """
        known = [item.name for item in fields(cls)]
        problems = unknown_keys(values, known)
        problems += [f"study needs {k!r}" for k in ("name", "data", "heads") if k not in values]
        if problems:
            raise InputError.of(problems + _read(values)[1])
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Return the study as plain JSON values, which `from_dict` reads."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        for name in ("validation", "budget", "resources"):
            values[name] = values[name].to_dict()
        values["heads"] = {head.name: _head_to_dict(head) for head in self.heads}
        values["space"] = None if self.space is None else self.space.to_mapping()
        values["image_size"] = None if self.image_size is None else list(self.image_size)
        values["start_with"] = [dict(config) for config in self.start_with]
        return values

    def differences(self, other: "Study") -> list[tuple[str, Any, Any]]:
        """Return what keeps this study from going on with another's record.

        The budget may have grown; where the study lies, and where modules are found, may differ.

        Returns:
            Key, the value here, the value there.
        """
        here, there = self.to_dict(), other.to_dict()
        for free in ("budget", "storage", "module_folder"):
            del here[free], there[free]
        found = [pair for key in here for pair in _differing(key, here[key], there[key])]
        return found + list(_shrunk(self.budget, other.budget))

    def with_budget(self, **changes: Any) -> "Study":
        """Return the study with another budget; None leaves a field as it is."""
        given = {name: value for name, value in changes.items() if value is not None}
        return replace(self, budget=replace(self.budget, **given))


def _differing(key: str, here: Any, there: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield what differs of a field, entry by entry where both are mappings."""
    if not isinstance(here, dict) or not isinstance(there, dict):
        if here != there:
            yield key, here, there
        return
    for name in {**there, **here}:
        if here.get(name) != there.get(name):
            yield f"{key}.{name}", here.get(name), there.get(name)
    # The first head's loss weight is the unit of the others', and columns are in this order.
    if key == "heads" and here == there and list(here) != list(there):
        yield key, list(here), list(there)


def _shrunk(here: Budget, there: Budget) -> Iterator[tuple[str, Any, Any]]:
    for name in ("trials", "epochs"):
        if getattr(here, name) < getattr(there, name):
            yield f"budget.{name}", getattr(here, name), getattr(there, name)


def _head_to_dict(head: DeclaredHead) -> dict[str, Any]:
    values = {key: getattr(head, key) for key in HEAD_KEYS}
    if head.kind != "box":
        del values["format"], values["scale"]
    return {key: value for key, value in values.items() if value is not None}


def _read(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Read the given fields from their plain forms; return them, and every problem."""
    read: dict[str, Any] = {}
    problems: list[str] = []
    for name in (name for name in READERS if name in values):
        try:
            read[name] = READERS[name](values[name])
        except InputError as error:
            problems += _flat(error)
    return read, problems


def _flat(error: InputError) -> list[str]:
    """Return the single problems of an error that may have joined several, more than once."""
    parts = str(error).split("\n  - ")
    return [part for part in parts if not re.fullmatch(r"(.*: )?\d+ problems", part)]


def _joint_problems(study: Study) -> list[str]:
    """Check what only the fields together tell; a user's own function is looked at later."""
    problems = list(_name_problems(study.heads))
    if study.module_folder is not None and not isinstance(study.module_folder, str):
        problems.append(f"module_folder needs a path, got {study.module_folder!r}")
    if problems:
        return problems
    named = {} if study.space is None else dict(study.space.parameters)
    problems = _space_problems(study, named)
    if problems:
        return problems
    constants = {} if study.space is None else dict(study.space.constants)
    for index, config in enumerate(study.start_with):
        where = f"start_with[{index}]"
        found = _constant_problems(config) or _space_problems(study, {**constants, **config})
        problems += [re.sub(r"^space\b", where, problem) for problem in found]
    return problems


def _name_problems(heads: Sequence[DeclaredHead]) -> Iterator[str]:
    names = [head.name for head in heads]
    for name in (IMAGE_COLUMN, SPLIT_COLUMN):
        if name in names:
            yield f"heads.{name} needs another name: the column {name!r} is not a label"
    if len(set(names)) < len(names):
        yield f"heads needs names that differ, got {names}"


def _constant_problems(config: Mapping[str, Any]) -> list[str]:
    """Say what of a config is no single plain value."""
    problems = []
    for name, value in config.items():
        try:
            check_constant(value, f"space.{name}")
        except InputError as error:
            problems.append(str(error))
    return problems


def _space_problems(study: Study, named: Mapping[str, Any]) -> list[str]:
    """Say what cannot be among the parameters that a study or a config names."""
    if study.model is None:
        deepest = [name for name, depth in _depths(named) if depth > MOST_PARAMETERS]
        if deepest:
            return [f"space.{deepest[0]} needs at most {MOST_PARAMETERS} convolution blocks"]
        try:
            complete(SearchSpace(parameters=tuple(named.items())), study.heads)
        except InputError as error:
            return _flat(error)
        return []
    problems = []
    for name in sorted(named.keys() & reference_training(study.heads).keys()):
        words, is_right = value_rule(name, study.heads) or ("", lambda value: True)
        values = named[name].values if isinstance(named[name], Choice) else ends(named[name])
        wrong = [value for value in values if not is_right(value)]
        problems += [f"space.{name} needs {words}, got {value!r}" for value in wrong[:1]]
    return problems


def _depths(named: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Yield the parameters that say how many blocks there are, before any is thought of."""
    for name, value in named.items():
        match = re.fullmatch(r"conv(\d+)_filters", name)
        if match:
            yield name, int(match[1]) if len(match[1]) <= 6 else MOST_PARAMETERS + 1
        elif name == DEPTH and isinstance(value, int):
            yield name, value
