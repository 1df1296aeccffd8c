"""A study: data, heads, space, budget, resources; checked as a whole when it is made."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from search.space.completion import complete, default_space, read_first, read_named
from search.space.space import SearchSpace
from search.study.fields import HEAD_KEYS, READERS, HeadFields
from search.study.objective import HEADS, objective_problems
from search.study.samplers import SamplerSetting, misfit, words_of
from search.study.settings import (
    Budget,
    BudgetFields,
    Resources,
    ResourcesFields,
    Validation,
    ValidationFields,
)
from search.text import count, one_line
from trainables.model.user_modules import user_folder_of
from trainables.spec.heads import DeclaredHead
from trainables.spec.plain_values import plain, plain_json
from trainables.spec.problems import Problems, check_mapping, unknown_keys
from trainables.storage.uri_keys import check_no_key

AnyPath = str | os.PathLike[str]

DEFAULT_STORAGE = "studies"
"""Where studies lie that do not say it, in the current folder."""
NEEDED = ("name", "data", "heads")
"""The fields that every study names."""
NO_DIFFERENCE = ("budget", "data", "storage", "module_folder", "resources.wait_minutes")
"""What may change between two runs: no trial depends on it. Of the budget nothing may shrink, and
data are known by their content (`search.study.moved_data`)."""
UNSAID = {"channels": None, "strict": False, "on_bad_rows": "error"}
"""Fields that are not written down where they are as usual: earlier versions do not know them."""


@dataclass(frozen=True, slots=True, kw_only=True, init=False, repr=False)
class Study:
    """One search. A value that exists is valid, as far as that can be told without the data.

    What has a type of its own may be given as a plain mapping, in the form of the study file.

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

    heads: tuple[DeclaredHead, ...]
    """The outputs; given by name."""

    image_size: tuple[int, int] | None
    """Height and width to resize to; None: the images' own."""

    channels: Literal[1, 3] | None
    """1: every image becomes grey, 3: colour; None: grey if all images are."""

    strict: bool
    """Whether what is legal but suspicious about the data is refused, not only told."""

    on_bad_rows: str
    """``error``: rows that cannot be used are refused; ``skip``: they are left out, and told."""

    validation: Validation
    """Which rows validate, without a ``split`` column."""

    model: str | None
    """A user's own function ``package.module:function``; None: the built-in model."""

    space: SearchSpace | None
    """What is searched; None: the default space."""

    budget: Budget
    """How much may be spent: trials, epochs of each, hours."""

    start_with: tuple[dict[str, Any], ...]
    """Configs to try first, in the space but for its constants; what they leave out is as in the
    space where that is constant, else the reference's."""

    warm_start: tuple[str, ...]
    """Folders of earlier studies with the same heads, whose trials inform the sampler; what was
    taken of them when the study began holds for good."""

    objective: str | tuple[str, ...]
    """What is minimised: ``heads``, the losses of all of them; a list of some; or ``total``, the
    sum of ``weight * loss`` with the constant loss weights of the space. All are recorded."""

    sampler: SamplerSetting
    """One of ``SAMPLERS`` or a class of Optuna samplers, as ``package.module:Class``; with options
    a mapping of ``name`` and these, such as ``{name: tpe, n_startup_trials: 20}``."""

    scheduler: str
    """One of ``SCHEDULERS``."""

    resources: Resources
    """What one trial takes of a machine, and how many run at once."""

    precision: str
    """One of ``PRECISIONS``."""

    seed: int
    """Of the suggestions, the initial weights and the shuffling; 0 to 2**32 - 1."""

    reference: bool
    """Whether trial 0 is the reference: the built-in model, or ``model`` at its defaults."""

    storage: str
    """A folder or URI; the study lies in ``<storage>/<name>``."""

    module_folder: str | None
    """Where the module of ``model`` is looked for first; by default the study file's folder,
    in Python the one on ``sys.path`` that has it."""

    whole_space: SearchSpace = field(init=False, compare=False)
    """What follows from ``space``: of the built-in model an entry for all that shapes a trial; of
    a user's own function, which is looked at later, what is named."""

    def __init__(
        self,
        *,
        name: str,
        data: AnyPath,
        heads: Mapping[str, DeclaredHead | HeadFields | Mapping[str, object]]
        | tuple[DeclaredHead, ...],
        image_size: Sequence[int] | None = None,
        channels: Literal[1, 3] | None = None,
        strict: bool = False,
        on_bad_rows: str = "error",
        validation: Validation | ValidationFields | Mapping[str, float] = Validation(),  # noqa: B008 - frozen
        model: str | None = None,
        space: SearchSpace | Mapping[str, object] | None = None,
        budget: Budget | BudgetFields | Mapping[str, float | None] = Budget(),  # noqa: B008
        start_with: Sequence[Mapping[str, Any]] = (),
        warm_start: Sequence[AnyPath] = (),
        objective: str | Sequence[str] = HEADS,
        sampler: str | Mapping[str, Any] = "ehvi",
        scheduler: str = "pareto_asha",
        resources: Resources | ResourcesFields | Mapping[str, object] = Resources(),  # noqa: B008
        precision: str = "float32",
        seed: int = 0,
        reference: bool = True,
        storage: AnyPath = DEFAULT_STORAGE,
        module_folder: AnyPath | None = None,
    ) -> None:
        """Read the plain forms and check everything, all problems at once."""
        given, problems = locals(), Problems()
        for field_name, read in READERS.items():
            _set(self, **{field_name: given[field_name]})
            with problems.at(field_name):
                _set(self, **{field_name: read(plain(given[field_name]))})
        if not problems.is_at("heads", "model", "space", "start_with"):
            _read_together(self, problems)
        if not problems.is_at("heads", "model", "space", "start_with", "objective"):
            problems.extend(objective_problems(self))
            if self.objective == tuple(head.name for head in self.heads):
                _set(self, objective=HEADS)
        problems.refuse_any()
        if self.model is not None and self.module_folder is None:
            _set(self, module_folder=user_folder_of(self.model.partition(":")[0]))

    def __repr__(self) -> str:
        return one_line(self, self._words)

    def _words(self) -> str:
        heads = ", ".join(f"{head.name} ({head.kind})" for head in self.heads)
        num_trials, num_epochs = count(self.budget.trials, "trial"), self.budget.epochs
        budget = f"{num_trials} x {count(num_epochs, 'epoch')}"
        return f"{self.name!r}: {heads}; {budget}; {words_of(self.sampler)}, {self.scheduler}"

    @property
    def folder(self) -> str:
        """Where the study lies: ``<storage>/<name>``."""
        storage = self.storage if self.storage.endswith("://") else self.storage.rstrip("/") + "/"
        return f"{storage}{self.name}"

    @classmethod
    def from_yaml(cls, path: str | Path, **changes: Any) -> "Study":
        """Read a study file.

        ``data`` is taken relative to the file's folder if it lies there, else to the current
        folder; ``storage`` and ``warm_start`` relative to the current folder; modules are found
        from the file's.

        Args:
            path: The file.
            **changes: Fields to take instead of the file's.

        Raises:
            InputError: Naming the file and, where it can be told, the line.
        """
        from search.study.yaml_file import read_study_file  # PyYAML takes long

        check_no_key("a study file", os.fspath(path))
        return read_study_file(Path(path), changes, cls.from_dict)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Study":
        """Return the study of a mapping with the keys of the study file.

        Raises:
            InputError: If a key is unknown or missing, or a value is not what it must be.
        """
        check_mapping(values, (), "{name: digits, data: digits.parquet, heads: {...}}")
        missing = [name for name in NEEDED if name not in values]
        problems = Problems()
        problems.extend(unknown_keys(values, READERS))
        for name in missing:
            problems.add((), f"needs {name!r}")
        given = {name: values[name] for name in READERS if name in values}
        if missing:
            for name, value in given.items():
                with problems.at(name):
                    READERS[name](plain(value))
            problems.refuse_any()
        with problems.at():
            study = cls(**given)
        problems.refuse_any()
        return study

    def to_dict(self) -> dict[str, Any]:
        """Return the study as plain JSON values, which `from_dict` reads."""
        fields = {
            name: value
            for name in READERS
            if (value := getattr(self, name)) != UNSAID.get(name, ...)
        }
        fields["heads"] = {head.name: _head_to_dict(head) for head in self.heads}
        fields["space"] = None if self.space is None else self.space.to_mapping()
        values: dict[str, Any] = plain_json(fields)
        return values

    def differences(self, other: "Study") -> list[tuple[str, Any, Any]]:
        """Return what keeps this study from going on with another's record.

        The budget may have grown; where the study, its data and modules, and the studies that it
        took trials of lie, may differ.
        Of each difference the key, the value here and the value there.
        """
        here, there = _without_parents(self), _without_parents(other)
        found = [
            difference
            for key in {**there, **here}
            if key not in NO_DIFFERENCE
            for difference in _differences(key, here.get(key), there.get(key))
            if difference[0] not in NO_DIFFERENCE
        ]
        for name in self.budget.less_than(other.budget):
            key = f"budget.{name}"
            found.append((key, getattr(self.budget, name), getattr(other.budget, name)))
        return found

    def with_budget(
        self, *, trials: int | None = None, epochs: int | None = None, hours: float | None = None
    ) -> "Study":
        """Return the study with another budget; None leaves a field as it is."""
        changes = {"trials": trials, "epochs": epochs, "hours": hours}
        given: Any = {name: value for name, value in changes.items() if value is not None}
        return replace(self, budget=replace(self.budget, **given))

    def with_data(self, data: AnyPath | None) -> "Study":
        """Return the study with its data set at another place; None leaves it as it is."""
        return self if data is None else replace(self, data=os.fspath(data))


def _set(study: Study, **values: Any) -> None:
    for name, value in values.items():
        object.__setattr__(study, name, value)


def _without_parents(study: Study) -> dict[str, Any]:
    """Return a study's fields, of an earlier study only its name: its folder may have moved."""
    names = [place.rstrip("/").rpartition("/")[2] for place in study.warm_start]
    return {**study.to_dict(), "warm_start": names}


def _differences(key: str, here: Any, there: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield what differs, key by key where both are mappings."""
    if not isinstance(here, dict) or not isinstance(there, dict):
        if here != there:
            yield key, here, there
        return
    for name in {**there, **here}:
        yield from _differences(f"{key}.{name}", here.get(name), there.get(name))
    # The first head is the unit of the others' loss weights, and columns are in this order.
    if key == "heads" and here == there and list(here) != list(there):
        yield key, list(here), list(there)


def _head_to_dict(head: DeclaredHead) -> dict[str, Any]:
    values = {key: getattr(head, key) for key in HEAD_KEYS}
    if head.kind != "box":
        del values["format"], values["scale"]
    return {key: value for key, value in values.items() if value is not None}


def _read_together(study: Study, problems: Problems) -> None:
    """Read what only the fields together tell; a user's own function is looked at later."""
    is_builtin, heads, space = study.model is None, study.heads, study.space
    with problems.at("space"):
        if space is not None:
            named = read_named(dict(space.parameters), heads, is_builtin=is_builtin)
            space = SearchSpace(parameters=tuple(named.items()))
            _set(study, space=space)
    if problems.is_at("space"):
        return
    if space is None:
        whole = default_space(heads) if is_builtin else SearchSpace(parameters=())
    else:
        whole = complete(space, heads) if is_builtin else space
    _set(study, whole_space=whole)
    reason = None if problems.is_at("sampler") else misfit(study.sampler, whole)
    if reason is not None:
        problems.add(("sampler",), reason)
    first = []
    for index, config in enumerate(study.start_with):
        at = ("start_with", index)
        with problems.at(*at):
            first.append(read_first(config, whole, heads, is_builtin=is_builtin, at=at))
    if not problems.is_at("start_with"):
        _set(study, start_with=tuple(first))
