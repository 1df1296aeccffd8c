"""The check of a data set: all that is wrong or odd about it, told at once."""

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.data.data_problems import DataProblems
from trainables.data.duplicates import judge_equal_images
from trainables.data.images import (
    Headers,
    ImageColumn,
    ImageRule,
    choose_rule,
    image_column,
    read_headers,
)
from trainables.data.labels import HeadLabels, baseline, read_labels
from trainables.data.parquet import SUFFIX, Source
from trainables.data.pixels import DEPTHS, Pixels, decode_all, find_depth
from trainables.data.request import (
    IMAGE_COLUMN,
    SPLIT_COLUMN,
    SPLITS,
    DataInfo,
    DataReport,
    DataRequest,
)
from trainables.data.splits import (
    GivenSplits,
    SplitIds,
    draw_validation,
    given_splits,
    splits_of_files,
)
from trainables.data.suspicions import suspicions
from trainables.spec.problems import Problems, shown

LEFT_OUT = -1
"""The split of a bad row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What can be told of a data set without decoding its images."""

    request: DataRequest
    source: Source
    column: ImageColumn | None
    headers: Headers | None
    rule: ImageRule | None
    labels: dict[str, HeadLabels]
    """Of the heads whose labels could be read."""
    given: GivenSplits
    problems: DataProblems


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedData:
    """A data set that can be trained on, with all that its decoding needs."""

    report: DataReport
    source: Source
    column: ImageColumn
    rule: ImageRule
    labels: tuple[HeadLabels, ...]
    splits: SplitIds
    """Shape ``(rows,)``; below 0: a row that is left out."""

    @property
    def info(self) -> DataInfo:
        """What the set is."""
        return self.report.info


def check_dataset(
    request: DataRequest, *, is_fast: bool = False, source: Source | None = None
) -> DataReport:
    """Check a data set, and tell what it is.

    Args:
        request: Where the data lie and how they are read.
        is_fast: Look at the headers of images only. Images that cannot be decoded and equal
            images are then not found, and the drawn split is another if there are equal images.
        source: The files, where they have been opened before.

    Returns:
        With the heads with their units and classes, the image shape, the rows of each split, the
        baselines, and the fingerprint that names the decoded set.

    Raises:
        InputError: With every problem that was found: the file, the row in it counted from 0,
            what was received and what would be right.
    """
    inspection = inspect_dataset(request, source)
    if not is_fast:
        inspection = with_depth(inspection)
    column, pixels = inspection.column, None
    if column is not None and not is_fast:
        pixels = decode_all(inspection.source, column, inspection.rule)
    return conclude(inspection, pixels).report


def inspect_dataset(request: DataRequest, source: Source | None = None) -> Inspection:
    """Find out what can be told without decoding images; problems are noted, not raised.

    Raises:
        InputError: If there are no files that can be read.
    """
    source = source or Source(request.uri)
    problems = DataProblems(request, source.place)
    readable = _readable_columns(request, source, problems)
    if source.left_out and request.rules > 1:
        problems.warn(
            f"{len(source.left_out)} files beside the data do not end in {SUFFIX} and are left "
            f"out: {shown(list(source.left_out))}; rename those that belong to the set"
        )
    column = headers = rule = None
    if IMAGE_COLUMN in readable or IMAGE_COLUMN not in source.schema.names:
        column = image_column(source.schema, problems)
    if column is not None and source.num_rows:
        headers = read_headers(source, column)
        rule = choose_rule(source, headers, request, problems)
    return Inspection(
        request=request,
        source=source,
        column=column,
        headers=headers,
        rule=rule,
        labels=_read_heads(readable, source, headers, problems),
        given=given_splits(source, problems, has_column=SPLIT_COLUMN in readable),
        problems=problems,
    )


def _readable_columns(request: DataRequest, source: Source, problems: DataProblems) -> set[str]:
    """Return which of the columns that are needed can be read, and note why others cannot."""
    names = Counter(source.schema.names)
    heads = [head.name for head in request.heads]
    if source.num_rows == 0:
        problems.note("a data set needs at least 2 rows, got none")
    for name in heads:
        if name not in names:
            others = sorted(set(names) - {IMAGE_COLUMN, SPLIT_COLUMN})
            problems.note(f"head {name!r} needs a column of that name, got {others}")
    readable = {name for name in (*heads, IMAGE_COLUMN, SPLIT_COLUMN) if name in names}
    for name in sorted(readable):
        if names[name] > 1:
            problems.note(f"column {name!r} needs to exist once, got {names[name]} of them")
        elif name in source.conflicts:
            problems.note(source.conflicts[name])
        else:
            continue
        readable.remove(name)
    return readable if source.num_rows else set()


def _read_heads(
    readable: set[str], source: Source, headers: Headers | None, problems: DataProblems
) -> dict[str, HeadLabels]:
    """Return the labels of the heads where they can be read."""
    found: dict[str, HeadLabels] = {}
    sizes = None if headers is None else headers.sizes
    for head in problems.request.heads:
        if head.name in readable:
            names = source.class_names(head.name) if problems.request.rules > 1 else None
            labels = read_labels(head, source.column(head.name), sizes, problems, names)
            found |= {} if labels is None else {head.name: labels}
    return found


def with_depth(inspection: Inspection) -> Inspection:
    """Return it with the bits that images of more than 8 bits use, for which they are decoded."""
    column, headers, rule = inspection.column, inspection.headers, inspection.rule
    if column is None or headers is None or rule is None or inspection.request.rules == 1:
        return inspection
    depth = find_depth(inspection.source, column, headers)
    if depth < DEPTHS[-1]:
        inspection.problems.note_rows(
            "colour and transparent images need 8 bits a channel, or to use all of 16 (of which "
            "the upper 8 are read): write them with 8",
            np.flatnonzero(headers.is_cut),
            lambda row: f"16 bits in a set that uses {depth} of them",
        )
    return replace(inspection, rule=replace(rule, depth=depth))


def conclude(inspection: Inspection, pixels: Pixels | None) -> CheckedData:
    """Settle which rows are used in which split, and raise whatever is wrong.

    Args:
        inspection: What was found without decoding.
        pixels: What decoding has found; None where that was not done.
    """
    inspection = replace(inspection, problems=inspection.problems.copy())
    request, source, problems = inspection.request, inspection.source, inspection.problems
    _note_images(inspection, pixels)
    splits = _settle_splits(inspection, pixels)
    if splits is not None and inspection.rule is not None:
        _note_what_it_is(inspection, splits, is_decoded=pixels is not None)
    if splits is not None and request.rules > 1:
        for head in request.heads:
            if head.name in inspection.labels:
                for text in suspicions(head, inspection.labels[head.name], splits):
                    problems.warn(text)
    problems.tell_bad_rows()
    problems.refuse_any()
    assert splits is not None
    assert inspection.column is not None
    assert inspection.rule is not None
    rule = inspection.rule
    ordered = tuple(inspection.labels[head.name] for head in request.heads)
    info = DataInfo(
        fingerprint=fingerprint_of(request, source),
        image_shape=(rule.height, rule.width, rule.channels),
        heads=tuple(labels.head for labels in ordered),
        rows={name: int((splits == place).sum()) for place, name in enumerate(SPLITS)},
        baselines={one.head.name: _baseline(one, splits) for one in ordered},
        rules=request.rules,
        depth=rule.depth,
        is_made_grey=rule.is_made_grey,
    )
    told = DataReport(info=info, warnings=tuple(problems.warnings), notes=tuple(problems.notes))
    return CheckedData(
        report=told,
        source=source,
        column=inspection.column,
        rule=rule,
        labels=ordered,
        splits=splits,
    )


def _note_images(inspection: Inspection, pixels: Pixels | None) -> None:
    """Note the images that cannot be used, as far as it is known."""
    headers = inspection.headers
    reasons = pixels.reasons if pixels else headers.reasons if headers else {}
    rows = np.array(sorted(reasons), dtype=np.intp)
    rule = "every image needs to be decodable"
    inspection.problems.note_rows(rule, rows, reasons.__getitem__)


def _settle_splits(inspection: Inspection, pixels: Pixels | None) -> SplitIds | None:
    """Return each row's split, drawn where the data do not give it; None after a problem."""
    request, problems, given = inspection.request, inspection.problems, inspection.given
    num_rows = inspection.source.num_rows
    compared = None if request.rules == 1 else pixels
    groups = np.arange(num_rows) if compared is None else compared.groups
    splits = np.zeros(num_rows, np.int8) if given.ids is None else given.ids.copy()
    splits[np.array(sorted(problems.bad_rows), dtype=np.intp)] = LEFT_OUT
    if compared is not None:
        judge_equal_images(groups, splits, inspection.labels, given, problems)
    if given.is_complete or not num_rows:
        return splits
    return draw_validation(splits, _strata(inspection), groups, request, problems)


def _strata(inspection: Inspection) -> NDArray[np.int64]:
    """Return the first classification head's class ids; one stratum without such a head."""
    for head in inspection.request.heads:
        if head.kind == "classification" and head.name in inspection.labels:
            return inspection.labels[head.name].values.astype(np.int64)
    return np.zeros(inspection.source.num_rows, dtype=np.int64)


def _note_what_it_is(inspection: Inspection, splits: SplitIds, *, is_decoded: bool) -> None:
    """Say what a set is where that is not plain: its splits by names, its colours, its depth."""
    headers, rule, given = inspection.headers, inspection.rule, inspection.given
    notes = inspection.problems.notes
    assert headers is not None
    assert rule is not None
    if given.is_by_names:
        counts = ", ".join(f"{(splits == at).sum()} {name}" for at, name in enumerate(SPLITS))
        drawn = "" if given.is_complete else "; validation is drawn from what trains"
        notes.append(f"splits by {given.source}: {counts}{drawn}")
    num_grey, num_rows = int(headers.is_grey.sum()), len(headers.is_grey)
    if rule.channels == 3 and 0 < num_grey < num_rows:
        notes.append(
            f"{num_grey} of {num_rows} images are grey, the others colour: all become colour "
            "(channels: 1 makes all grey)"
        )
    if rule.is_made_grey:
        notes.append(f"{num_rows - num_grey} colour images become grey, as channels: 1 says")
    if headers.is_deep.any():
        used = f"use {rule.depth}" if is_decoded else "use as many as decoding will tell"
        notes.append(
            f"{headers.is_deep.sum()} images of more than 8 bits {used}: the upper 8 of these are "
            "kept"
        )


def _baseline(labels: HeadLabels, splits: SplitIds) -> float:
    return baseline(labels.head, labels.values[splits == 0], labels.values[splits == 1])


def fingerprint_of(request: DataRequest, source: Source | None = None) -> str:
    """Name the decoded set: the files' content and all that shapes the arrays, nothing else."""
    source = source or Source(request.uri)
    has_column = SPLIT_COLUMN in source.schema.names
    shaping: dict[str, Any] = {
        "version": request.rules,
        "content": source.content_hash,
        "heads": [[h.name, h.kind, h.format, h.scale] for h in request.heads],
        "image_size": request.image_size and list(request.image_size),
        "split": None if has_column else [request.validation_share, request.validation_seed],
    }
    if request.rules > 1:
        shaping["names"] = None if has_column else splits_of_files(source, Problems())
        shaping["channels"] = request.channels
        shaping["skips_bad_rows"] = request.skips_bad_rows
    return hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()
