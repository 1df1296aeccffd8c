"""The cheap check of a data set: everything but the pixels, all problems at once."""

import hashlib
import json
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trainables.data.images import ImageColumn, ImageRule, all_sizes, choose_rule, image_column
from trainables.data.labels import HeadLabels, ImageSizes, baseline, read_labels
from trainables.data.parquet import Source
from trainables.data.request import (
    IMAGE_COLUMN,
    SPLIT_COLUMN,
    SPLITS,
    DataInfo,
    DataRequest,
    shown,
)
from trainables.errors import InputError
from trainables.spec.problems import Problems

FORMAT_VERSION = 1
"""Of the decoded arrays; raised when the same input would give others."""


SplitIds = NDArray[np.int8]
"""Shape ``(rows,)``: the place of each row's split in ``SPLITS``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """A checked data set with all that its decoding needs."""

    info: DataInfo
    source: Source
    column: ImageColumn
    rule: ImageRule
    labels: tuple[HeadLabels, ...]
    splits: SplitIds
    """Shape ``(rows,)``."""


def check_dataset(request: DataRequest) -> DataInfo:
    """Check a data set without decoding its images, and tell what it is.

    Files, schema, labels, boxes, classes and splits are checked completely, image headers in
    the first rows (all of them for boxes in pixels). Undecodable images are found, all at once,
    by ``decode_dataset``.

    Args:
        request: Where the data lie and how they are read.

    Returns:
        The heads with their units and classes, the image shape, the rows of each split, the
        baselines, and the fingerprint that names the decoded set.

    Raises:
        InputError: With every problem that was found: the file, the row in it counted from 0,
            what was received and what would be right.
    """
    return inspect_dataset(request).info


def inspect_dataset(request: DataRequest) -> Inspection:
    """Do what ``check_dataset`` says and keep what was read."""
    source = Source(request.uri)
    problems = Problems(f"data {request.uri!r}", source.place)
    column = _check_schema(request, source, problems)
    sizes = _image_sizes(source, column, problems)
    labels = _read_heads(request, source, sizes, problems)
    rule = choose_rule(source, column, request.image_size, problems) if column else None
    splits = _splits_of(request, source, labels, problems)
    problems.refuse_any()
    if column is None or rule is None or splits is None:
        raise InputError(f"data {request.uri!r} cannot be read")
    ordered = tuple(labels[head.name] for head in request.heads)
    info = DataInfo(
        fingerprint=fingerprint_of(request, source),
        image_shape=(rule.height, rule.width, rule.channels),
        heads=tuple(labels.head for labels in ordered),
        rows={name: int((splits == place).sum()) for place, name in enumerate(SPLITS)},
        baselines={one.head.name: _baseline(one, splits) for one in ordered},
    )
    return Inspection(
        info=info, source=source, column=column, rule=rule, labels=ordered, splits=splits
    )


def _check_schema(request: DataRequest, source: Source, problems: Problems) -> ImageColumn | None:
    """Note missing columns and files that disagree; return how images are stored."""
    names = source.schema.names
    if source.num_rows == 0:
        problems.note("a data set needs at least 2 rows, got none")
    for head in request.heads:
        if head.name not in names:
            others = sorted(set(names) - {IMAGE_COLUMN, SPLIT_COLUMN})
            problems.note(f"head {head.name!r} needs a column of that name, got {others}")
    wanted = [head.name for head in request.heads] + [IMAGE_COLUMN, SPLIT_COLUMN]
    for name in wanted:
        if names.count(name) > 1:
            problems.note(f"column {name!r} needs to exist once, got {names.count(name)} of them")
    for conflict in source.conflicts(wanted):
        problems.note(conflict)
    column = image_column(source.schema, problems)
    problems.refuse_any()
    return column


def _image_sizes(source: Source, column: ImageColumn | None, problems: Problems) -> ImageSizes:
    return cache(partial(all_sizes, source, column, problems)) if column else lambda: None


def _read_heads(
    request: DataRequest, source: Source, sizes: ImageSizes, problems: Problems
) -> dict[str, HeadLabels]:
    found = {
        head.name: read_labels(
            head, source.column(head.name), sizes, problems, source.class_names(head.name)
        )
        for head in request.heads
    }
    return {name: labels for name, labels in found.items() if labels is not None}


def _splits_of(
    request: DataRequest, source: Source, labels: dict[str, HeadLabels], problems: Problems
) -> SplitIds | None:
    if SPLIT_COLUMN in source.schema.names:
        splits = _named_splits(source.column(SPLIT_COLUMN), problems)
        for place, name in enumerate(SPLITS[:2]):
            if splits is not None and not (splits == place).any():
                problems.note(f"column {SPLIT_COLUMN!r} needs at least 1 row {name!r}, got none")
        return splits
    return _draw_splits(
        _strata(request, source.num_rows, labels),
        share=request.validation_share,
        seed=request.validation_seed,
        problems=problems,
    )


def _strata(
    request: DataRequest, num_rows: int, labels: dict[str, HeadLabels]
) -> NDArray[np.int64]:
    """Return the first classification head's class ids; one stratum without such a head."""
    for head in request.heads:
        if head.kind == "classification" and head.name in labels:
            return labels[head.name].values.astype(np.int64)
    return np.zeros(num_rows, dtype=np.int64)


def _baseline(labels: HeadLabels, splits: SplitIds) -> float:
    return baseline(labels.head, labels.values[splits == 0], labels.values[splits == 1])


def fingerprint_of(request: DataRequest, source: Source) -> str:
    """Name the decoded set: the files' content and all that shapes the arrays, nothing else."""
    has_column = SPLIT_COLUMN in source.schema.names
    shaping = {
        "version": FORMAT_VERSION,
        "content": source.content_hash(),
        "heads": [[h.name, h.kind, h.format, h.scale] for h in request.heads],
        "image_size": request.image_size and list(request.image_size),
        "split": None if has_column else [request.validation_share, request.validation_seed],
    }
    return hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()


def _named_splits(column: Any, problems: Problems) -> SplitIds | None:
    """Return the split of each row from a ``split`` column; None after a problem."""
    kind = column.type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        problems.note(f"column {SPLIT_COLUMN!r} needs text, got type {kind}")
        return None
    words = column.cast(kind).to_pylist()
    ids = np.array([_SPLIT_IDS.get(word, -1) for word in words], dtype=np.int8)
    wrong = np.flatnonzero(ids < 0)
    rule = f"column {SPLIT_COLUMN!r} needs 'train', 'validation' or 'test'"
    problems.note_rows(rule, wrong, lambda row: shown(words[row]))
    return None if len(wrong) else ids


def _draw_splits(
    strata: NDArray[np.int64], *, share: float, seed: int, problems: Problems
) -> SplitIds | None:
    """Draw validation rows so that every class keeps its share; None after a problem.

    Rows are ranked within their class by a Philox number of (seed, row), the first ones
    validate. In all ``round(share * rows)`` rows validate, at least 1; what rounding leaves
    goes to the classes with the largest remainder. A class keeps at least one training row, so
    one with a single row only trains.

    Returns:
        Shape ``(rows,)``, 0 (train) and 1 (validation); the same for the same arguments.
    """
    _, classes, counts = np.unique(strata, return_inverse=True, return_counts=True)
    if not (counts > 1).any():
        problems.note(
            "a validation split needs a class with at least 2 rows, "
            f"got {len(strata)} row(s) in {len(counts)} class(es)"
        )
        return None
    chosen = _validation_counts(counts, share)
    keys = np.random.Philox(key=seed).random_raw(len(strata))
    order = np.lexsort((keys, classes))
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    rank = np.empty(len(strata), dtype=np.int64)
    rank[order] = np.arange(len(strata)) - starts[classes[order]]
    return (rank < chosen[classes]).astype(np.int8)


def _validation_counts(counts: NDArray[np.int64], share: float) -> NDArray[np.int64]:
    """Return how many rows of each class validate, ``(classes,)``."""
    total = max(1, round(share * int(counts.sum())))
    exact = share * counts
    chosen: NDArray[np.int64] = np.minimum(np.floor(exact).astype(np.int64), counts - 1)
    by_remainder = np.argsort(-(exact - chosen), kind="stable")
    for place in by_remainder:
        if chosen.sum() >= total:
            break
        chosen[place] += chosen[place] < counts[place] - 1
    return chosen


_SPLIT_IDS = {name: place for place, name in enumerate(SPLITS)}
