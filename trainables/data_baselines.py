"""The yardstick of each head: the loss of the best constant prediction."""

import numpy as np
from numpy.typing import NDArray

from trainables.head_spec import HeadSpec
from trainables.losses import FloatArray, sample_losses

SMALLEST_BASELINE = 1e-12
"""A baseline of 0 (a constant label) is raised to this, so that a ratio to it exists."""

UNSEEN_COUNT = 0.5
"""Rows that a class counts for which validates but never trains."""

Labels = NDArray[np.int32] | NDArray[np.float32]


def baseline(head: HeadSpec, train: Labels, validation: Labels) -> float:
    """Return the mean recorded loss, on validation labels, of the best constant.

    The constant comes from the training labels: their class frequencies (cross-entropy), their
    mean (squared error) or the median of each box coordinate. A class that is seen in
    validation alone counts as half a row, so that the loss is finite.

    Args:
        head: The resolved head.
        train: Class ids ``(n,)``, numbers ``(n, units)`` or boxes ``(n, 4)``.
        validation: The same of the validation rows.

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
