"""What `twohead doctor` says of one thing: a mark, what was seen, and what to do about it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

State = Literal["ok", "warn", "FAIL"]

MOST_NAMES = 3
"""Machines that are named one by one."""
_ORDER: tuple[State, ...] = ("ok", "warn", "FAIL")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the page."""

    check: str
    state: State
    seen: str
    cures: tuple[str, ...] = ()
    """What to do, each an imperative sentence; none if all is well."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "check": self.check,
            "state": self.state,
            "seen": self.seen,
            "cures": list(self.cures),
        }

    @classmethod
    def from_dict(cls, told: dict[str, Any]) -> "Finding":
        """Return what `to_dict` was made of; a state that is unknown here is a failure."""
        state = told.get("state")
        return cls(
            check=str(told.get("check", "?")),
            state=state if state in _ORDER else "FAIL",
            seen=str(told.get("seen", "")),
            cures=tuple(str(cure) for cure in told.get("cures", ())),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What is wrong on one machine."""

    what: str
    cure: str
    state: State = "FAIL"


def finding(check: str, problems: Iterable[tuple[str, Problem]], fine: str) -> Finding:
    """Return one finding for what was seen on several machines.

    Args:
        check: What was looked at.
        problems: Each with the name of its machine, or ``""`` if it concerns none in
            particular. The same problem of several machines is told once.
        fine: What to say if there are none.
    """
    machines: dict[Problem, list[str]] = {}
    for machine, problem in problems:
        machines.setdefault(problem, []).append(machine)
    if not machines:
        return Finding(check=check, state="ok", seen=fine)
    ordered = sorted(machines, key=lambda problem: -_ORDER.index(problem.state))
    told = [_told(names(machines[problem]), problem.what) for problem in ordered]
    return Finding(
        check=check,
        state=ordered[0].state,
        seen="; ".join(told),
        cures=tuple(dict.fromkeys(problem.cure for problem in ordered)),
    )


def names(given: Sequence[str], most: int = MOST_NAMES) -> str:
    """Return a few names and how many more there are.

    Example:
        >>> names(["a", "b"]), names(["a", "b", "c", "d", "e"])
        ('a, b', 'a, b, c and 2 more')
    """
    unique = list(dict.fromkeys(given))
    more = len(unique) - most
    return ", ".join(unique[:most]) + (f" and {more} more" if more > 0 else "")


def is_fit(findings: Iterable[Finding]) -> bool:
    """Tell whether nothing fails; warnings are allowed."""
    return all(each.state != "FAIL" for each in findings)


def _told(machine: str, what: str) -> str:
    return f"{machine}: {what}" if machine else what
