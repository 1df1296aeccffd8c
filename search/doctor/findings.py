"""What `twohead doctor` says of one thing: a mark, what was seen, and what to do about it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Generic, Literal, TypeVar

from search.doctor.facts import ClusterFacts, Machine

Facts = TypeVar("Facts")
State = Literal["ok", "warn", "FAIL"]

MOST_NAMES = 3
"""Machines that are named one by one."""
_ORDER: tuple[State, ...] = ("FAIL", "warn", "ok")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the page."""

    check: str
    state: State
    seen: str
    cures: tuple[str, ...] = ()
    """What to do, each an imperative sentence; none if all is well."""

    to_dict = asdict

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
    """What is wrong, on one machine or as a whole; equal ones of several machines are one."""

    what: str
    cure: str
    state: State
    where: str = field(default="", compare=False)
    """The machine's title."""


def fail(what: str, cure: str) -> Problem:
    """Return a problem that makes a cluster unfit."""
    return Problem(what=what, cure=cure, state="FAIL")


def warn(what: str, cure: str) -> Problem:
    """Return a problem that leaves it fit."""
    return Problem(what=what, cure=cure, state="warn")


@dataclass(frozen=True, slots=True)
class Check(Generic[Facts]):
    """One row of a table of checks: a rule over facts, and the words where it finds nothing."""

    name: str
    problems: Callable[[Facts], Iterable[Problem]]
    fine: Callable[[Facts], str] | str = ""
    """What is said if there are none; empty if the check is told of only where it finds some."""
    tells_all: bool = False
    """Whether that is said behind the problems, too."""


def judge(checks: Iterable[Check[Facts]], facts: Facts) -> list[Finding]:
    """Return what the checks of a table find, in its order."""
    return [found for check in checks if (found := _judge(check, facts)) is not None]


def _judge(check: Check[Facts], facts: Facts) -> Finding | None:
    problems = list(check.problems(facts))
    fine = check.fine
    if not isinstance(fine, str):
        fine = "" if problems and not check.tells_all else fine(facts)
    if not problems:
        return Finding(check=check.name, state="ok", seen=fine) if fine else None
    found = finding(check.name, problems)
    return replace(found, seen=f"{found.seen} (all: {fine})") if check.tells_all else found


def finding(check: str, problems: Iterable[Problem]) -> Finding:
    """Return one finding of all problems, the worst first."""
    machines: dict[Problem, list[str]] = {}
    for problem in problems:
        machines.setdefault(problem, []).append(problem.where)
    ordered = sorted(machines, key=lambda problem: _ORDER.index(problem.state))
    told = [
        f"{names(machines[problem])}: {problem.what}" if problem.where else problem.what
        for problem in ordered
    ]
    return Finding(
        check=check,
        state=ordered[0].state,
        seen="; ".join(told),
        cures=tuple(dict.fromkeys(problem.cure for problem in ordered)),
    )


def on_each(
    rule: Callable[[Machine, ClusterFacts], Iterable[Problem]], *, of_silent: bool = False
) -> Callable[[ClusterFacts], Iterator[Problem]]:
    """Return the rule over a cluster that one over a machine makes.

    Args:
        rule: What is wrong with one machine.
        of_silent: Whether it judges machines that gave no facts, too.
    """

    def problems(cluster: ClusterFacts) -> Iterator[Problem]:
        for machine in cluster.machines if of_silent else cluster.answered:
            for problem in rule(machine, cluster):
                yield replace(problem, where=machine.title)

    return problems


def names(given: Sequence[str], most: int = MOST_NAMES) -> str:
    """Return a few names and how many more there are.

    Example:
        >>> names(["a", "b"]), names(["a", "b", "c", "d", "e"])
        ('a, b', 'a, b, c and 2 more')
    """
    unique = list(dict.fromkeys(given))
    more = len(unique) - most
    return ", ".join(unique[:most]) + (f" and {more} more" if more > 0 else "")
