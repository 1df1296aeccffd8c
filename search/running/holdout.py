"""The figures of models on the test split, which no choice has looked at."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from search.cluster.health import ClusterWatch
from search.record.decisions import Tested
from search.record.log import StudyLog
from search.results.load import read
from search.results.points import Point, point_of
from search.results.retrained import Training
from trainables.spec.settings import StudySettings

TestFigures = list[tuple[dict[str, float], dict[str, float]]]
"""Losses and metrics of each point."""
Measure = Callable[[list[dict[str, Any]]], TestFigures | None]
"""From what it takes to restore each point to their figures; None if it cannot tell now."""
PAUSE_SECONDS = 0.5
"""Between two looks at whether an answer is still worth waiting for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToTest:
    """A point that has no figures on the test split yet."""

    point: Point
    seed: int
    """Of its training."""


def chosen_to_test(log: StudyLog) -> list[ToTest]:
    """Return what the policies of a study choose, and the reference, unless they were measured."""
    result = read(log.reader)
    return [
        ToTest(point=point, seed=result.study.seed)
        for point in result.points_to_test()
        if point.test is None
    ]


def repeats_to_test(trainings: Sequence[Training], log: StudyLog) -> list[ToTest]:
    """Return the trainings of a confirmation that are complete and were not measured."""
    return [
        ToTest(point=point_of(trial, trial.measurements[-1]), seed=training.seed)
        for training, trial in zip(trainings, log.history().trials, strict=True)
        if trial.state == "complete" and not trial.tested
    ]


def record_figures(log: StudyLog, points: Sequence[ToTest], measure: Measure) -> None:
    """Measure points and record their figures, where they can be told now."""
    figures = measure([one.point.to_restore(one.seed) for one in points]) or []
    for one, (losses, metrics) in zip(points, figures, strict=bool(figures)):
        number, epoch = one.point.number, one.point.epoch
        log.record(Tested(number=number, epoch=epoch, losses=losses, metrics=metrics))


def measure_in(
    process: Any,
    points: Sequence[Mapping[str, Any]],
    *,
    is_interrupted: Callable[[], bool],
    watch: ClusterWatch,
) -> TestFigures | None:
    """Have a process that has just trained a trial measure points on the test split.

    Starting another for that takes longer than all it has to do. What goes wrong there is left
    to the other: a process may have grown, or gone.
    """
    import ray

    answer = process.evaluate.remote([dict(point) for point in points])
    while not ray.wait([answer], timeout=PAUSE_SECONDS)[0]:
        watch.check()
        if is_interrupted():
            return None
    try:
        figures: TestFigures = ray.get(answer)
    except ray.exceptions.RayError:
        return None
    return figures


def evaluate(folder: str, settings: StudySettings, points: list[dict[str, Any]]) -> Any:
    """Return losses and metrics of recorded points on the test split; a task of Ray."""
    from trainables.trial.keras_factory import evaluate_points

    return evaluate_points(folder, settings, points, "test")
