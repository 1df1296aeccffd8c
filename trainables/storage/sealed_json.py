"""The JSON objects of a study's folder, sealed so that no changed byte is believed."""

import json
import math
import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, TypeVar, get_type_hints

import msgspec

from trainables.errors import InputError, StorageError
from trainables.storage.store import Store

FORMAT = 1
"""The version of everything in a study's folder; a reader refuses newer ones."""

Kind = TypeVar("Kind")
_REFUSED = re.compile(r"Expected `(\w+)`(?: >= \d+|, got `\w+`) - at `\$\.(\w+)`")
"""What msgspec 0.23 says of a field that has another type, or a number outside its range."""
_RULES = {
    "int": "an integer",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "object": "a mapping",
}
_NAMED = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


class DamagedRecord(StorageError):
    """An object of the study is not what was written; the message names it."""


class NewerFormat(StorageError):
    """The study was written by a newer version of this program."""


def records(store: Store, folder: str) -> list[str]:
    """Return the names of all records in a folder, sorted; other files there are nobody's.

    What has the ending of a record and no name of one is left to who reads the folder: it may
    be a record that somebody renamed.
    """
    return [path for path in store.list(folder) if path.endswith(".json")]


def seal(kind: str, body: Mapping[str, Any]) -> bytes:
    """Turn a body into the bytes of an object: one JSON document of one line.

    A reader that expects another ``kind`` refuses it. `InputError` if the body holds what JSON
    does not know, or a float that is not finite (see `names_of`).
    """
    try:
        text = json.dumps(body, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"a {kind} record needs plain JSON values: {error}") from error
    data = text.encode("ascii")
    return _head(kind, data) + data + b"}\n"


def unseal(kind: str, data: bytes, where: str) -> dict[str, Any]:
    """Return the body of an object that `seal` made, or refuse it.

    Every byte counts: the result is exactly what was sealed. `NewerFormat` if a newer version
    wrote it, `DamagedRecord` if it is of another kind or not exactly what was written.
    """
    size = len(_head(kind, b""))
    content = data[size:-2]
    if data[:size] != _head(kind, content) or data[size + len(content) :] != b"}\n":
        raise _refusal(kind, data, where)
    body = _parse(content)
    if not isinstance(body, dict):
        raise DamagedRecord(f"{where} needs a JSON object as its body")
    return body


def convert(body: Any, kind: type[Kind]) -> Kind:
    """Return parsed JSON as a value of a type, each field checked; nothing is made to fit.

    The type is a dataclass, a named tuple, a ``msgspec.Struct``, which may forbid names that it
    does not know, or a union of tagged ones. `InputError` if a field is missing, of another type
    or outside its range.
    """
    try:
        return msgspec.convert(body, kind, str_keys=True)
    except msgspec.ValidationError as error:
        raise InputError(_refused(str(error), body, kind)) from error


def _refused(said: str, body: Any, kind: Any) -> str:
    """Say which field needs what and what it is, where msgspec says it of a field."""
    match = _REFUSED.fullmatch(said)
    hints = get_type_hints(kind, include_extras=True) if isinstance(kind, type) else {}
    if match is None or match[2] not in hints:
        return said
    field = match[2]
    rule = _RULES.get(match[1], match[1])
    hint = hints[field]
    bounds = [one.ge for one in getattr(hint, "__metadata__", ()) if one.ge is not None]
    least = f" >= {bounds[0]}" if bounds else ""
    return f"{kind.__name__.lower()}'s {field} needs {rule}{least}, got {body[field]!r}"


def names_of(numbers: Mapping[str, float]) -> dict[str, float | str]:
    """Return floats as JSON can hold them; NaN and infinities become their names.

    Example:
        >>> names_of({"loss": 0.5, "least": float("-inf")})
        {'loss': 0.5, 'least': '-inf'}
    """
    return {key: float(x) if math.isfinite(x) else str(x) for key, x in numbers.items()}


def floats_of(named: Any) -> Any:
    """Return what `names_of` was given; what it cannot have returned is left as it is."""
    if not isinstance(named, dict) or str not in map(type, named.values()):
        return named  # by far the most frequent, and a study has millions
    return {key: _NAMED.get(x, x) if type(x) is str else x for key, x in named.items()}


def _head(kind: str, data: bytes) -> bytes:
    digest = sha256(data).hexdigest()
    return f'{{"format":{FORMAT},"kind":"{kind}","sha256":"{digest}","body":'.encode()


def _refusal(kind: str, data: bytes, where: str) -> StorageError:
    """Say why an object is not one of ours, as well as can be told from what is left of it."""
    found = _parse(data)
    if isinstance(found, dict):
        version = found.get("format")
        if isinstance(version, int) and version > FORMAT:
            return NewerFormat(
                f"{where} has format {version}, this version reads up to {FORMAT}; "
                "use a newer twohead-search"
            )
        if isinstance(found.get("kind"), str) and found["kind"] != kind:
            return DamagedRecord(f"{where} needs kind {kind!r}, got {found['kind']!r}")
    return DamagedRecord(
        f"{where} is damaged: its checksum does not fit its content ({len(data)} bytes); "
        "restore it from a copy"
    )


def _parse(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None
