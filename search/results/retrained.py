"""The record of a study's confirmation: which points are trained again, and what that gave."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

from search.errors import SearchError, StudyWarning
from search.record.decisions import DONE
from search.record.history import History, TrialRecord
from search.record.reader import StudyReader
from search.record.segments import has_log
from search.results.confirmation import Candidate, Confirmation
from search.results.points import Point
from search.results.result import StudyResult
from trainables.spec.rules import LARGEST_SEED, whole
from trainables.storage.sealed_json import DamagedRecord
from trainables.storage.study_folder import StudyFolder

EXTENT = whole(1, 100)
"""How many seeds, and how many points, a confirmation may have."""


@dataclass(frozen=True, slots=True)
class Training:
    """One point of a study that is trained again, from the beginning, with another seed."""

    number: int
    """The trial in the study."""
    epoch: int
    """Epochs to train: those of the point, fixed before the first."""
    seed: int
    _: KW_ONLY
    is_reference: bool
    config: Mapping[str, Any]

    def to_list(self) -> list[int]:
        """Return what is recorded besides the config: number, epoch and seed."""
        return [self.number, self.epoch, self.seed]


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
    study has one that is not among the ``top``.
    """
    best = result.best(policy, **options)
    chooser = result.chooser.looking_at(options.get("head"))
    chosen = [best]
    while len(chosen) < top:
        left = [point for point in result.points() if not _is_taken(point, chosen)]
        if not left:
            break
        chosen.append(chooser.pick(chooser.front(left), best.policy, **options))
    reference = result.reference()
    if reference is not None and not any(point.is_reference for point in chosen):
        chosen.append(reference)
    return tuple(chosen)


def _is_taken(point: Point, chosen: Sequence[Point]) -> bool:
    return any(
        point.number == one.number
        or (point.is_reference, dict(point.config)) == (one.is_reference, dict(one.config))
        for one in chosen
    )


def trainings_of(points: Sequence[Point], seeds: Sequence[int]) -> tuple[Training, ...]:
    """Return every point with every seed; first all points with the first seed."""
    return tuple(
        Training(p.number, p.epoch, seed, is_reference=p.is_reference, config=p.config)
        for seed in seeds
        for p in points
    )


def recorded_trainings(history: History) -> tuple[Training, ...]:
    """Return what was begun, in the order of its numbers in the record."""
    return tuple(
        Training(*numbers, is_reference=trial.is_reference, config=trial.config)
        for trial, numbers in zip(
            history.trials, history.budget.get("trainings", ()), strict=False
        )
    )


def to_train(begun: Sequence[Training], wanted: Sequence[Training]) -> tuple[Training, ...]:
    """Return what was begun, and behind it what is wanted besides."""
    return (*begun, *(training for training in wanted if training not in begun))


def is_done(store: StudyFolder, wanted: Iterable[Training]) -> bool:
    """Tell whether all that is wanted was trained, and the last run ended in order."""
    history = _history(store)
    if history is None or not history.is_closed or history.close_reason != DONE:
        return False
    begun = zip(recorded_trainings(history), history.trials, strict=True)
    ended = [training for training, trial in begun if trial.has_ended]
    return all(training in ended for training in wanted)


def read_confirmation(
    result: StudyResult,
    points: Sequence[Point],
    *,
    seeds: Sequence[int],
    policy: str,
    options: Mapping[str, Any],
) -> Confirmation:
    """Return what the record says of a study's leading points with these seeds."""
    history = _history(result.store.confirmation)
    return Confirmation(
        name=result.study.name,
        folder=result.folder,
        policy=policy,
        options=dict(options),
        chooser=result.chooser.looking_at(options.get("head")),
        seeds=tuple(seeds),
        candidates=tuple(
            Candidate(point=point, was=was, repeats=_repeats(history, point, seeds))
            for was, point in enumerate(points, start=1)
        ),
    ).ranked()


def confirmed_point(result: StudyResult, point: Point) -> Candidate | None:
    """Return how a point did with all the fresh seeds that it was trained with; None without any.

    Who asks for a study's best gets it also where the record cannot be read, with a
    ``StudyWarning``.
    """
    try:
        history = _history(result.store.confirmation)
    except SearchError as error:
        said = f"what confirms the point is left out, as it cannot be read: {error}"
        warnings.warn(StudyWarning(said), stacklevel=3)
        return None
    repeats = _repeats(history, point, None)
    return Candidate(point=point, was=1, repeats=repeats) if repeats else None


def _history(store: StudyFolder) -> History | None:
    if not store.has("study") and not has_log(store):
        return None
    history, _ = StudyReader(store).read_whole()
    if len(recorded_trainings(history)) < len(history.trials):
        raise DamagedRecord(
            f"the log of {store!r} does not say what was trained; restore it from a copy"
        )
    return history


def _repeats(
    history: History | None, point: Point, seeds: Sequence[int] | None
) -> dict[int, TrialRecord]:
    """Return by seed the trainings of a point that have ended; of all seeds if none are named."""
    if history is None:
        return {}
    found = {
        training.seed: trial
        for training, trial in zip(recorded_trainings(history), history.trials, strict=True)
        if trial.has_ended
        and (training.number, training.epoch) == (point.number, point.epoch)
        and dict(training.config) == dict(point.config)
    }
    order = sorted(found) if seeds is None else [seed for seed in seeds if seed in found]
    return {seed: found[seed] for seed in order}
