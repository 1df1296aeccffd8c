"""The files of one set have one schema: what differs without meaning is evened out.

Types are unified as Arrow does (``pyarrow.unify_schemas``, permissive), and text, bytes and
lists whatever their layout. Metadata of fields are ignored unless they decide: the shape of raw
pixels, and the names of classes that `datasets` writes.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from trainables.data.parquet_reader import FEATURES
from trainables.data.request import IMAGE_COLUMN

Files = Sequence[tuple[str, Any]]
"""The name and the ``pyarrow.Schema`` of each file."""

Found = Sequence[tuple[str, Any]]
"""The name of each file that has a column, and the column's field there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnifiedSchema:
    """What the files of a set have in common."""

    schema: Any
    """Its ``pyarrow.Schema``: the columns of the first file, then what only others have."""

    conflicts: Mapping[str, str] = field(default_factory=dict)
    """By column: why the files cannot be read as one set, where that column is needed."""

    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By column: the names of its class ids, where the files have them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageParts:
    """What of a set's image column says where encoded images are."""

    fields: tuple[str, ...]
    """The struct fields that are read, of `bytes` and `path`; none: the column itself."""

    has_paths: bool
    """Whether the last of them, or the column, holds paths of files."""


def image_parts(schema: Any) -> ImageParts | None:
    """Return how the image column of a unified schema holds encoded images; None if it does not.

    A row's ``bytes`` count first, where there are any; else its ``path``.
    """
    if schema.names.count(IMAGE_COLUMN) != 1:
        return None
    kind = schema.field(IMAGE_COLUMN).type
    if _is_bytes(kind) or _is_text(kind):
        return ImageParts(fields=(), has_paths=_is_text(kind))
    if not pa.types.is_struct(kind):
        return None
    kinds = {field.name: field.type for field in _fields(kind)}
    has_bytes = _is_bytes(kinds.get("bytes", pa.null()))
    has_paths = _is_text(kinds.get("path", pa.null()))
    if not (has_bytes or has_paths):
        return None
    is_read = {"bytes": has_bytes, "path": has_paths}
    return ImageParts(
        fields=tuple(n for n, is_one in is_read.items() if is_one), has_paths=has_paths
    )


def unify(files: Files) -> UnifiedSchema:
    """Return the schema of a set of files, at least one."""
    found: dict[str, list[tuple[str, Any]]] = {}
    copies: Counter[str] = Counter()
    for file, schema in files:
        columns = list(schema)
        copies |= Counter(column.name for column in columns)
        for name, column in {column.name: column for column in reversed(columns)}.items():
            found.setdefault(name, []).append((file, column))
    fields: list[Any] = []
    conflicts: dict[str, str] = {}
    order = [file for file, _ in files]
    for name in copies:
        column, conflict = _unify_column(name, found[name], order)
        fields += [column] * copies[name]
        if conflict is not None:
            conflicts[name] = conflict
    classes = _classes(files, conflicts)
    return UnifiedSchema(schema=pa.schema(fields), conflicts=conflicts, classes=classes)


def _unify_types(one: Any, other: Any) -> Any:
    """Return the type that holds values of both; None if they are of different kinds."""
    one, other = _plain_type(one), _plain_type(other)
    if one == other or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    for is_kind in (_is_list, pa.types.is_struct):
        if is_kind(one) and is_kind(other):
            return _unify_lists(one, other) if is_kind is _is_list else _unify_structs(one, other)
    try:
        both = [pa.schema([("x", kind)]) for kind in (one, other)]
        return pa.unify_schemas(both, promote_options="permissive").field(0).type
    except pa.ArrowException:
        return None


def _plain_type(kind: Any) -> Any:
    """Return the type without its layout: dictionaries, views, names of items, decimals."""
    types = pa.types
    if types.is_dictionary(kind):
        return _plain_type(kind.value_type)
    if types.is_string_view(kind):
        return pa.string()
    if types.is_binary_view(kind):
        return pa.binary()
    if types.is_decimal(kind):  # DuckDB writes 0.5 as one
        return pa.float64()
    if types.is_struct(kind):
        return pa.struct([(one.name, _plain_type(one.type)) for one in _fields(kind)])
    if _is_list(kind):
        return _list_like(kind, _plain_type(kind.value_type))
    return kind


def _is_text(kind: Any) -> bool:
    """Tell whether a plain type is text."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_bytes(kind: Any) -> bool:
    """Tell whether a plain type is bytes."""
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _unify_column(name: str, found: Found, order: Sequence[str]) -> tuple[Any, str | None]:
    """Return a column's field, and why the files disagree about it, if they do."""
    kind, conflict = _unify_kinds(name, found)
    shape, other_shape = _unify_shapes(name, found)
    absent = _absence(name, found, order) if len(found) < len(order) else None
    return pa.field(name, kind, metadata=shape), absent or conflict or other_shape


def _absence(name: str, found: Found, order: Sequence[str]) -> str:
    """Return words for a column that some file has and another has not."""
    have = {file for file, _ in found}
    without = next(file for file in order if file not in have)
    told = [(found[0][0], str(found[0][1].type)), (without, "absent")]
    (first, here), (other, there) = sorted(told, key=lambda one: order.index(one[0]))
    return _need_same(f"{name!r} is {here} in {first!r}, got {there} in {other!r}")


def _unify_kinds(name: str, found: Found) -> tuple[Any, str | None]:
    first, column = found[0]
    kind = _plain_type(column.type)
    for file, other in found[1:]:
        unified = _unify_types(kind, other.type)
        if unified is None:
            return kind, _need_same(
                f"{name!r} is {column.type} in {first!r}, got {other.type} in {file!r}"
            )
        kind = unified
    return kind, None


def _unify_shapes(name: str, found: Found) -> tuple[Any, str | None]:
    """Return the metadata of a column, of whichever files have any."""
    first, shape = next(((f, one.metadata) for f, one in found if one.metadata), ("", None))
    for file, one in found:
        if one.metadata and one.metadata != shape:
            said = f"{name!r} has {_words(shape)} in {first!r}, got {_words(one.metadata)}"
            return shape, f"all files need the same field metadata: {said} in {file!r}"
    return shape, None


def _words(metadata: Any) -> dict[str, str]:
    return {k.decode(): v.decode(errors="replace") for k, v in sorted(metadata.items())}


def _need_same(said: str) -> str:
    return f"all files need the same columns: {said}"


def _classes(files: Files, conflicts: dict[str, str]) -> dict[str, tuple[str, ...]]:
    """Return the names of classes by column; note where two files have different ones."""
    classes: dict[str, tuple[str, ...]] = {}
    first: dict[str, str] = {}
    for file, schema in files:
        for column, names in _class_names(schema):
            known = classes.setdefault(column, names)
            where = first.setdefault(column, file)
            if names != known:
                conflicts.setdefault(
                    column,
                    f"all files need the same class names: {column!r} has {list(known)[:8]} in "
                    f"{where!r}, got {list(names)[:8]} in {file!r}",
                )
    return classes


def _class_names(schema: Any) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield what `datasets` says of columns of class ids; nothing where that has another form."""
    try:
        features = json.loads((schema.metadata or {})[FEATURES])["info"]["features"]
        found = {column: dict(feature) for column, feature in dict(features).items()}
    except (KeyError, ValueError, TypeError, RecursionError):
        return
    for column, feature in found.items():
        names = feature.get("names")
        if feature.get("_type") != "ClassLabel" or not isinstance(names, list):
            continue
        if names and all(isinstance(name, str) for name in names):
            yield column, tuple(names)


def _unify_lists(one: Any, other: Any) -> Any:
    item = _unify_types(one.value_type, other.value_type)
    if item is None:
        return None
    types = pa.types
    if types.is_fixed_size_list(one) and types.is_fixed_size_list(other):
        return (
            pa.list_(item, one.list_size) if one.list_size == other.list_size else pa.list_(item)
        )
    is_large = types.is_large_list(one) or types.is_large_list(other)
    return pa.large_list(item) if is_large else pa.list_(item)


def _unify_structs(one: Any, other: Any) -> Any:
    kinds = {field.name: field.type for field in _fields(one)}
    for part in _fields(other):
        kinds[part.name] = _unify_types(kinds.get(part.name, pa.null()), part.type)
    if any(kinds.get(name, pa.null()) is None for name in ("bytes", "path")):
        return None
    return pa.struct([(name, kind) for name, kind in kinds.items() if kind is not None])


def _list_like(kind: Any, item: Any) -> Any:
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(item, kind.list_size)
    return pa.large_list(item) if pa.types.is_large_list(kind) else pa.list_(item)


def _is_list(kind: Any) -> bool:
    types = pa.types
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _fields(kind: Any) -> list[Any]:
    return [kind.field(place) for place in range(kind.num_fields)]
