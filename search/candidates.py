"""Which points of a trial count: those measured, finite and, to be chosen, kept."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from typing import Protocol

import numpy as np

from search.history import TrialHistory
from search.objective import Objective, every_head
from search.pareto import front_mask, log_skill
from trainables.measurement import Measurement

SAME_DIGITS = 9
"""Decimals of what samplers see, so that the unit of a loss changes no rounding."""


class HasLosses(Protocol):
    """Anything with the loss of each head."""

    @property
    def losses(self) -> Mapping[str, float]:
        """By head name."""
        ...


def is_finite(measurement: Measurement) -> bool:
    """Tell whether every head's loss is a number."""
    return all(math.isfinite(loss) for loss in measurement.losses.values())


def kept_points(trial: TrialHistory) -> tuple[Measurement, ...]:
    """Return the points of a trial whose weights are still there, by epoch.

    The actor keeps the newest checkpoint and those on the trial's own front
    (``trainables.attempt``); of a failed trial none is a candidate. It is the front of all heads,
    which holds the best of any objective (see ``Objective.values``).
    """
    return () if trial.state == "failed" else front_points(trial)


def front_points(trial: TrialHistory) -> tuple[Measurement, ...]:
    """Return the saved points on a trial's own front, by epoch, however it ended."""
    saved = [m for m in trial.measurements if m.checkpoint is not None and is_finite(m)]
    if len(saved) < 2:
        return tuple(saved)
    mask = front_mask(losses_of(saved, tuple(saved[0].losses)))
    return tuple(m for m, on_front in zip(saved, mask, strict=True) if on_front)


def losses_of(measurements: Sequence[HasLosses], heads: Sequence[str]) -> np.ndarray:
    """Return the losses as an array of shape ``(measurements, heads)``."""
    rows = [[m.losses[head] for head in heads] for m in measurements]
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(heads))


def values_of(points: Sequence[HasLosses], objective: Objective) -> np.ndarray:
    """Return what is minimised as an array of shape ``(points, len(objective.names))``."""
    rows = [tuple(objective.values(point.losses).values()) for point in points]
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(objective.parts))


def log_curve(
    measured: Iterable[Mapping[str, float]], baselines: Mapping[str, float], objective: Objective
) -> tuple[tuple[float, ...], ...]:
    """Return the log skills after each epoch, up to the first that is not finite.

    Args:
        measured: The losses by head after each epoch from 1.
        baselines: Of each head.
        objective: What is minimised.

    Returns:
        A row per epoch, with a number for each of the objective's parts.
    """
    finite = takewhile(lambda losses: all(map(math.isfinite, losses.values())), measured)
    values = [tuple(objective.values(losses).values()) for losses in finite]
    yardstick = np.array(list(objective.values(baselines).values()))
    skills = log_skill(np.array(values).reshape(len(values), len(yardstick)), yardstick)
    return tuple(map(tuple, np.round(skills, SAME_DIGITS).tolist()))


def best_log_skills(
    trial: TrialHistory, baselines: Mapping[str, float], objective: Objective | None = None
) -> tuple[tuple[float, ...] | None, int]:
    """Return the log skills and the epoch of the point that a trial is known by.

    It is the measured point with the smallest mean of log skills (the default policy), the
    earliest of equal ones.

    Args:
        trial: What is recorded of it.
        baselines: Of each head.
        objective: What is minimised; None: each head of ``baselines``.

    Returns:
        The log skill of each value of the objective, None without any finite point; and the
        point's epoch, 0 without one.
    """
    finite = [m for m in trial.measurements if is_finite(m)]
    if not finite:
        return None, 0
    objective = objective or every_head(tuple(baselines))
    yardstick = np.array(list(objective.values(baselines).values()))
    skills = log_skill(values_of(finite, objective), yardstick)
    best = int(np.argmin(skills.mean(axis=1)))
    return tuple(np.round(skills[best], SAME_DIGITS).tolist()), finite[best].epoch
