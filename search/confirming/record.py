"""The record of a study's confirmation: what was trained again and what it gave."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from search.confirming.confirmation import Candidate, Confirmation, Repeat, confirmation
from search.confirming.plan import Training, recorded_trainings
from search.decisions import DONE
from search.errors import SearchError, StudyWarning
from search.history import History, TrialHistory
from search.points import Figures, Point
from search.reader import STUDY, StudyReader
from search.results import StudyResult
from search.segments import has_log
from trainables.store import Store

FOLDER = "confirm"
"""Below the study's own; in it lies a record of the same form as the study's."""


def record_of(folder: str) -> Store:
    """Return the place of a study's confirmation."""
    return Store(folder).child(FOLDER)


def is_done(store: Store, wanted: Iterable[Training]) -> bool:
    """Tell whether all that is wanted was trained, and the last run ended in order."""
    history = _history(store)
    if history is None or not history.is_closed or history.close_reason != DONE:
        return False
    ended = [training for training, trial in _pairs(history) if trial.has_ended]
    return all(training in ended for training in wanted)


def read_confirmation(
    result: StudyResult,
    points: Sequence[Point],
    *,
    seeds: Sequence[int],
    policy: str,
    options: Mapping[str, Any],
) -> Confirmation:
    """Return what the record says of these points and seeds.

    Args:
        result: The study.
        points: Its leading points, in the order of the policy.
        seeds: The fresh ones.
        policy: One of ``search.policies.POLICIES``.
        options: What it is told.

    Raises:
        StorageError: If the record is damaged.
    """
    history = _history(record_of(result.folder))
    candidates = [
        Candidate(point=point, was=was, repeats=_repeats(history, point, seeds))
        for was, point in enumerate(points, start=1)
    ]
    return confirmation(
        name=result.study.name,
        folder=result.folder,
        policy=policy,
        options=options,
        chooser=result.chooser.looking_at(options.get("head")),
        seeds=seeds,
        candidates=candidates,
    )


def confirmed_point(result: StudyResult, point: Point) -> Candidate | None:
    """Return how a point did with all the fresh seeds that it was trained with; None without any.

    Who asks for a study's best gets it also where the record cannot be read, with a
    ``StudyWarning``.
    """
    try:
        history = _history(record_of(result.folder))
    except SearchError as error:
        said = f"what confirms the point is left out, as it cannot be read: {error}"
        warnings.warn(StudyWarning(said), stacklevel=3)
        return None
    repeats = _repeats(history, point, None)
    return Candidate(point=point, was=1, repeats=repeats) if repeats else None


def _history(store: Store) -> History | None:
    is_there = store.exists(STUDY) or has_log(store)
    return StudyReader(store).read_whole()[0] if is_there else None


def _pairs(history: History) -> list[tuple[Training, TrialHistory]]:
    begun = recorded_trainings(history.budget, history.trials)
    return list(zip(begun, history.trials, strict=True))


def _repeats(
    history: History | None, point: Point, seeds: Sequence[int] | None
) -> tuple[Repeat, ...]:
    """Return the trainings of a point that have ended; of all seeds if none are named."""
    found = {
        training.seed: _repeat(training, trial)
        for training, trial in (_pairs(history) if history else ())
        if trial.has_ended and _is_of(training, point)
    }
    order = sorted(found) if seeds is None else [seed for seed in seeds if seed in found]
    return tuple(found[seed] for seed in order)


def _is_of(training: Training, point: Point) -> bool:
    return (training.number, training.epoch) == (point.number, point.epoch) and (
        dict(training.config) == dict(point.config)
    )


def _repeat(training: Training, trial: TrialHistory) -> Repeat:
    if trial.state != "complete":
        return Repeat(seed=training.seed, figures=None, failure=trial.reason or trial.state)
    last = trial.measurements[-1]
    tested = trial.tested[-1] if trial.tested else None
    return Repeat(
        seed=training.seed,
        figures=Figures(losses=last.losses, metrics=last.metrics),
        test=Figures(losses=tested.losses, metrics=tested.metrics) if tested else None,
    )
