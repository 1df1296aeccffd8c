"""What the driver decides and logs: one frozen value per kind of decision, and its JSON form."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal, get_args

from trainables.errors import InputError
from trainables.storage.sealed import as_count, number_from_json, number_to_json

EndState = Literal["complete", "stopped", "failed", "interrupted"]
"""How a trial can end; any but a failed one may be attempted again."""

Origin = Literal["reference", "start_with", "sampler"]
"""Where a config came from."""

Cause = Literal["lost", "node", "preempted", "recycled", "memory", "driver", "share"]
"""Why an attempt ended without ending its trial."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """Up to where a new owner takes over an attempt that an older generation left open."""

    number: int
    attempt: int
    generation: int
    epoch: int
    """The last epoch that counts; 0 for none. What the attempt writes beyond is never read."""

    def __post_init__(self) -> None:
        _counts(self, attempt=1, generation=1, number=0, epoch=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A new owner begins; the first decision of its generation and of no other place."""

    kind: ClassVar[str] = "opened"
    budget: Mapping[str, Any]
    accepted: tuple[Accepted, ...] = ()
    """Of every attempt that was open: what counts of it."""
    previous: tuple[tuple[int, int], ...] = ()
    """Of every older generation that wrote: (generation, number of segments that count)."""

    def __post_init__(self) -> None:
        _copy_json(self, "budget")
        for generation, segments in self.previous:
            as_count(generation, "opened's previous generation", least=1)
            as_count(segments, "opened's previous segments", least=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A new trial, with its first attempt."""

    kind: ClassVar[str] = "asked"
    number: int
    config: Mapping[str, Any]
    """One value for every parameter: bool, int, finite float or text."""
    origin: Origin = "sampler"
    is_reference: bool = False
    system: Mapping[str, Any] = field(default_factory=dict)
    """What the sampler noted for itself, plain JSON values."""

    def __post_init__(self) -> None:
        _counts(self, number=0)
        _flag(self, "is_reference")
        _one_of(self, "origin", get_args(Origin))
        _copy_json(self, "config")
        _copy_json(self, "system")
        for name, value in self.config.items():
            if not isinstance(value, bool | int | float | str):
                raise InputError(f"asked's config {name!r} needs a plain value, got {value!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempted:
    """A further attempt at a known trial, from 2."""

    kind: ClassVar[str] = "attempted"
    number: int
    attempt: int

    def __post_init__(self) -> None:
        _counts(self, number=0, attempt=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """The scheduler stops a trial after an epoch; logged before it takes effect."""

    kind: ClassVar[str] = "stopped"
    number: int
    epoch: int

    def __post_init__(self) -> None:
        _counts(self, number=0, epoch=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A trial has ended."""

    kind: ClassVar[str] = "ended"
    number: int
    state: EndState
    reason: str = ""
    epoch: int | None = None
    """The last epoch that counts, 0 for none; None: let the log take all that are measured."""

    def __post_init__(self) -> None:
        _counts(self, number=0, epoch=0)
        _one_of(self, "state", get_args(EndState))
        _text(self, "reason")


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """An attempt has ended without ending its trial; the next one goes on from it."""

    kind: ClassVar[str] = "released"
    number: int
    attempt: int
    cause: Cause
    charged: bool
    """Whether this counts as a failure of the trial."""
    epoch: int | None = None
    """The attempt's last epoch that counts, 0 for none; None: let the log take all there are."""

    def __post_init__(self) -> None:
        _counts(self, number=0, attempt=1, epoch=0)
        _one_of(self, "cause", get_args(Cause))
        _flag(self, "charged")


@dataclass(frozen=True, slots=True, kw_only=True)
class Extended:
    """The study's budget from now on."""

    kind: ClassVar[str] = "extended"
    budget: Mapping[str, Any]

    def __post_init__(self) -> None:
        _copy_json(self, "budget")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tested:
    """Figures of one point on the test split."""

    kind: ClassVar[str] = "tested"
    __test__: ClassVar[bool] = False  # no test class, whatever pytest reads into the name
    number: int
    epoch: int
    losses: Mapping[str, float]
    metrics: Mapping[str, float]

    def __post_init__(self) -> None:
        _counts(self, number=0, epoch=1)
        for name in ("losses", "metrics"):
            numbers = {k: number_from_json(v, f"tested's {name}") for k, v in _items(self, name)}
            object.__setattr__(self, name, numbers)


DONE = "done"
"""The reason with which a run is closed that did all there was to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """The owner ends in order; the last decision of its generation."""

    kind: ClassVar[str] = "closed"
    reason: str = ""

    def __post_init__(self) -> None:
        _text(self, "reason")


Decision = Opened | Asked | Attempted | Stopped | Ended | Released | Extended | Tested | Closed
"""Everything that the log can hold."""

_KINDS: dict[str, type[Decision]] = {kind.kind: kind for kind in get_args(Decision)}


def decision_to_json(decision: Decision) -> dict[str, Any]:
    """Return a decision as plain JSON values."""
    values = {item.name: getattr(decision, item.name) for item in fields(decision)}
    if isinstance(decision, Opened):
        values["accepted"] = [
            [a.number, a.attempt, a.generation, a.epoch] for a in decision.accepted
        ]
    elif isinstance(decision, Tested):
        for name in ("losses", "metrics"):
            values[name] = {key: number_to_json(value) for key, value in values[name].items()}
    return {"kind": decision.kind, **values}


def decision_from_json(body: Mapping[str, Any]) -> Decision:
    """Read what `decision_to_json` gave.

    Raises:
        InputError: If it is not a decision.
    """
    values = dict(body)
    kind = _KINDS.get(str(values.pop("kind", None)))
    if kind is None:
        raise InputError(f"a decision needs a kind of {sorted(_KINDS)}, got {body.get('kind')!r}")
    try:
        if kind is Opened:
            values["accepted"] = tuple(
                Accepted(number=number, attempt=attempt, generation=generation, epoch=epoch)
                for number, attempt, generation, epoch in values["accepted"]
            )
            values["previous"] = tuple((pair[0], pair[1]) for pair in values["previous"])
        return kind(**values)
    except (TypeError, KeyError, ValueError, IndexError) as error:
        raise InputError(f"{kind.kind} is not complete: {error}") from error


def _counts(value: Any, **least: int) -> None:
    for name, smallest in least.items():
        found = getattr(value, name)
        if found is None and name == "epoch":
            continue
        what = f"{type(value).__name__.lower()}'s {name}"
        object.__setattr__(value, name, as_count(found, what, least=smallest))


def _one_of(value: Any, name: str, allowed: tuple[str, ...]) -> None:
    found = getattr(value, name)
    if found not in allowed:
        what = f"{type(value).__name__.lower()}'s {name}"
        raise InputError(f"{what} needs one of {list(allowed)}, got {found!r}")


def _flag(value: Any, name: str) -> None:
    found = getattr(value, name)
    if not isinstance(found, bool):
        what = f"{type(value).__name__.lower()}'s {name}"
        raise InputError(f"{what} needs true or false, got {found!r}")


def _text(value: Any, name: str) -> None:
    found = getattr(value, name)
    if not isinstance(found, str):
        raise InputError(f"{type(value).__name__.lower()}'s {name} needs text, got {found!r}")


def _items(value: Any, name: str) -> Any:
    found = getattr(value, name)
    if not isinstance(found, Mapping):
        what = f"{type(value).__name__.lower()}'s {name}"
        raise InputError(f"{what} needs a mapping, got {found!r}")
    return found.items()


def _copy_json(value: Any, name: str) -> None:
    """Keep a private copy, as the log will give it back; refuse what JSON cannot hold."""
    found = getattr(value, name)
    what = f"{type(value).__name__.lower()}'s {name}"
    if not isinstance(found, Mapping):
        raise InputError(f"{what} needs a mapping, got {found!r}")
    try:
        copy = json.loads(json.dumps(dict(found), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{what} needs plain JSON values: {error}") from error
    object.__setattr__(value, name, copy)


WORDS: Mapping[Cause, str] = {
    "lost": "its process died",
    "memory": "its node ran out of memory",
    "node": "its node died",
    "preempted": "its node was taken away",
    "recycled": "its process was renewed",
    "driver": "the study was interrupted",
    "share": "its share of a GPU had too little memory",
}
"""What became of an attempt, for people."""


LOST = frozenset[Cause]({"lost", "memory", "node", "preempted", "share"})
"""Causes that nobody meant."""
