"""Equal images: on both sides of a split, or with labels that contradict each other."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from trainables.data.data_problems import DataProblems
from trainables.data.labels import HeadLabels
from trainables.data.request import SPLITS
from trainables.data.splits import GivenSplits, SplitIds

TEST = SPLITS.index("test")
MOST_SHARE = 0.01
"""More rows than this of a split are no accident: figures on it would mean nothing."""


def judge_equal_images(
    groups: NDArray[np.int64],
    splits: SplitIds,
    labels: Mapping[str, HeadLabels],
    given: GivenSplits,
    problems: DataProblems,
) -> None:
    """Tell of equal images; refuse more than ``MOST_SHARE`` of them.

    Args:
        groups: Which rows have the same pixels, ``(rows,)``.
        splits: Each row's split so far; below 0 is left out.
        labels: Of the heads that could be read.
        given: What the data say of their splits.
        problems: Where it is told.
    """
    used = np.flatnonzero(splits >= 0)
    _, firsts, group_of, counts = np.unique(
        groups[used], return_index=True, return_inverse=True, return_counts=True
    )
    if len(firsts) == len(used):
        return
    first_of = used[firsts][group_of]
    _judge_labels(used, first_of, splits, labels, problems)
    if given.ids is None:
        problems.warn(
            f"{len(used) - len(firsts)} of {len(used)} rows repeat the image of an earlier one "
            f"(one up to {counts.max()} times); equal images stay on one side of the split"
        )
        return
    for name in SPLITS[1:]:
        _judge_split(name, groups, splits, given, problems)


def _judge_labels(
    used: NDArray[np.intp],
    first_of: NDArray[np.intp],
    splits: SplitIds,
    labels: Mapping[str, HeadLabels],
    problems: DataProblems,
) -> None:
    """Tell of rows whose label differs from that of the first row with the same image."""
    differs = np.zeros(len(used), dtype=bool)
    for one in labels.values():
        unequal = one.values[used] != one.values[first_of]
        differs |= unequal.reshape(len(used), -1).any(axis=1)
    if not differs.any():
        return
    other = int(np.flatnonzero(differs)[0])
    num = int(differs.sum())
    learns = splits[used] != TEST  # a test split can only make its own figures worse
    problems.warn(
        f"{num} of {len(used)} rows have the image of another row and another label, such as "
        f"{problems.place(int(first_of[other]))} and {problems.place(int(used[other]))}: a model "
        "sees one object an image, so keep one row of each image (such as the largest object)",
        is_problem=bool((differs & learns).sum() > MOST_SHARE * learns.sum()),
    )


def _judge_split(
    name: str,
    groups: NDArray[np.int64],
    splits: SplitIds,
    given: GivenSplits,
    problems: DataProblems,
) -> None:
    """Tell of a given split's rows whose image an earlier split has, too."""
    place = SPLITS.index(name)
    rows = np.flatnonzero(splits == place)
    earlier = np.flatnonzero((splits >= 0) & (splits < place))
    shared = rows[np.isin(groups[rows], groups[earlier])]
    if not len(shared):
        return
    row = int(shared[0])
    twin = int(earlier[np.flatnonzero(groups[earlier] == groups[row])[0]])
    problems.warn(
        f"{len(shared)} of {len(rows)} rows of {name!r} (split by {given.source}) have an image "
        f"that is in {SPLITS[splits[twin]]!r} as well, such as {problems.place(row)} and "
        f"{problems.place(twin)}: figures on it would be too good; leave them out on one side",
        is_problem=len(shared) > MOST_SHARE * len(rows),
    )
