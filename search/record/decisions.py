"""What the driver decides and logs: one frozen value per kind of decision, and its JSON form."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, get_args

from msgspec import Meta, Struct, field
from msgspec.structs import asdict

from search.record.metrics import point_words
from search.text import one_line
from trainables.errors import InputError
from trainables.storage.sealed_json import convert, floats_of, names_of

EndState = Literal["complete", "stopped", "failed", "interrupted"]
"""How a trial can end; any may be attempted again, a failed one once it is `Retried`."""

Origin = Literal["reference", "start_with", "sampler"]
"""Where a config came from."""

Cause = Literal["lost", "node", "preempted", "recycled", "memory", "driver", "share"]
"""Why an attempt ended without ending its trial."""

_Natural = Annotated[int, Meta(ge=0)]
_Count = Annotated[int, Meta(ge=1)]


class Accepted(Struct, frozen=True, kw_only=True, array_like=True, forbid_unknown_fields=True):
    """Up to where a new owner takes over an attempt that an older generation left open."""

    number: _Natural
    attempt: _Count
    generation: _Count
    epoch: _Natural
    """The last epoch that counts; 0 for none. What the attempt writes beyond is never read."""


class _Logged(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag=str.lower
):
    """What the kinds of decisions have in common; checked where it is logged and read."""

    @property
    def kind(self) -> str:
        """The name of its kind, as it is logged."""
        return str(self.__struct_config__.tag)


class Opened(_Logged, frozen=True, kw_only=True):
    """A new owner begins; the first decision of its generation and of no other place."""

    budget: Mapping[str, Any]
    accepted: tuple[Accepted, ...] = ()
    """Of every attempt that was open: what counts of it."""
    previous: tuple[tuple[_Count, _Count], ...] = ()
    """Of every older generation that wrote: (generation, number of segments that count)."""


class Asked(_Logged, frozen=True, kw_only=True):
    """A new trial, with its first attempt."""

    number: _Natural
    config: Mapping[str, bool | int | float | str]
    """One value for every parameter."""
    origin: Origin = "sampler"
    is_reference: bool = False
    system: Mapping[str, Any] = field(default_factory=dict)
    """What the sampler noted for itself, plain JSON values."""


class Attempted(_Logged, frozen=True, kw_only=True):
    """A further attempt at a known trial, from 2."""

    number: _Natural
    attempt: Annotated[int, Meta(ge=2)]


class Stopped(_Logged, frozen=True, kw_only=True):
    """The scheduler stops a trial after an epoch; logged before it takes effect."""

    number: _Natural
    epoch: _Count


class Ended(_Logged, frozen=True, kw_only=True):
    """A trial has ended."""

    number: _Natural
    state: EndState
    reason: str = ""
    epoch: _Natural | None = None
    """The last epoch that counts, 0 for none; None: let the log take all that are measured."""


class Released(_Logged, frozen=True, kw_only=True):
    """An attempt has ended without ending its trial; the next one goes on from it."""

    number: _Natural
    attempt: _Count
    cause: Cause
    charged: bool
    """Whether this counts as a failure of the trial."""
    epoch: _Natural | None = None
    """The attempt's last epoch that counts, 0 for none; None: let the log take all there are."""


class Retried(_Logged, frozen=True, kw_only=True):
    """A failed trial is put back: it counts as interrupted, and its lost attempts no more.

    A program that does not know this kind, of before there was any, refuses the record.
    """

    number: _Natural


class Tested(_Logged, frozen=True, kw_only=True):
    """Figures of one point on the test split."""

    __test__: ClassVar[bool] = False  # no test class, whatever pytest reads into the name
    number: _Natural
    epoch: _Count
    losses: Mapping[str, float]
    """By head name, unweighted, exact means."""
    metrics: Mapping[str, float]
    """By ``<head>_<metric>``."""

    def __repr__(self) -> str:
        return one_line(self, lambda: point_words(self))


DONE = "done"
"""The reason with which a run is closed that did all there was to do."""


class Closed(_Logged, frozen=True, kw_only=True):
    """The owner ends in order; the last decision of its generation."""

    reason: str = ""


Decision = Opened | Asked | Attempted | Stopped | Ended | Released | Retried | Tested | Closed
"""Everything that the log can hold."""
_KINDS: dict[Any, Any] = {kind.__struct_config__.tag: kind for kind in get_args(Decision)}


def decision_to_json(decision: Decision) -> dict[str, Any]:
    """Return a decision as plain JSON values."""
    body = {"kind": decision.kind, **asdict(decision)}
    if isinstance(decision, Opened):
        body["accepted"] = [list(asdict(one).values()) for one in decision.accepted]
    elif isinstance(decision, Tested):
        body |= {"losses": names_of(decision.losses), "metrics": names_of(decision.metrics)}
    return body


def decision_from_json(body: Any) -> Decision:
    """Read what `decision_to_json` gave; `InputError` if it is not a decision."""
    name = body.get("kind") if isinstance(body, dict) else None
    kind: Any = _KINDS.get(name, Decision) if isinstance(name, str) else Decision
    if kind is Tested:
        body = {**body, **{name: floats_of(body.get(name)) for name in ("losses", "metrics")}}
    decision: Decision = convert(body, kind)
    return decision


def as_logged(decision: Decision) -> Decision:
    """Return a decision as a reader will find it; `InputError` if it cannot be logged."""
    try:
        text = json.dumps(decision_to_json(decision), allow_nan=False)
    except (TypeError, AttributeError, ValueError, RecursionError) as error:
        raise InputError(f"{decision.kind} needs plain JSON values: {error}") from error
    return decision_from_json(json.loads(text))


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
