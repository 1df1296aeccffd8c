"""What a value must be, in words and as a check: one family for studies, spaces and specs."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

from trainables.errors import InputError
from trainables.spec.plain_values import plain
from trainables.spec.problems import Path, Problems, shown

LARGEST_SEED = 2**32 - 1


@final
@dataclass(frozen=True, slots=True)
class Rule:
    """What a value must be.

    Example:
        >>> whole(1, 9)(3.0), FLAG(True)
        (3, True)
        >>> whole(1, 9)("3", what="depth")
        Traceback (most recent call last):
        trainables.errors.InputError: depth needs a whole number from 1 to 9, got '3'
    """

    words: str
    """Goes on after ``needs``."""

    test: Callable[[Any], bool]
    """Whether a plain value can be."""

    type: Callable[[Any], Any] | None = None
    """What a value is turned into; None: it stays as it is."""

    def __call__(self, value: object, *, what: str = "") -> Any:
        """Return the value, plain and in its right type, or raise an `InputError`.

        ``what`` is the subject of its message, unless a `Problems` adds where the value stands.
        """
        value = plain(value)
        if not self.test(value):
            raise InputError(f"{what} needs {self.words}, got {shown(value)}".lstrip())
        return value if self.type is None else self.type(value)

    def allowing(self, *values: object, words: str = "") -> "Rule":
        """Return the same rule with some values besides, which stay as they are."""

        def is_one(value: object) -> bool:
            return any(value is one or (one is not None and value == one) for one in values)

        turn = self.type or (lambda value: value)
        return Rule(
            words=words or self.words,
            test=lambda value: is_one(value) or self.test(value),
            type=lambda value: value if is_one(value) else turn(value),
        )


def is_number(value: object) -> bool:
    """Tell whether a value is an int or a float, and no bool."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_text(value: object) -> bool:
    """Tell whether a value is text that files and tables hold: no half of a surrogate pair."""
    try:
        return isinstance(value, str) and value.encode() is not None
    except UnicodeEncodeError:
        return False


def is_same(one: object, other: object) -> bool:
    """Tell whether two values are equal, where ``True`` is not 1 but 1.0 is."""
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def whole(least: int, most: int, words: str = "") -> Rule:
    """Return the rule of a whole number in a range; a float such as ``24.0`` is one."""
    return Rule(
        words=words or f"a whole number from {least} to {most}",
        test=lambda value: _is_whole(value) and least <= value <= most,
        type=int,
    )


def number(words: str, test: Callable[[Any], bool]) -> Rule:
    """Return the rule of a finite number that passes a test; it stays an int or a float."""
    largest = sys.float_info.max
    return Rule(
        words=words,
        test=lambda value: is_number(value) and -largest <= value <= largest and test(value),
    )


def one_of(allowed: Sequence[str], field: str = "") -> Rule:
    """Return the rule of a text that is one of some; ``field`` of what the message is about."""
    return Rule(
        words=f"{field} to be one of {list(allowed)}".lstrip(),
        test=lambda value: isinstance(value, str) and value in allowed,
    )


def read_fields(owner: Any, at: Path, rules: Mapping[str, Rule]) -> None:
    """Read the fields of a frozen value, which stands at a path, by their rules.

    Raise a `PlacedError` with each field that cannot be.
    """
    problems = Problems()
    for name, rule in rules.items():
        with problems.at(*at, name):
            object.__setattr__(owner, name, rule(getattr(owner, name)))
    problems.refuse_any()


def _is_whole(value: Any) -> bool:
    return is_number(value) and (isinstance(value, int) or value.is_integer())


FLAG = Rule("true or false", lambda value: isinstance(value, bool))
FINITE = replace(
    # An int beyond 64 bits fits no float, no array and no database.
    number("a finite number", lambda value: isinstance(value, float) or abs(value) < 2**63),
    type=float,
)
WHOLE = Rule("a whole number", _is_whole, int)
TARGET = Rule(
    "the form 'package.module:function'",
    lambda value: (
        isinstance(value, str)
        and all(
            part.isidentifier()
            for part in (*value.partition(":")[0].split("."), value.partition(":")[2])
        )
    ),
)
"""A user's own function."""
