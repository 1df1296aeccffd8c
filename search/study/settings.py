"""The small checked values that a study is made of: budget, resources, validation."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, TypedDict, TypeVar

from trainables.spec.problems import Problems, refused, shown, unknown_keys
from trainables.spec.rules import LARGEST_SEED, number, read_fields, whole

Value = TypeVar("Value")
GPU_FRACTIONS = (0.25, 0.5)
"""Shares of one GPU besides whole ones: with few classes Ray can reuse a process."""
MOST_HOURS = 1_000_000
MOST_UNITS = 1_000_000
"""CPUs or GPUs of a trial, and trials at once."""
MOST_WAIT_MINUTES = 100_000

_BUDGET = {
    "trials": whole(1, 1_000_000),
    "epochs": whole(1, 100_000),
    "hours": number(
        f"a number > 0 and <= {MOST_HOURS}", lambda hours: 0 < hours <= MOST_HOURS
    ).allowing(None),
}
_RESOURCES = {
    "cpu": whole(1, MOST_UNITS).allowing(
        "auto", words=f"'auto' or a whole number from 1 to {MOST_UNITS}"
    ),
    "gpu": whole(0, MOST_UNITS).allowing(
        "auto", *GPU_FRACTIONS, words="'auto', 0, 0.25, 0.5 or a whole number"
    ),
    "concurrent": whole(1, MOST_UNITS).allowing("auto", words="'auto' or a whole number >= 1"),
    "wait_minutes": number(
        f"a number from 0 to {MOST_WAIT_MINUTES}",
        lambda minutes: 0 <= minutes <= MOST_WAIT_MINUTES,
    ),
}
_VALIDATION = {
    "share": number("a number in (0, 1)", lambda share: 0 < share < 1),
    "seed": whole(0, LARGEST_SEED),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How much a study may spend."""

    trials: int = 24
    """Numbers handed out, the reference trial and failed ones included."""
    epochs: int = 9
    """Epochs of a trial that is never stopped."""
    hours: float | None = None
    """Wall time of a run after which nothing more is begun; None for no limit."""

    def __post_init__(self) -> None:
        read_fields(self, ("budget",), _BUDGET)

    def less_than(self, other: "Budget") -> tuple[str, ...]:
        """Return the fields of which this budget has less than another."""
        budgets = (self, other)
        mine, others = ({**asdict(one), "hours": one.hours or math.inf} for one in budgets)
        return tuple(name for name in mine if mine[name] < others[name])


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What one trial takes of a machine."""

    cpu: int | Literal["auto"] = 1
    """Threads of a trial; ``auto``: as many as train most on a node, all its trials together."""
    gpu: float | Literal["auto"] = 0
    """0, 1/4, 1/2 or a whole number; ``auto``: the smallest share of one that has room for each
    trial, 0 where no node has one."""
    concurrent: int | Literal["auto"] = "auto"
    """Trials at once; ``auto``: as many as there is room for, or can be once a cluster grows."""
    wait_minutes: float = 30
    """How long to wait for nodes while no trial runs and nothing else keeps them busy."""

    def __post_init__(self) -> None:
        read_fields(self, ("resources",), _RESOURCES)

    @property
    def is_open(self) -> bool:
        """Whether a share is still to be measured: see `settled`."""
        return "auto" in (self.cpu, self.gpu)

    def settled(self, *, cpu: int, gpu: float) -> "Resources":
        """Return the same with numbers where it says ``auto``."""
        return replace(
            self,
            cpu=cpu if self.cpu == "auto" else self.cpu,
            gpu=gpu if self.gpu == "auto" else self.gpu,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """Which rows validate, where the data has no ``split`` column."""

    share: float = 0.2
    seed: int = 0
    """Its own, so that the study's seed does not move the split."""

    def __post_init__(self) -> None:
        read_fields(self, ("validation",), _VALIDATION)


class BudgetFields(TypedDict, total=False):
    """A `Budget` as a plain mapping."""

    trials: int
    epochs: int
    hours: float | None


class ResourcesFields(TypedDict, total=False):
    """`Resources` as a plain mapping."""

    cpu: int | Literal["auto"]
    gpu: float | Literal["auto"]
    concurrent: int | Literal["auto"]
    wait_minutes: float


class ValidationFields(TypedDict, total=False):
    """A `Validation` as a plain mapping."""

    share: float
    seed: int


def read_value(kind: type[Value], name: str, given: Any) -> Value:
    """Return one of the values above from a mapping, or as it is."""
    if isinstance(given, kind):
        return given
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    if not isinstance(given, Mapping):
        raise refused((name,), f"needs a mapping with keys of {known}, got {shown(given)}")
    problems = Problems()
    problems.extend(unknown_keys(given, known, at=(name,)))
    with problems.at(name):
        value = kind(**{key: given[key] for key in known if key in given})
    problems.refuse_any()
    return value
