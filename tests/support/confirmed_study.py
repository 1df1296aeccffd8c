"""The confirmation of a finished study, written by the real log: trainings with given losses."""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from search.record.decisions import DONE, Asked, Closed, Ended, Tested
from search.record.history import TrialRecord
from search.record.log import StudyLog
from search.record.ownership import claim
from search.results.chooser import Chooser
from search.results.confirmation import Candidate, Confirmation
from search.results.points import Point
from search.results.result import StudyResult
from search.results.retrained import Training, trainings_of
from search.study.objective import Objective, every_head
from tests.support.finished_study import measurement
from trainables.trial.measurement import write

Losses = tuple[float, float]


def write_confirmation(
    result: StudyResult,
    points: Sequence[Point],
    again: Mapping[tuple[int, int], Losses | str],
    *,
    tested: bool = False,
    closed: str = DONE,
) -> tuple[Training, ...]:
    """Write what became of trainings: by trial and seed its last losses, or why it failed.

    Those of these points and seeds that are not named were never begun.
    """
    store = result.store.confirmation
    seeds = tuple(dict.fromkeys(seed for _, seed in again))
    wanted = [one for one in trainings_of(points, seeds) if (one.number, one.seed) in again]
    with claim(store) as ownership:
        StudyLog.create(store, {"confirms": "f" * 64})
        budget = {"trainings": [one.to_list() for one in wanted]}
        log = StudyLog.open_for_writing(store, ownership, budget=budget)
        for place, training in enumerate(wanted):
            _record(log, store, place, training, again[training.number, training.seed], tested)
        if closed:
            log.record(Closed(reason=closed))
    return tuple(wanted)


def _record(
    log: StudyLog, store: Any, place: int, training: Training, end: Losses | str, tested: bool
) -> None:
    is_reference = training.is_reference
    origin: Any = "reference" if is_reference else "start_with"
    log.record(
        Asked(number=place, config=training.config, origin=origin, is_reference=is_reference)
    )
    if isinstance(end, str):
        log.record(Ended(number=place, state="failed", reason=end))
        return
    for epoch in range(1, training.epoch + 1):
        worse = training.epoch - epoch
        write(store, measurement(place, epoch, (end[0] + worse, end[1] + worse)))
    log.record(Ended(number=place, state="complete", epoch=training.epoch))
    if tested:
        losses = {"c_output": end[0] + 0.01, "r_output": end[1]}
        log.record(Tested(number=place, epoch=training.epoch, losses=losses, metrics={}))


HEADS = ("c", "r")


def point_of(number: int, losses: Losses, *, is_reference: bool = False) -> Point:
    return Point(
        number=number,
        epoch=3,
        config={"units": 8 + number},
        losses=dict(zip(HEADS, losses, strict=True)),
        metrics={},
        state="complete",
        is_reference=is_reference,
        checkpoint="",
        checkpoint_sha256="",
    )


def confirmed(
    *trials: tuple[int, Losses, Sequence[Losses | None]],
    policy: str = "geometric_mean",
    objective: Objective | None = None,
    reference: int | None = None,
    **options: Any,
) -> Confirmation:
    """Return the confirmation of trials: number, losses in the study, losses by seed or None."""
    candidates = [
        Candidate(
            point=point_of(number, losses, is_reference=number == reference),
            was=was,
            repeats={seed: _repeat(one) for seed, one in enumerate(again, start=1)},
        )
        for was, (number, losses, again) in enumerate(trials, start=1)
    ]
    return Confirmation(
        name="digits",
        folder="studies/digits",
        policy=policy,
        options=options,
        chooser=Chooser(
            objective=objective or every_head(HEADS), baselines=dict.fromkeys(HEADS, 1.0)
        ),
        seeds=tuple(range(1, 1 + max((len(one[2]) for one in trials), default=0))),
        candidates=tuple(candidates),
    ).ranked()


def _repeat(losses: Losses | None) -> TrialRecord:
    trial = TrialRecord(
        number=0,
        config={},
        origin="start_with",
        is_reference=False,
        system={},
        attempts=(),
        state="failed",
        reason="val_c_loss became NaN in epoch 2",
    )
    if losses is None:
        return trial
    named = dict(zip(HEADS, losses, strict=True))
    last = replace(measurement(0, 3, losses), losses=named, metrics={})
    return replace(trial, state="complete", reason="", measurements=(last,))
