"""A head's label column is checked and becomes one NumPy array."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from trainables.data.box_labels import ImageSizes, read_boxes
from trainables.data.data_problems import DataProblems
from trainables.spec.heads import DeclaredHead, HeadSpec
from trainables.spec.losses import FloatArray, sample_losses
from trainables.spec.problems import Problems, shown

KEPT_SHARE = 0.99
"""Of the different numbers of a label; if float32 keeps fewer apart, that is told."""
MAX_CLASSES = 100_000
"""More classes than this are taken for a column that holds something else."""


Labels = NDArray[np.int32] | NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadLabels:
    """A head and the label of every row."""

    head: HeadSpec
    values: Labels
    """Class ids int32 ``(rows,)``, numbers float32 ``(rows, units)``, or boxes float32
    ``(rows, 4)`` as yxyx fractions."""

    blurred: frozenset[int] = frozenset()
    """The places of a number that float32 holds far fewer of, of which it was told."""


def read_labels(
    head: DeclaredHead,
    column: Any,
    sizes: ImageSizes,
    problems: DataProblems,
    names: tuple[str, ...] | None = None,
) -> HeadLabels | None:
    """Return the labels of a head; None if there is a problem, which is then noted.

    Args:
        head: As it is declared.
        column: A ``pyarrow.ChunkedArray``, a label a row. One that is left out gets any label.
        sizes: Of the images.
        problems: What is wrong is noted there.
        names: Of the class ids, where the data have names for them.
    """
    who = f"head {head.name!r}"
    if column.null_count:
        rows = np.flatnonzero(column.is_null().to_numpy())
        problems.note_rows(f"{who} needs a label in every row", rows, lambda row: "null")
        if problems.stop(rows) or len(rows) == len(column):
            return None
        column = _replaced(column, rows)
    if head.kind == "classification":
        return _classes(head, column, problems, names)
    numbers = _numbers(head, column, problems)
    if numbers is None:
        return None
    if head.kind == "box":
        boxes = read_boxes(head, numbers, sizes, problems)
        return None if boxes is None else HeadLabels(head=head.resolve(4), values=boxes)
    blurred = _note_lost_digits(head, numbers, problems) if problems.request.rules > 1 else set()
    resolved = head.resolve(numbers.shape[1])
    return HeadLabels(head=resolved, values=numbers.astype(np.float32), blurred=frozenset(blurred))


def _note_lost_digits(head: DeclaredHead, numbers: FloatArray, problems: DataProblems) -> set[int]:
    """Tell of numbers that are one number as float32, which is what a model gives.

    Returns:
        The places of these.
    """
    blurred: set[int] = set()
    for place, column in enumerate(numbers.T):
        before, after = len(np.unique(column)), len(np.unique(column.astype(np.float32)))
        if after < before * KEPT_SHARE:
            problems.warn(
                f"head {head.name!r} has {before} different numbers at place {place}, of which "
                f"float32 can tell {after} apart (from {column.min():g} to {column.max():g}): "
                "take an offset from them, or divide them"
            )
            blurred.add(place)
    return blurred


def _replaced(column: Any, rows: NDArray[np.intp]) -> Any:
    """Return a column with another row's label in place of those that are left out."""
    taken = np.arange(len(column))
    taken[rows] = np.setdiff1d(taken, rows)[0]
    return column.take(pa.array(taken))


def _classes(
    head: DeclaredHead, column: Any, problems: DataProblems, names: tuple[str, ...] | None
) -> HeadLabels | None:
    kind = column.type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
        column = column.cast(kind)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _named_classes(head, column, problems)
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return _numbered_classes(head, column.to_numpy(), problems, names)
    cure = ": convert them to integers or text" if pa.types.is_floating(kind) else ""
    problems.note(f"head {head.name!r} needs integer or text labels, got type {column.type}{cure}")
    return None


def _named_classes(head: DeclaredHead, column: Any, problems: Problems) -> HeadLabels | None:
    names = sorted(pc.unique(column).to_pylist())
    if _has_class_problem(head, len(names), names, problems):
        return None
    if head.units is not None and head.units != len(names):
        problems.note(
            f"head {head.name!r} needs as many class labels as units: {head.units}, "
            f"got {len(names)}: {shown(names)}"
        )
        return None
    ids = pc.index_in(column, value_set=pa.array(names, type=column.type))
    resolved = head.resolve(len(names), tuple(names))
    return HeadLabels(head=resolved, values=ids.to_numpy().astype(np.int32))


def _numbered_classes(
    head: DeclaredHead, ids: NDArray[Any], problems: DataProblems, names: tuple[str, ...] | None
) -> HeadLabels | None:
    who = f"head {head.name!r}"
    if names is not None and _has_name_problem(head, names, problems):
        return None
    units = len(names) if names is not None else head.units
    limit = units if units is not None else min(int(ids.max()) + 1, MAX_CLASSES)
    wrong = np.flatnonzero((ids < 0) | (ids >= limit))
    rule = f"{who} needs class ids from 0 to {max(limit, 2) - 1}"
    if names is not None:
        rule += f" (the data name {limit} classes)"
    elif units is not None:
        rule += f" (units: {units})"
    problems.note_rows(rule, wrong, lambda row: _id_words(int(ids[row]), names))
    distinct = np.unique(np.delete(ids, wrong))
    is_told = problems.stop(wrong) and not len(distinct)
    if not is_told and _has_class_problem(head, len(distinct), distinct.tolist(), problems):
        return None
    if problems.stop(wrong):
        return None
    values = ids.astype(np.int32)
    values[wrong] = 0
    return HeadLabels(head=head.resolve(limit, names or ()), values=values)


def _has_name_problem(head: DeclaredHead, names: tuple[str, ...], problems: DataProblems) -> bool:
    if head.units is not None and head.units != len(names):
        problems.note(
            f"head {head.name!r} needs as many class names in the data as units: {head.units}, "
            f"got {len(names)}: {shown(list(names))}"
        )
        return True
    if _has_class_problem(head, len(names), list(names), problems):
        return True
    twice = sorted(name for name, num in Counter(names).items() if num > 1)
    if twice:
        problems.note(
            f"head {head.name!r} needs class names that differ, got twice {shown(twice)}"
        )
    return bool(twice)


def _id_words(class_id: int, names: tuple[str, ...] | None) -> str:
    """Return words for a class id that is none."""
    is_without = names is not None and class_id == -1
    return f"class id {class_id}" + (" (no label, as `datasets` writes it)" if is_without else "")


def _has_class_problem(
    head: DeclaredHead, number: int, values: list[Any], problems: Problems
) -> bool:
    if 2 <= number <= MAX_CLASSES:
        return False
    got = f"only the class {shown(values[0])}" if number == 1 else f"{number} different labels"
    cure = ": leave this head out" if number == 1 else ""
    problems.note(f"head {head.name!r} needs 2 to {MAX_CLASSES} classes, got {got}{cure}")
    return True


def _numbers(head: DeclaredHead, column: Any, problems: DataProblems) -> FloatArray | None:
    """Return finite numbers ``(rows, units)``; None after a problem."""
    kind = column.type
    is_list = _is_list(kind)
    item = kind.value_type if is_list else kind
    is_number = pa.types.is_integer(item) or pa.types.is_floating(item)
    if not is_number or (head.kind == "box" and not is_list):
        wanted = "a list of 4 numbers" if head.kind == "box" else "a number or a list of numbers"
        problems.note(f"head {head.name!r} needs {wanted} a row, got type {kind}")
        return None
    if is_list:
        units, wrong = _list_units(head, column)
        if _has_list_problem(head, column, units, wrong, problems):
            return None
        column = _replaced(column, wrong) if len(wrong) else column
    else:
        units = 1
    if _has_other_units(head, units, problems):
        return None
    flat = column.combine_chunks().flatten() if is_list else column
    numbers = flat.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    rows: FloatArray = np.array(numbers, dtype=np.float64).reshape(-1, units)
    wrong = _endless(head, rows, problems)
    if problems.stop(wrong):
        return None
    rows[wrong] = 0.0
    return rows


def _is_list(kind: Any) -> bool:
    types = pa.types
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _list_units(head: DeclaredHead, column: Any) -> tuple[int, NDArray[np.intp]]:
    """Return how many numbers a row needs, and which rows have another number of them."""
    lengths = pc.list_value_length(column).to_numpy()
    units = 4 if head.kind == "box" else head.units or int(np.bincount(lengths).argmax())
    return units, np.flatnonzero(lengths != units)


def _has_list_problem(
    head: DeclaredHead, column: Any, units: int, wrong: NDArray[np.intp], problems: DataProblems
) -> bool:
    def received(row: int) -> str:
        numbers = column[row].as_py()
        return f"{len(numbers)} numbers: {shown(numbers)}"

    problems.note_rows(f"head {head.name!r} needs {units} numbers a row", wrong, received)
    if units < 1:
        problems.note(f"head {head.name!r} needs at least 1 number a row, got empty lists")
    return units < 1 or len(wrong) == len(column) or problems.stop(wrong)


def _has_other_units(head: DeclaredHead, units: int, problems: Problems) -> bool:
    if head.units is None or head.units == units:
        return False
    problems.note(
        f"head {head.name!r} needs as many numbers a row as units: {head.units}, got {units}"
    )
    return True


def _endless(head: DeclaredHead, rows: FloatArray, problems: Problems) -> NDArray[np.intp]:
    """Note and return the rows with NaN, null or what is infinite as float32."""
    with np.errstate(over="ignore"):
        wrong = np.flatnonzero(~np.isfinite(rows.astype(np.float32)).all(axis=1))
    problems.note_rows(
        f"head {head.name!r} needs finite numbers (of float32)",
        wrong,
        lambda row: shown(rows[row].tolist()),
    )
    return wrong


SMALLEST_BASELINE = 1e-12
"""A baseline of 0 (a constant label) is raised to this, so that a ratio to it exists."""


UNSEEN_COUNT = 0.5
"""Rows that a class counts for which validates but never trains."""


def baseline(head: HeadSpec, train: Labels, validation: Labels) -> float:
    """Return the mean recorded loss, on validation labels, of the best constant.

    The constant comes from the training labels: their class frequencies (cross-entropy), their
    mean (squared error) or the median of each box coordinate. A class that is seen in
    validation alone counts as half a row, so that the loss is finite.

    Example:
        >>> head = HeadSpec(name="r_output", kind="regression", units=1)
        >>> baseline(head, np.float32([[1], [3]]), np.float32([[2], [4]]))
        2.0
    """
    constant = _constant(head, train, validation)
    outputs = np.broadcast_to(constant, (len(validation), len(constant)))
    return max(float(sample_losses(head, outputs, validation).mean()), SMALLEST_BASELINE)


def _constant(head: HeadSpec, train: Labels, validation: Labels) -> FloatArray:
    if head.kind == "classification":
        return _frequencies(head.units, train, validation)
    numbers = train.astype(np.float64)
    middle = np.median(numbers, axis=0) if head.kind == "box" else numbers.mean(axis=0)
    return np.asarray(middle, dtype=np.float64)


def _frequencies(units: int, train: Labels, validation: Labels) -> FloatArray:
    counts = np.bincount(train, minlength=units).astype(np.float64)
    unseen = np.setdiff1d(validation, train)
    counts[unseen] = UNSEEN_COUNT
    return np.asarray(counts / counts.sum(), dtype=np.float64)
