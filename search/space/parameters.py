"""What one parameter may be: a range of numbers, a choice, or a constant."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar, final

from search.errors import InputError
from trainables.spec.plain_values import make_plain, plain
from trainables.spec.problems import shown
from trainables.spec.rules import FINITE, FLAG, WHOLE, Rule, is_number, is_text

MOST_CHOICES = 1000
MOST_STEPS = 2**53
"""Beyond it neighbouring whole numbers are no longer different floats."""
SAME_STEP = 1e-8
"""How far from a multiple of its step a number may lie, in steps; Optuna's own tolerance."""

_EXACT = Rule("a whole number within 2**53", lambda value: abs(value) <= MOST_STEPS)

Constant = bool | int | float | str
"""The value of a parameter that is not searched."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Float:
    """A real number in ``[low, high]``; `InputError` if no sampler could draw from it."""

    kind: ClassVar[str] = "float"
    low: float
    high: float
    log: bool = False
    """Whether to draw evenly over orders of magnitude; needs ``low > 0``."""
    step: float | None = None
    """Only values ``low + k * step``; not together with ``log``: Optuna drops it in silence."""

    def __post_init__(self) -> None:
        make_plain(self)
        for name in ("low", "high", "step"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, FINITE(value, what=f"float's {name}"))
        _check_range(self)

    def __contains__(self, value: object) -> bool:
        if not is_number(value) or not self.low <= value <= self.high:  # type: ignore[operator]
            return False
        if self.step is None:
            return True
        steps = (value - self.low) / self.step  # type: ignore[operator]
        return abs(steps - round(steps)) < SAME_STEP

    @property
    def size(self) -> int | None:
        """How many values there are; None: any real number between the bounds."""
        if self.step is None:
            return 1 if self.low == self.high else None
        return num_steps(self) + 1


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Int:
    """A whole number in ``[low, high]``; `InputError` if no sampler could draw from it."""

    kind: ClassVar[str] = "int"
    low: int
    """A float without fraction, such as ``32.0``, is taken for the int; so for the others."""
    high: int
    log: bool = False
    """Whether to draw evenly over orders of magnitude; needs ``low > 0``."""
    step: int = 1
    """Only values ``low + k * step``; other than 1 not together with ``log``."""

    def __post_init__(self) -> None:
        make_plain(self)
        for name in ("low", "high", "step"):
            value = getattr(self, name)
            for rule in (_EXACT,) if type(value) is int else (FINITE, WHOLE, _EXACT):
                value = rule(value, what=f"int's {name}")
            object.__setattr__(self, name, value)
        _check_range(self)

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, int) or isinstance(value, bool):
            return False
        return self.low <= value <= self.high and (value - self.low) % self.step == 0

    @property
    def size(self) -> int:
        """How many values there are."""
        return (self.high - self.low) // self.step + 1


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One of some plain values; `InputError` if one stands twice: 1, 1.0 and true are one."""

    kind: ClassVar[str] = "choice"
    values: tuple[Constant, ...]

    def __post_init__(self) -> None:
        make_plain(self)
        if isinstance(self.values, str | bytes) or not isinstance(self.values, Sequence):
            raise InputError(f"choice needs a list of values, got {shown(self.values)}")
        object.__setattr__(self, "values", tuple(self.values))
        if not 1 <= len(self.values) <= MOST_CHOICES:
            raise InputError(f"choice needs 1 to {MOST_CHOICES} values, got {len(self.values)}")
        for value in self.values:
            check_constant(value, "choice's value")
        if len(set(self.values)) < len(self.values):
            raise InputError(f"choice needs values that differ, got {shown(list(self.values))}")

    def __contains__(self, value: object) -> bool:
        return any(type(value) is type(known) and value == known for known in self.values)

    @property
    def size(self) -> int:
        """How many values there are."""
        return len(self.values)

    @property
    def is_ordered(self) -> bool:
        """Whether it is between numbers, so that near values are alike."""
        return all(map(is_number, self.values))

    @property
    def places(self) -> tuple[Any, ...]:
        """The values by place: numbers by size, others as they are listed."""
        return tuple(sorted(self.values)) if self.is_ordered else self.values


Parameter = Float | Int | Choice
"""What is searched."""
_KINDS: dict[str, type[Float] | type[Int]] = {"float": Float, "int": Int}


def from_plain(value: Any) -> Parameter | Constant:
    """Read ``{float: [low, high], log: true}``, ``{int: ...}``, ``{choice: [...]}`` or a value."""
    if isinstance(value, Parameter):
        return value
    value = plain(value)
    if not isinstance(value, Mapping):
        return check_constant(value, "constant")
    kinds = [key for key in value if key in (*_KINDS, Choice.kind)]
    if len(kinds) != 1:
        raise InputError(
            "needs one of {float: [low, high]}, {int: [low, high]}, {choice: [values]} "
            f"or a constant, got {shown(dict(value))}"
        )
    kind, options = kinds[0], {key: item for key, item in value.items() if key != kinds[0]}
    allowed = [] if kind == Choice.kind else ["log", "step"]
    unknown = sorted(str(key) for key in options if key not in allowed)
    if unknown:
        raise InputError(f"{kind} has no option {shown(unknown)}; it takes {allowed}")
    if kind == Choice.kind:
        return Choice(values=value[kind])
    bounds = value[kind]
    if not isinstance(bounds, Sequence) or isinstance(bounds, str | bytes) or len(bounds) != 2:
        raise InputError(f"{kind} needs [low, high], got {shown(bounds)}")
    return _KINDS[kind](low=bounds[0], high=bounds[1], **options)


def to_plain(parameter: Parameter | Constant) -> Any:
    """Return the form of the study file; what `from_plain` reads."""
    if isinstance(parameter, Choice):
        return {"choice": list(parameter.values)}
    if not isinstance(parameter, Float | Int):
        return parameter
    values: dict[str, Any] = {parameter.kind: [parameter.low, parameter.high]}
    if parameter.log:
        values["log"] = True
    if parameter.step != _no_step(parameter):
        values["step"] = parameter.step
    return values


def num_steps(parameter: Float | Int) -> int:
    """Return how often the step fits between the bounds."""
    distance = Decimal(str(parameter.high)) - Decimal(str(parameter.low))
    return int(distance // Decimal(str(parameter.step or 1)))


def ends(parameter: Parameter | Constant) -> tuple[Any, Any]:
    """Return the smallest and the largest value; of a choice without order the first and last."""
    if isinstance(parameter, Float | Int):
        return parameter.low, parameter.high
    if isinstance(parameter, Choice):
        return parameter.places[0], parameter.places[-1]
    return parameter, parameter


def middle(parameter: Parameter | Constant) -> Constant:
    """Return the value half way between the ends, by orders of magnitude on a log scale.

    On the parameter's steps; of a choice the first value.
    """
    if isinstance(parameter, Choice):
        return parameter.values[0]
    if not isinstance(parameter, Float | Int):
        return parameter
    low, high = parameter.low, parameter.high
    half = math.sqrt(low) * math.sqrt(high) if parameter.log else low + (high - low) / 2
    if parameter.step is not None:
        half = low + math.floor((half - low) / parameter.step + SAME_STEP) * parameter.step
    half = min(max(half, low), high)
    return int(half) if isinstance(parameter, Int) else half


def described_middle(parameter: Parameter | Constant) -> str:
    """Return in words which value `middle` takes."""
    if isinstance(parameter, Choice):
        return "the first of its choices"
    return "the middle of its range" if isinstance(parameter, Parameter) else "constant"


def check_constant(value: object, what: str) -> Constant:
    """Return a plain, finite value within 64 bits, or raise an `InputError`."""
    value = plain(value)
    if not isinstance(value, bool | int | float | str):
        raise InputError(f"{what} needs a number, text, true or false, got {shown(value)}")
    if is_number(value):
        FINITE(value, what=what)
    elif isinstance(value, str) and not is_text(value):
        raise InputError(f"{what} needs text that UTF-8 can write, got {shown(value)}")
    return value


def is_plain(value: object) -> bool:
    """Tell whether a value could be a constant."""
    try:
        check_constant(value, "value")
    except InputError:
        return False
    return True


def _no_step(parameter: Float | Int) -> int | None:
    """Return the step that says nothing: a float may have any value, an int any whole one."""
    return 1 if isinstance(parameter, Int) else None


def _check_range(parameter: Float | Int) -> None:
    kind, low, high, step = parameter.kind, parameter.low, parameter.high, parameter.step
    FLAG(parameter.log, what=f"{kind}'s log")
    if low > high:
        raise InputError(f"{kind} needs low <= high, got low={low}, high={high}")
    if not math.isfinite(high - low):
        raise InputError(f"{kind} needs a finite high - low, got low={low}, high={high}")
    if parameter.log and low <= 0:
        raise InputError(f"{kind} with a log scale needs low > 0, got low={low}")
    if step is not None and step <= 0:
        raise InputError(f"{kind} needs step > 0, got {step}")
    if step is not None and (high - low) / step > MOST_STEPS:
        raise InputError(f"{kind} needs at most 2**53 steps, got step={step} in [{low}, {high}]")
    if parameter.log and step != _no_step(parameter):
        raise InputError(f"{kind} takes a log scale or a step, not both, got step={step}")
