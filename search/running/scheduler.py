"""Which trials go on training: Pareto ASHA, on all heads at once, or every one of them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, final

import numpy as np
from numpy.typing import NDArray

from search.results import pareto
from search.results.pareto import front_ranks
from search.study.fields import SCHEDULERS
from trainables.errors import InputError

Array = NDArray[np.float64]
Verdict = Literal["continue", "stop"]

DEFAULT_GRACE = 3
"""Epochs before the first rung. First epochs flatter fast learners."""
DEFAULT_FACTOR = 2
LEAVES_NOTHING_TO_SAVE = 3
"""Trials of so few epochs are never stopped, unless a grace is given."""
AT_BASELINE = 0.01
"""Log skills within this of 0 are at the baseline: a head that only predicts a constant
is a little better or worse than the best constant by chance."""
SAME_MEAN_DIGITS = 9
"""Decimals to which mean log skills are compared, so that rounding alone decides nothing."""


class Scheduler(Protocol):
    """Decides after each epoch whether a trial goes on."""

    @property
    def rungs(self) -> tuple[int, ...]:
        """The epochs after which a trial may be stopped for others."""

    def decide(self, number: int, epoch: int, losses: Mapping[str, float]) -> Verdict:
        """Return whether trial ``number`` goes on after ``epoch`` finished epochs."""

    def restore(self, number: int, epoch: int, losses: Mapping[str, float]) -> None:
        """Take over what was decided of before, from the study's log."""


def make_scheduler(
    name: str,
    *,
    baselines: Mapping[str, float],
    max_epochs: int,
    grace: int | None = None,
    factor: int = DEFAULT_FACTOR,
) -> Scheduler:
    """Build the scheduler that a study names."""
    if name == "fifo":
        return Fifo()
    if name == "pareto_asha":
        grace = _default_grace(max_epochs) if grace is None else grace
        return ParetoAsha(baselines, max_epochs=max_epochs, grace=grace, factor=factor)
    raise InputError(f"scheduler needs one of {list(SCHEDULERS)}, got {name!r}")


def _default_grace(max_epochs: int) -> int:
    """Return the epochs before the first rung where the study does not say.

    Three, or half of a shorter training. Trials of at most three epochs get no rung at all.

    Example:
        >>> [_default_grace(epochs) for epochs in (1, 3, 4, 5, 6, 9)]
        [1, 3, 2, 2, 3, 3]
    """
    if max_epochs <= LEAVES_NOTHING_TO_SAVE:
        return max_epochs
    return min(DEFAULT_GRACE, max_epochs // 2)


@final
class Fifo:
    """Lets every trial train all its epochs."""

    rungs: tuple[int, ...] = ()

    def decide(self, number: int, epoch: int, losses: Mapping[str, float]) -> Verdict:
        """Return ``"continue"``, unless a loss is NaN or infinite."""
        return "continue" if all(map(math.isfinite, losses.values())) else "stop"

    def restore(self, number: int, epoch: int, losses: Mapping[str, float]) -> None:
        """Do nothing: no decision depends on another."""


@final
class ParetoAsha:
    """Asynchronous successive halving on all heads at once.

    After ``grace * factor**k`` epochs (``k`` = 0, 1, ..., below ``max_epochs``) a trial stands
    at a rung. Its point joins the ``m`` points of the trials that were there before it, and it
    goes on if fewer than ``ceil(m / factor)`` of them rank before it: the stopping variant of
    ASHA (Li et al. 2020, arXiv:1810.05934) as Ray's ``AsyncHyperBandScheduler`` has it with
    one bracket. Nothing waits for other trials.

    With one head it decides as Ray does but in two cases. A newcomer whose loss lies between
    the two recorded ones that Ray interpolates its cut-off from is stopped (Ray: depends on
    how near it is to which). And while it and they are fewer than ``factor``, all go on.

    How several heads are ranked says ``_count_better``. The order does not depend on the unit
    of any head, on the order of heads, or on other rungs. A point with a NaN or an infinity
    is always stopped, and counts as the worst of its rung.

    Example:
        >>> asha = ParetoAsha({"c": 2.0, "r": 1.0}, max_epochs=9, grace=3, factor=2)
        >>> asha.rungs
        (3, 6)
        >>> asha.decide(0, 3, {"c": 1.0, "r": 0.5})
        'continue'
        >>> asha.decide(1, 3, {"c": 1.5, "r": 0.6})
        'stop'
    """

    def __init__(
        self,
        baselines: Mapping[str, float],
        *,
        max_epochs: int,
        grace: int = DEFAULT_GRACE,
        factor: int = DEFAULT_FACTOR,
    ) -> None:
        self._heads = tuple(baselines)
        self._factor = factor
        self._baselines = np.array(list(baselines.values()), dtype=np.float64)
        rungs = []
        while grace < max_epochs:
            rungs.append(grace)
            grace *= factor
        self.rungs = tuple(rungs)
        self._points = {rung: _Points(len(baselines)) for rung in rungs}

    def decide(self, number: int, epoch: int, losses: Mapping[str, float]) -> Verdict:
        """Return whether a trial goes on, and record its point if it stands at a rung.

        Between rungs the answer is ``"continue"``.
        """
        verdict = self._verdict(epoch, self._point(losses))
        self.restore(number, epoch, losses)
        return verdict

    def restore(self, number: int, epoch: int, losses: Mapping[str, float]) -> None:
        """Record the point of a trial that was decided before, if it stood at a rung."""
        if epoch in self._points:
            self._points[epoch].put(number, self._point(losses))

    def _point(self, losses: Mapping[str, float]) -> tuple[float, ...]:
        return tuple(float(losses[head]) for head in self._heads)

    def _verdict(self, epoch: int, point: tuple[float, ...]) -> Verdict:
        if not all(map(math.isfinite, point)):
            return "stop"
        if epoch not in self._points:
            return "continue"
        recorded = self._points[epoch].rows
        if len(recorded) + 1 < self._factor:
            return "continue"
        better = _count_better(point, recorded, self._baselines)
        return "continue" if better < math.ceil(len(recorded) / self._factor) else "stop"


@final
class _Points:
    """The points at a rung, one per trial, as rows of one array that grows by doubling."""

    def __init__(self, num_heads: int) -> None:
        self._rows = np.empty((16, num_heads))
        self._places: dict[int, int] = {}

    @property
    def rows(self) -> Array:
        """Shape ``(points, heads)``, in the order in which they came."""
        return self._rows[: len(self._places)]

    def put(self, number: int, point: tuple[float, ...]) -> None:
        """Record the point of a trial, instead of an earlier one if there is one."""
        place = self._places.setdefault(number, len(self._places))
        if place == len(self._rows):
            self._rows = np.concatenate([self._rows, np.empty_like(self._rows)])
        self._rows[place] = point


def _count_better(point: Sequence[float], recorded: Array, baselines: Array) -> int:
    """Count the recorded points that rank before a new one at the same rung.

    Points are compared, in this order:

    1. A point worse than the baseline on any head is after all that are not.
    2. The earlier non-dominated front is first.
    3. Within a front the smaller mean log skill (the geometric mean of skills) is first.
       This is what the default policy chooses by, so the middle of the front survives.
       Hypervolume contributions would not do: of several good points close together in the
       middle each contributes little, and all of them would be cut before an end where one
       head is given up.

    A head that none of these points has brought below its baseline (by 1 %) abstains: there
    its losses are chance. It only separates points that are equal on all others. Where all
    heads would abstain, all are compared.
    """
    rows = np.vstack([np.reshape(recorded, (-1, len(baselines))), point])
    losses = rows[np.isfinite(rows).all(axis=1)]
    log_skills = pareto.log_skill(losses, baselines)
    left = np.flatnonzero((log_skills < -AT_BASELINE).any(axis=0))
    every = np.arange(len(baselines))
    better, ties = _before_last(losses, log_skills, left if len(left) else every)
    among_ties, _ = _before_last(losses[ties], log_skills[ties], every)
    return int(better.sum() + among_ties.sum())


def _before_last(
    losses: Array, log_skills: Array, heads: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Tell which rows rank before the last one on these heads, and which equal it."""
    skills = log_skills[:, heads]
    # Sorted, so that the order of heads changes no sum.
    mean = np.round(np.sort(skills, axis=1).sum(axis=1), SAME_MEAN_DIGITS)
    worse = np.asarray((skills > AT_BASELINE).any(axis=1))
    front = front_ranks(losses[:, heads])
    before = np.zeros(len(losses), dtype=np.bool_)
    equal = np.ones(len(losses), dtype=np.bool_)
    keys: tuple[NDArray[Any], ...] = (worse, front, mean)
    for key in keys:
        before |= equal & (key < key[-1])
        equal &= key == key[-1]
    return before, equal
