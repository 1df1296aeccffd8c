"""How a question to a cluster is answered through a job's log, which others write to as well."""

import base64
import json
import zlib
from collections.abc import Mapping
from typing import Any

from search.errors import (
    ClusterError,
    InputError,
    NoCandidate,
    SearchError,
    StorageError,
    StudyDiffers,
    StudyLocked,
)
from search.points import Figures, Point

MARK = "twohead-answer"
WIDTH = 4096
"""Characters of a line of an answer."""
KINDS = {kind.__name__: kind for kind in (InputError, NoCandidate, StorageError, StudyDiffers)} | {
    "StudyLocked": StudyLocked
}


def to_log(answer: Mapping[str, Any], question: str) -> str:
    """Return an answer as lines of plain letters between two marks.

    Args:
        answer: Plain JSON values.
        question: Letters and digits that nobody else knows: whatever a study's names and
            reasons say, they cannot forge a mark.
    """
    packed = base64.b64encode(zlib.compress(json.dumps(answer).encode())).decode()
    lines = [packed[at : at + WIDTH] for at in range(0, len(packed), WIDTH)]
    return "\n".join([f"{MARK} {question} begins", *lines, f"{MARK} {question} ends", ""])


def from_log(log: str, question: str) -> dict[str, Any] | None:
    """Return the answer that a log holds, None if it holds none to this question."""
    _, begin, rest = log.partition(f"{MARK} {question} begins\n")
    body, end, _ = rest.partition(f"{MARK} {question} ends")
    if not begin or not end:
        return None
    try:
        answer = json.loads(zlib.decompress(base64.b64decode("".join(body.split()))))
    except (ValueError, zlib.error):
        return None
    return answer if isinstance(answer, dict) else None


def error_to_plain(error: SearchError) -> dict[str, str]:
    """Return an error as plain values."""
    kind = next((name for name, known in KINDS.items() if type(error) is known), None)
    if kind is None:
        kind = "InputError" if isinstance(error, InputError) else "SearchError"
    return {"kind": kind, "message": str(error)}


def error_of(values: Mapping[str, str]) -> SearchError:
    """Return the error that `error_to_plain` was made from, or its nearest kin."""
    kind: type[SearchError] = KINDS.get(values["kind"], ClusterError)
    return kind(values["message"])


def point_to_plain(point: Point) -> dict[str, Any]:
    """Return a point as plain values, whole."""
    values = {name: getattr(point, name) for name in Point.__slots__}
    values |= {name: dict(values[name]) for name in ("config", "losses", "metrics")}
    if point.test is not None:
        values["test"] = [dict(point.test.losses), dict(point.test.metrics)]
    values["others"] = {name: point_to_plain(other) for name, other in point.others.items()}
    return values


def point_of(values: Mapping[str, Any]) -> Point:
    """Return the point that `point_to_plain` was made from."""
    test = values["test"]
    figures = None if test is None else Figures(losses=test[0], metrics=test[1])
    others = {name: point_of(other) for name, other in values["others"].items()}
    return Point(**{**values, "test": figures, "others": others})
