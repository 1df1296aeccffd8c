"""The small checked values that a study is made of: budget, resources, validation."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeVar

from search.errors import InputError
from search.keys import unknown_keys

Value = TypeVar("Value")
GPU_FRACTIONS = (0, 0.25, 0.5)
"""Shares of one GPU besides whole ones: with few classes Ray can reuse a process."""


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
        """Check the ranges."""
        check_whole("budget.trials", self.trials, least=1, most=1_000_000)
        check_whole("budget.epochs", self.epochs, least=1, most=100_000)
        if self.hours is not None and not (is_number(self.hours) and 0 < self.hours < math.inf):
            raise InputError(f"budget.hours needs a number > 0, got {self.hours!r}")

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return {"trials": self.trials, "epochs": self.epochs, "hours": self.hours}


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What one trial takes of a machine."""

    cpu: int = 1
    gpu: float = 0
    """0, 1/4, 1/2 or a whole number."""
    concurrent: int | Literal["auto"] = "auto"
    """Trials at once; ``auto``: as many as there is room for."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_whole("resources.cpu", self.cpu, least=1, most=1_000_000)
        whole = is_number(self.gpu) and self.gpu >= 0 and float(self.gpu).is_integer()
        if not whole and self.gpu not in GPU_FRACTIONS:
            raise InputError(
                f"resources.gpu needs 0, 0.25, 0.5 or a whole number, got {self.gpu!r}"
            )
        if self.concurrent != "auto":
            check_whole("resources.concurrent", self.concurrent, least=1, most=1_000_000)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return {"cpu": self.cpu, "gpu": self.gpu, "concurrent": self.concurrent}


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """Which rows validate, where the data has no ``split`` column."""

    share: float = 0.2
    seed: int = 0
    """Its own, so that the study's seed does not move the split."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not is_number(self.share) or not 0 < self.share < 1:
            raise InputError(f"validation.share needs a number in (0, 1), got {self.share!r}")
        check_whole("validation.seed", self.seed, least=0, most=2**32 - 1)

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
        raise InputError(f"{name} needs a mapping with keys of {known}, got {given!r}")
    problems = unknown_keys(given, known, where=name)
    if problems:
        raise InputError.of(problems)
    return kind(**given)


def is_number(value: object) -> bool:
    """Tell whether a value is an int or a float, and no bool."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def check_whole(name: str, value: object, *, least: int, most: int) -> None:
    """Raise an `InputError` unless the value is a whole number in the range."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise InputError(f"{name} needs a whole number from {least} to {most}, got {value!r}")
