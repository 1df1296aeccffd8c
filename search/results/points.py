"""What a result is made of: trials, and points that can be chosen."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

import numpy as np

from search.record.decisions import Tested
from search.record.history import TrialRecord, TrialState
from search.record.metrics import HasFigures, point_words
from search.results.pareto import Array, front_mask, log_skill
from search.study.objective import Objective
from search.text import count, one_line
from trainables.trial.measurement import Measurement


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One trial after one epoch, with both losses from that epoch and its weights kept."""

    number: int
    epoch: int
    config: Mapping[str, Any]
    losses: Mapping[str, float]
    """Validation loss by head name: unweighted, the exact mean over the validation rows."""
    metrics: Mapping[str, float]
    """By ``val_<head>_<metric>``."""
    state: TrialState
    is_reference: bool
    checkpoint: str
    """Folder of the weights, relative to the study's."""
    checkpoint_sha256: str
    test: Tested | None = None
    """The same on the test split, where it was measured."""
    policy: str = ""
    """The policy that chose this point, if one did."""
    why: str = ""
    """Why that policy chose it, in a sentence."""
    others: Mapping[str, "Point"] = field(default_factory=dict)
    """What the other policies would have chosen: by policy, and ``head:<head>`` for each head."""

    @property
    def name(self) -> str:
        """The trial and the epoch in words."""
        reference = " (reference)" if self.is_reference else ""
        return f"trial {self.number}{reference} after {count(self.epoch, 'epoch')}"

    def __repr__(self) -> str:
        return one_line(self, lambda: f"{self.name}: {point_words(self)}")

    def to_restore(self, seed: int) -> dict[str, Any]:
        """Return what it takes to rebuild its model, which was trained with this seed."""
        return {
            "config": dict(self.config),
            "is_reference": self.is_reference,
            "seed": seed,
            "checkpoint": self.checkpoint,
            "sha256": self.checkpoint_sha256,
        }


Losses = Mapping[str, float]
"""By head name."""
SAME_DIGITS = 9
"""Decimals of what samplers see, so that the unit of a loss changes no rounding."""


def is_finite(measured: HasFigures) -> bool:
    """Tell whether every head's loss is a number."""
    return all(math.isfinite(loss) for loss in measured.losses.values())


def point_of(trial: TrialRecord, measured: Measurement) -> Point:
    """Return one point of a trial; with weights where its measurement names them."""
    tested = [one for one in trial.tested if one.epoch == measured.epoch]
    return Point(
        number=trial.number,
        epoch=measured.epoch,
        config=trial.config,
        losses=measured.losses,
        metrics=measured.metrics,
        state=trial.state,
        is_reference=trial.is_reference,
        checkpoint=measured.checkpoint or "",
        checkpoint_sha256=measured.checkpoint_sha256 or "",
        test=tested[-1] if tested else None,
    )


def kept_points(trial: TrialRecord) -> tuple[Measurement, ...]:
    """Return the points of a trial whose weights are still there, by epoch; none of a failed one.

    The actor keeps those on the trial's own front of all heads, which holds the best of any
    objective (see ``Objective.values``).
    """
    return () if trial.state == "failed" else front_points(trial)


def front_points(trial: TrialRecord) -> tuple[Measurement, ...]:
    """Return the saved points on a trial's own front, by epoch, however it ended."""
    saved = [m for m in trial.measurements if m.checkpoint is not None and is_finite(m)]
    if len(saved) < 2:
        return tuple(saved)
    heads = tuple(saved[0].losses)
    mask = front_mask(np.array([[m.losses[head] for head in heads] for m in saved]))
    return tuple(m for m, on_front in zip(saved, mask, strict=True) if on_front)


def values_of(losses: Iterable[Losses], objective: Objective) -> Array:
    """Return what is minimised as an array of shape ``(points, len(objective.names))``."""
    rows = [tuple(objective.values(one).values()) for one in losses]
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(objective.parts))


def log_skills_of(losses: Iterable[Losses], baselines: Losses, objective: Objective) -> Array:
    """Return the log skills of what is minimised, of the same shape."""
    [yardstick] = values_of([baselines], objective)
    return log_skill(values_of(losses, objective), yardstick)


def log_curve(
    measured: Iterable[Losses], baselines: Losses, objective: Objective
) -> tuple[tuple[float, ...], ...]:
    """Return the log skills after each epoch from 1, up to the first that is not finite."""
    finite = takewhile(lambda losses: all(map(math.isfinite, losses.values())), measured)
    skills = log_skills_of(finite, baselines, objective)
    return tuple(map(tuple, np.round(skills, SAME_DIGITS).tolist()))


def best_log_skills(
    trial: TrialRecord, baselines: Losses, objective: Objective
) -> tuple[tuple[float, ...] | None, int]:
    """Return the log skills and the epoch of the point that a trial is known by.

    It is the measured point with the smallest mean of log skills (the default policy), the
    earliest of equal ones; (None, 0) without any finite point.
    """
    finite = [m for m in trial.measurements if is_finite(m)]
    if not finite:
        return None, 0
    skills = log_skills_of((m.losses for m in finite), baselines, objective)
    best = int(np.argmin(skills.mean(axis=1)))
    return tuple(np.round(skills[best], SAME_DIGITS).tolist()), finite[best].epoch
