"""What is to be trained again to confirm a study: which points, and with which seeds."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from search.errors import InputError
from search.history import TrialHistory
from search.points import Point
from search.results import StudyResult
from search.settings import LARGEST_SEED

MOST_SEEDS = 100
MOST_TOP = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """One point of a study that is trained again, from the beginning, with another seed."""

    number: int
    """The trial in the study."""
    epoch: int
    """Epochs to train: those of the point, fixed before the first."""
    seed: int
    is_reference: bool
    config: Mapping[str, Any]

    def to_list(self) -> list[int]:
        """Return what is recorded besides the config: number, epoch and seed."""
        return [self.number, self.epoch, self.seed]


def check_extent(seeds: object, top: object) -> None:
    """Refuse numbers of seeds and of points that cannot be.

    Raises:
        InputError: If one is no whole number, or out of range.
    """
    for name, given, most in (("seeds", seeds, MOST_SEEDS), ("top", top, MOST_TOP)):
        is_whole = isinstance(given, int) and not isinstance(given, bool)
        if not is_whole or not 1 <= given <= most:  # type: ignore[operator]
            raise InputError(f"{name} needs a whole number from 1 to {most}, got {given!r}")


def fresh_seeds(seed: int, num: int) -> tuple[int, ...]:
    """Return seeds that a study did not use: those that follow its own.

    More seeds begin with the fewer, so what was trained for them counts.

    Example:
        >>> fresh_seeds(0, 2), fresh_seeds(2**32 - 1, 2)
        ((1, 2), (0, 1))
    """
    return tuple((seed + step) % (LARGEST_SEED + 1) for step in range(1, num + 1))


def leading_points(
    result: StudyResult, *, top: int, policy: str, options: Mapping[str, Any]
) -> tuple[Point, ...]:
    """Return the points that a study's policy puts first, one of each trial, best first.

    The first is what ``result.best`` returns; each further one is the best that is left without
    the trials before it and those of the same config. The reference trial comes last if the
    study has one that is not among them.

    Args:
        result: The study.
        top: How many; the reference apart.
        policy: One of ``search.policies.POLICIES``.
        options: What the policy is told.

    Raises:
        NoCandidate: If no trial has a point.
        InputError: If the policy or an option is unknown.
    """
    given = {**options}
    head, exponents = given.pop("head", None), given.pop("exponents", None)
    best = result.best(policy, head=head, exponents=exponents, **given)
    chosen = [best]
    while len(chosen) < top:
        left = [point for point in result.points() if not _is_taken(point, chosen)]
        if not left:
            break
        chosen.append(_first(result, left, policy=best.policy, options=options))
    reference = result.reference()
    if reference is not None and not any(point.is_reference for point in chosen):
        chosen.append(reference)
    return tuple(chosen)


def trainings_of(points: Sequence[Point], seeds: Sequence[int]) -> tuple[Training, ...]:
    """Return every point with every seed; first all points with the first seed."""
    return tuple(
        Training(
            number=point.number,
            epoch=point.epoch,
            seed=seed,
            is_reference=point.is_reference,
            config=point.config,
        )
        for seed in seeds
        for point in points
    )


def recorded_trainings(
    budget: Mapping[str, Any], trials: Sequence[TrialHistory]
) -> tuple[Training, ...]:
    """Return what was begun, in the order of its numbers in the record."""
    return tuple(
        Training(
            number=number,
            epoch=epoch,
            seed=seed,
            is_reference=trial.is_reference,
            config=trial.config,
        )
        for trial, (number, epoch, seed) in zip(trials, budget.get("trainings", ()), strict=False)
    )


def to_train(begun: Sequence[Training], wanted: Sequence[Training]) -> tuple[Training, ...]:
    """Return what was begun, and behind it what is wanted besides."""
    return (*begun, *(training for training in wanted if training not in begun))


def _is_taken(point: Point, chosen: Sequence[Point]) -> bool:
    return any(
        point.number == one.number
        or (point.is_reference, _key(point)) == (one.is_reference, _key(one))
        for one in chosen
    )


def _key(point: Point) -> str:
    return json.dumps(dict(point.config), sort_keys=True)


def _first(
    result: StudyResult, points: Sequence[Point], *, policy: str, options: Mapping[str, Any]
) -> Point:
    """Return the best of these points, as ``result.best`` does of all."""
    chooser = result.chooser.looking_at(options.get("head"))
    return chooser.pick(chooser.front(points), policy, **options)
