"""The small checked values that a study is made of: budget, resources, validation."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, TypeVar

from search.space.parameters import is_number
from search.space.problems import Path, Problems, refused, shown, unknown_keys
from trainables.spec.plain_values import make_plain, plain

Value = TypeVar("Value")
GPU_FRACTIONS = (0.25, 0.5)
"""Shares of one GPU besides whole ones: with few classes Ray can reuse a process."""
MOST_HOURS = 1_000_000
MOST_UNITS = 1_000_000
"""CPUs or GPUs of a trial, and trials at once."""
MOST_WAIT_MINUTES = 100_000
LARGEST_SEED = 2**32 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How much a study may spend.

    Raises:
        InputError: If a field is out of range.
    """

    trials: int = 24
    """Numbers handed out, the reference trial and failed ones included."""
    epochs: int = 9
    """Epochs of a trial that is never stopped."""
    hours: float | None = None
    """Wall time of a run after which nothing more is begun; None for no limit."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        make_plain(self)
        problems = Problems()
        with problems.at():
            read_whole(self, ("budget", "trials"), least=1, most=1_000_000)
        with problems.at():
            read_whole(self, ("budget", "epochs"), least=1, most=100_000)
        hours = self.hours
        if hours is not None and not (is_number(hours) and 0 < hours <= MOST_HOURS):
            rule = f"needs a number > 0 and <= {MOST_HOURS}"
            problems.add(("budget", "hours"), f"{rule}, got {shown(hours)}")
        problems.refuse_any()

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return {"trials": self.trials, "epochs": self.epochs, "hours": self.hours}

    def less_than(self, other: "Budget") -> tuple[str, ...]:
        """Return the fields of which this budget has less than another."""
        return tuple(
            item.name for item in fields(self) if _amount(self, item) < _amount(other, item)
        )


def _amount(budget: Budget, item: Any) -> float:
    amount: float | None = getattr(budget, item.name)
    return math.inf if amount is None else amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What one trial takes of a machine.

    Raises:
        InputError: If a field is out of range.
    """

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
        """Check the ranges."""
        make_plain(self)
        problems = Problems()
        if self.cpu != "auto":
            with problems.at():
                rule = f"needs 'auto' or a whole number from 1 to {MOST_UNITS}"
                read_whole(self, ("resources", "cpu"), least=1, most=MOST_UNITS, rule=rule)
        if self.gpu != "auto" and (not is_number(self.gpu) or self.gpu not in GPU_FRACTIONS):
            with problems.at():
                rule = "needs 'auto', 0, 0.25, 0.5 or a whole number"
                read_whole(self, ("resources", "gpu"), least=0, most=MOST_UNITS, rule=rule)
        if self.concurrent != "auto":
            with problems.at():
                rule = "needs 'auto' or a whole number >= 1"
                path = ("resources", "concurrent")
                read_whole(self, path, least=1, most=MOST_UNITS, rule=rule)
        minutes = self.wait_minutes
        if not is_number(minutes) or not 0 <= minutes <= MOST_WAIT_MINUTES:
            path = ("resources", "wait_minutes")
            rule = f"needs a number from 0 to {MOST_WAIT_MINUTES}"
            problems.add(path, f"{rule}, got {shown(minutes)}")
        problems.refuse_any()

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

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return {item.name: getattr(self, item.name) for item in fields(self)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """Which rows validate, where the data has no ``split`` column.

    Raises:
        InputError: If a field is out of range.
    """

    share: float = 0.2
    seed: int = 0
    """Its own, so that the study's seed does not move the split."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        make_plain(self)
        problems = Problems()
        if not is_number(self.share) or not 0 < self.share < 1:
            path = ("validation", "share")
            problems.add(path, f"needs a number in (0, 1), got {shown(self.share)}")
        with problems.at():
            read_whole(self, ("validation", "seed"), least=0, most=LARGEST_SEED)
        problems.refuse_any()

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return {"share": self.share, "seed": self.seed}


def read_value(kind: type[Value], name: str, given: Any) -> Value:
    """Return one of the values above from a mapping, or as it is.

    Raises:
        InputError: If a key is unknown or a value out of range.
    """
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


def whole(value: object, path: Path, *, least: int, most: int, rule: str | None = None) -> int:
    """Return a value as a whole number; a float without fraction, such as ``24.0``, is one.

    Args:
        value: What was received.
        path: Where.
        least: The smallest that can be.
        most: The largest.
        rule: What the error says instead of the range.

    Raises:
        InputError: If it is none, or out of range.
    """
    value = plain(value)
    is_whole = is_number(value) and (isinstance(value, int) or value.is_integer())  # type: ignore[attr-defined]
    if not is_whole or not least <= value <= most:  # type: ignore[operator]
        rule = rule or f"needs a whole number from {least} to {most}"
        raise refused(path, f"{rule}, got {shown(value)}")
    return int(value)  # type: ignore[call-overload, no-any-return]


def read_whole(owner: Any, path: Path, *, least: int, most: int, rule: str | None = None) -> None:
    """Make the field of a frozen value that ``path`` ends with a whole number; see `whole`."""
    name = str(path[-1])
    number = whole(getattr(owner, name), path, least=least, most=most, rule=rule)
    object.__setattr__(owner, name, number)
