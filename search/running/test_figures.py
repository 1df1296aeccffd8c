"""The figures of chosen models on the test split, which no choice has looked at."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from search.cluster.watch import ClusterWatch
from search.record.decisions import Tested
from search.record.log import StudyLog
from search.results.load import read
from trainables.spec.settings import StudySettings

Figures = list[tuple[dict[str, float], dict[str, float]]]
"""Losses and metrics of each point."""
Measure = Callable[[list[dict[str, Any]]], Figures | None]
"""From what it takes to restore each point to their figures; None if it cannot tell now."""
PAUSE_SECONDS = 0.5
"""Between two looks at whether an answer is still worth waiting for."""


def test_chosen(log: StudyLog, measure: Measure, notify: Callable[[str], None]) -> None:
    """Measure and record what the policies choose, and the reference, unless that was done.

    Args:
        log: The record of a study whose trials have all ended, open for writing.
        measure: Measures.
        notify: Hears that it is done.
    """
    result = read(log.reader)
    points = [point for point in result.points_to_test() if point.test is None]
    if not points:
        return
    notify("measuring the chosen models on the test split")
    figures = measure([result.to_restore(point) for point in points]) or []
    for point, (losses, metrics) in zip(points, figures, strict=bool(figures)):
        log.record(Tested(number=point.number, epoch=point.epoch, losses=losses, metrics=metrics))


def measure_in(
    process: Any,
    points: Sequence[Mapping[str, Any]],
    *,
    is_interrupted: Callable[[], bool],
    watch: ClusterWatch,
) -> Figures | None:
    """Have a process that has just trained a trial measure points on the test split.

    Starting another for that takes longer than all it has to do. What goes wrong there is left
    to the other: a process may have grown, or gone.

    Args:
        process: The Ray actor of a `MultiHeadTrainable`.
        points: What it takes to restore each.
        is_interrupted: Whether nobody waits any more.
        watch: Of the Ray.

    Raises:
        ClusterLost: If Ray has gone away.
    """
    import ray

    answer = process.evaluate.remote([dict(point) for point in points])
    while not ray.wait([answer], timeout=PAUSE_SECONDS)[0]:
        watch.check()
        if is_interrupted():
            return None
    try:
        figures: Figures = ray.get(answer)
    except ray.exceptions.RayError:
        return None
    return figures


def evaluate(folder: str, settings: StudySettings, points: list[dict[str, Any]]) -> Any:
    """Return losses and metrics of recorded points on the test split; a task of Ray."""
    from trainables.trial.keras_factory import evaluate_points

    return evaluate_points(folder, settings, points, "test")
