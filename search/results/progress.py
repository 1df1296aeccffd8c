"""What there is to see of a running study: one frozen picture after each change."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import le
from typing import Protocol

from search.record.history import State, TrialHistory
from search.results.chooser import Chooser
from search.results.points import kept_points
from search.study.objective import Objective, every_head
from trainables.trial.attempt import Step
from trainables.trial.measurement import Measurement

CHUNK = 256
"""Points that are compared with the front at once; bounds the memory of a comparison."""


class Running(Protocol):
    """What is read of a `search.running.conductor.Conductor`."""

    trials: dict[int, TrialHistory]
    live: dict[int, dict[int, Step]]
    changes: list[int]

    @property
    def in_flight(self) -> tuple[int, ...]:
        """The numbers of the trials that are being trained."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LivePoint:
    """One trial after one epoch."""

    number: int
    epoch: int
    losses: Mapping[str, float]
    """Validation loss by head name."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """By ``val_<head>_<metric>``."""
    is_reference: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedTrial:
    """A trial that has just ended."""

    number: int
    state: State
    reason: str
    num_epochs: int
    taken_up_after: int
    """The epoch after which it had ended and was taken up again; 0 if it was not."""
    is_reference: bool
    best: LivePoint | None
    """Its best point by the default policy; None without one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A running study at one moment."""

    num_trials: int
    """Of the budget."""
    counts: Mapping[str, int]
    """Trials that have ended, by state."""
    num_running: int
    num_epochs: int
    """Epochs measured, of all trials, also before this run."""
    epochs_left: float
    """Epochs still to come, if the trials to come are as long as those that have ended."""
    front: tuple[LivePoint, ...]
    """By the first value of the objective."""
    best: LivePoint | None
    """Of the front, by the default policy."""
    reference: LivePoint | None
    """The reference trial's best so far."""
    just_ended: tuple[EndedTrial, ...]
    """The trials that have ended since the picture before."""

    @property
    def num_ended(self) -> int:
        """Trials that have ended, in any state."""
        return sum(self.counts.values())


class Tracker:
    """Follows a running study, looking at nothing twice.

    Args:
        conductor: What to look at.
        baselines: Of each head, in the order of the heads.
        num_trials: Of the budget.
        num_epochs: Of a trial that is trained to its end.
        objective: What is minimised; None: the loss of each head.
    """

    def __init__(
        self,
        conductor: Running,
        *,
        baselines: Mapping[str, float],
        num_trials: int,
        num_epochs: int,
        objective: Objective | None = None,
    ) -> None:
        self._conductor = conductor
        self._chooser = Chooser(
            objective=objective or every_head(tuple(baselines)), baselines=dict(baselines)
        )
        self._num_trials = num_trials
        self._epochs_each = num_epochs
        self._open = set(conductor.trials)
        self._num_seen = 0
        self._counts: Counter[str] = Counter()
        self._states: dict[int, State] = {}
        self._epochs: dict[int, int] = {}
        self._all_epochs = 0
        self._points: dict[int, tuple[LivePoint, ...]] = {}
        self._front: tuple[LivePoint, ...] = ()
        self._front_values: list[tuple[float, ...]] = []
        self._best: LivePoint | None = None
        self._reference: LivePoint | None = None
        self._begin()

    def look(self) -> Progress:
        """Return what there is to see now."""
        changes = self._conductor.changes
        changed, self._num_seen = changes[self._num_seen :], len(changes)
        ended = []
        for number in sorted(set(changed)):
            trial = self._conductor.trials[number]
            self._take_in(trial)
            self._open.add(number)
            if trial.has_ended:
                self._open.discard(number)
                ended.append(self._ended(trial))
        return Progress(
            num_trials=self._num_trials,
            counts={state: num for state, num in self._counts.items() if state != "running"},
            num_running=len(self._conductor.in_flight),
            num_epochs=self._all_epochs,
            epochs_left=self._epochs_left(),
            front=self._front,
            best=self._best,
            reference=self._reference,
            just_ended=tuple(ended),
        )

    def _begin(self) -> None:
        """Take in what is there, which is no news: all at once, as there may be 10,000 trials."""
        self._num_seen = len(self._conductor.changes)
        for number, trial in self._conductor.trials.items():
            self._points[number] = self._counted(trial)
            if trial.is_reference:
                self._reference = self._choose(self._points[number])
            if trial.has_ended:
                self._open.discard(number)
        self._update([point for points in self._points.values() for point in points])

    def _take_in(self, trial: TrialHistory) -> None:
        points = self._counted(trial)
        before = self._points.get(trial.number, ())
        if points == before:
            return
        self._points[trial.number] = points
        if trial.is_reference:
            self._reference = self._choose(points)
        self._replace(before, points)

    def _counted(self, trial: TrialHistory) -> tuple[LivePoint, ...]:
        """Count a trial and its epochs as they are now, and return its points."""
        figures = self._figures(trial)
        self._count(trial, len(trial.measurements) if trial.has_ended else len(figures))
        return tuple(
            LivePoint(
                number=trial.number,
                epoch=epoch,
                losses=one.losses,
                metrics=one.metrics,
                is_reference=trial.is_reference,
            )
            for epoch, one in sorted(figures.items())
            if all(math.isfinite(loss) for loss in one.losses.values())
        )

    def _count(self, trial: TrialHistory, epochs: int) -> None:
        if trial.number in self._states:
            self._counts[self._states[trial.number]] -= 1
        self._counts[trial.state] += 1
        self._states[trial.number] = trial.state
        self._all_epochs += epochs - self._epochs.get(trial.number, 0)
        self._epochs[trial.number] = epochs

    def _replace(self, before: Sequence[LivePoint], after: Sequence[LivePoint]) -> None:
        """Put one trial's points in the place of those it had."""
        gone = [point for point in before if point not in after]
        new = [point for point in after if point not in before and not self._is_beaten(point)]
        if any(point in self._front for point in gone):
            self._update([point for points in self._points.values() for point in points])
        elif new:
            self._update([*self._front, *new])

    def _is_beaten(self, point: LivePoint) -> bool:
        """Tell whether a point of the front is better; true of most, which then cost no more."""
        values = self._values(point)
        return any(_beats(other, values) for other in self._front_values)

    def _values(self, point: LivePoint) -> tuple[float, ...]:
        return tuple(self._chooser.objective.values(point.losses).values())

    def _figures(self, trial: TrialHistory) -> dict[int, Measurement | Step]:
        """Return the epochs that count: once it has ended, those with weights kept."""
        if trial.has_ended:
            return {m.epoch: m for m in kept_points(trial)}
        known = {m.epoch: m for m in trial.measurements}
        return {**known, **self._conductor.live.get(trial.number, {})}

    def _update(self, points: Sequence[LivePoint]) -> None:
        """Make the front of these points, and choose the best."""
        front: list[LivePoint] = []
        for start in range(0, len(points), CHUNK):
            front = list(self._chooser.front([*front, *points[start : start + CHUNK]]))
        self._front = tuple(front)
        self._front_values = [self._values(point) for point in front]
        self._best = self._choose(self._front)

    def _choose(self, points: Sequence[LivePoint]) -> LivePoint | None:
        if len(points) < 2:
            return points[0] if points else None
        return self._chooser.pick(points)

    def _ended(self, trial: TrialHistory) -> EndedTrial:
        return EndedTrial(
            number=trial.number,
            state=trial.state,
            reason=trial.reason,
            num_epochs=len(trial.measurements),
            taken_up_after=trial.taken_up_after,
            is_reference=trial.is_reference,
            best=self._choose(self._points.get(trial.number, ())),
        )

    def _epochs_left(self) -> float:
        running = [self._epochs[number] for number in self._open]
        num_ended = len(self._states) - len(running)
        in_ended = self._all_epochs - sum(running)
        mean = in_ended / num_ended if num_ended else float(self._epochs_each)
        unseen = max(0, self._num_trials - len(self._states))
        return unseen * mean + sum(max(mean - epochs, 0.0) for epochs in running)


def _beats(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(map(le, one, other))


class Pace:
    """Estimates the time left from the epochs that were measured in this run.

    Args:
        clock: Seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._began = clock()
        self._first: tuple[float, int] | None = None
        self._last = (self._began, -1)
        self._epochs_left = 0.0

    @property
    def elapsed(self) -> float:
        """Seconds since this was made."""
        return self._clock() - self._began

    def saw(self, progress: Progress) -> None:
        """Take in a picture; the pace is counted from the first new epoch on."""
        self._epochs_left = progress.epochs_left
        if progress.num_epochs == self._last[1]:
            return
        is_new = self._last[1] >= 0
        self._last = (self._clock(), progress.num_epochs)
        if is_new and self._first is None:
            self._first = self._last

    @property
    def left(self) -> float | None:
        """Seconds left, None as long as nothing can be said."""
        if self._first is None or self._last[1] <= self._first[1]:
            return None
        seconds_each = (self._last[0] - self._first[0]) / (self._last[1] - self._first[1])
        return max(0.0, self._epochs_left * seconds_each - (self._clock() - self._last[0]))
