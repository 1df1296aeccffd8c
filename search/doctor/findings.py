"""What `twohead doctor` says of one thing: a mark, what was seen, and what to do about it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Generic, Literal, TypeVar

from search.doctor.facts import ClusterFacts, Machine

Facts = TypeVar("Facts")
State = Literal["ok", "warn", "FAIL"]

_ORDER: tuple[State, ...] = ("FAIL", "warn", "ok")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the page."""

    check: str
    state: State
    seen: str
    cures: tuple[str, ...] = ()
    """What to do, each an imperative sentence; none if all is well."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong, on one machine or as a whole; equal ones of several machines are one."""

    what: str
    cure: str
    state: State
    where: str = field(default="", compare=False)
    """The machine's title."""


fail = partial(Fault, state="FAIL")
"""Makes the fault that leaves a cluster unfit, of ``what`` is wrong and its ``cure``."""
warn = partial(Fault, state="warn")
"""Makes one that leaves it fit."""


@dataclass(frozen=True, slots=True)
class Check(Generic[Facts]):
    """One row of a table of checks: a rule over facts, and the words where it finds nothing."""

    name: str
    faults: Callable[[Facts], Iterable[Fault]]
    fine: Callable[[Facts], str] | str | None = None
    """What is said if there are none; None if the check is told of only where it finds some."""
    tells_all: bool = False
    """Whether that is said behind the faults, too."""

    def judge(self, facts: Facts) -> Finding | None:
        """Return what it finds; None if it has nothing to say."""
        faults = list(self.faults(facts))
        if faults and not self.tells_all:
            return finding(self.name, faults)
        fine = self.fine(facts) if callable(self.fine) else self.fine
        if not faults:
            return None if fine is None else Finding(check=self.name, state="ok", seen=fine)
        found = finding(self.name, faults)
        return replace(found, seen=f"{found.seen} (all: {fine})")


def judge(checks: Iterable[Check[Facts]], facts: Facts) -> list[Finding]:
    """Return what the checks of a table find, in its order."""
    return [found for check in checks if (found := check.judge(facts)) is not None]


def finding(check: str, faults: Iterable[Fault]) -> Finding:
    """Return one finding of all faults, the worst first."""
    machines: dict[Fault, list[str]] = {}
    for fault in faults:
        machines.setdefault(fault, []).append(fault.where)
    ordered = sorted(machines, key=lambda fault: _ORDER.index(fault.state))
    told = [
        f"{names(machines[fault])}: {fault.what}" if fault.where else fault.what
        for fault in ordered
    ]
    return Finding(
        check=check,
        state=ordered[0].state,
        seen="; ".join(told),
        cures=tuple(dict.fromkeys(fault.cure for fault in ordered)),
    )


def on_each(
    rule: Callable[[Machine, ClusterFacts], Iterable[Fault]], *, of_silent: bool = False
) -> Callable[[ClusterFacts], Iterator[Fault]]:
    """Return the rule over a cluster that one over a machine makes; of silent ones if asked to."""

    def faults(cluster: ClusterFacts) -> Iterator[Fault]:
        for machine in cluster.machines if of_silent else cluster.answered:
            for fault in rule(machine, cluster):
                yield replace(fault, where=machine.title)

    return faults


def names(given: Sequence[str], most: int = 3) -> str:
    """Return a few names and how many more there are, such as ``a, b, c and 2 more``."""
    unique = list(dict.fromkeys(given))
    more = len(unique) - most
    return ", ".join(unique[:most]) + (f" and {more} more" if more > 0 else "")
