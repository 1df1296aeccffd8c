"""What there is to see of a running study: one frozen picture after each change."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import le
from typing import Protocol

from search.record.history import TrialRecord, TrialState
from search.results.chooser import Chooser
from search.results.points import Point, is_finite, kept_points, point_of
from search.results.retrained import Training
from search.study.prepared import Prepared
from search.study.study import Study
from trainables.trial.measurement import Measurement

CHUNK = 256
"""Points that are compared with the front at once; bounds the memory of a comparison."""
Key = tuple[float, ...]
"""What tells one point from another: trial, epoch and losses, which another attempt may change."""


class Running(Protocol):
    """What is read of a `search.running.conductor.Conductor`."""

    trials: dict[int, TrialRecord]
    live: dict[int, dict[int, Measurement]]
    changes: list[int]

    @property
    def in_flight(self) -> tuple[int, ...]:
        """The numbers of the trials that are being trained."""

    @property
    def trainings(self) -> Sequence[Training]:
        """What is trained again to confirm a study, by number; empty where it is run."""


class Watcher:
    """Someone who looks on while a study is run or confirmed; does nothing where it is silent."""

    def preparing(self, what: str) -> None:
        """Hear what is being done before the first trial and after the last."""

    def told(self, line: str) -> None:
        """Hear what a person should still see when the study is over."""

    def started(self, study: Study, prepared: Prepared, conductor: Running) -> None:
        """Get to know the study; the conductor may be read at any time from now on."""

    def changed(self) -> None:
        """Hear that the conductor took in or handed out something."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyProgress:
    """A running study, or the training of its leading points again, at one moment."""

    num_trials: int
    """Of the budget."""
    counts: Mapping[str, int]
    """Trials that have ended, by state."""
    num_running: int
    num_epochs: int
    """Epochs measured, of all trials, also before this run."""
    epochs_left: float
    """Epochs still to come, if as many trials are stopped, and as early, as there were."""
    front: tuple[Point, ...]
    """By the first value of the objective."""
    best: Point | None
    """Of the front, by the default policy."""
    reference: Point | None
    """The reference trial's best so far."""
    just_ended: tuple[tuple[TrialRecord, Point | None], ...]
    """The trials that have ended since the picture before, each with its best point."""

    @property
    def num_ended(self) -> int:
        """Trials that have ended, in any state."""
        return sum(self.counts.values())


class Tracker:
    """Follows a running study, looking at nothing twice.

    Args:
        conductor: What to look at.
        chooser: Says which points are on the front, and which is best.
        num_trials: Of the budget.
        num_epochs: Of a trial that is trained to its end.
        lengths: The epochs of each trial, by number, where the scheduler stops none.
    """

    def __init__(
        self,
        conductor: Running,
        chooser: Chooser,
        *,
        num_trials: int,
        num_epochs: int,
        lengths: Sequence[int] = (),
    ) -> None:
        self._conductor = conductor
        self._chooser = chooser
        self._num_trials = num_trials
        self._epochs_each = num_epochs
        self._lengths = lengths
        self._open = set(conductor.trials)
        """Those that have epochs to come, be it another attempt's."""
        self._ended_after: Counter[int] = Counter()
        """How many of the others have how many epochs."""
        self._num_seen = len(conductor.changes)
        self._counts: Counter[str] = Counter()
        self._states: dict[int, TrialState] = {}
        self._epochs: dict[int, int] = {}
        self._all_epochs = 0
        self._points: dict[int, dict[Key, Point]] = {}
        self._front: dict[Key, Point] = {}
        self._front_values: list[tuple[float, ...]] = []
        self._best: Key | None = None
        self._reference: Point | None = None
        # What is there is no news. It is taken in at once, as there may be 10,000 trials.
        for trial in conductor.trials.values():
            self._count(trial)
        self._update(self._all_points())

    def look(self) -> StudyProgress:
        """Return what there is to see now."""
        changes = self._conductor.changes
        changed, self._num_seen = changes[self._num_seen :], len(changes)
        ended = []
        for number in sorted(set(changed)):
            trial = self._conductor.trials[number]
            self._take_in(trial)
            if trial.has_ended:
                ended.append((trial, self._choose(self._points[number].values())))
        return StudyProgress(
            num_trials=self._num_trials,
            counts={state: num for state, num in self._counts.items() if state != "running"},
            num_running=len(self._conductor.in_flight),
            num_epochs=self._all_epochs,
            epochs_left=self._epochs_left(),
            front=tuple(self._front.values()),
            best=None if self._best is None else self._front[self._best],
            reference=self._reference,
            just_ended=tuple(ended),
        )

    def _take_in(self, trial: TrialRecord) -> None:
        """Put what a trial has now in the place of what it had."""
        before = self._points.get(trial.number, {})
        after = self._count(trial)
        if any(key in self._front and key not in after for key in before):
            self._update(self._all_points())
            return
        self._front.update({key: after[key] for key in self._front.keys() & after.keys()})
        new = {key: point for key, point in after.items() if key not in before}
        better = {key: point for key, point in new.items() if not self._is_beaten(point)}
        if better:
            self._update({**self._front, **better})

    def _count(self, trial: TrialRecord) -> dict[Key, Point]:
        """Count a trial and its epochs as they are now, and return its points."""
        number, measured = trial.number, self._measured(trial)
        if number in self._states:
            self._counts[self._states[number]] -= 1
            if number not in self._open:
                self._ended_after[self._epochs[number]] -= 1
        self._counts[trial.state] += 1
        self._states[number] = trial.state
        epochs = len(trial.measurements) if trial.has_ended else len(measured)
        self._all_epochs += epochs - self._epochs.get(number, 0)
        self._epochs[number] = epochs
        if self._is_over(trial):
            self._open.discard(number)
            self._ended_after[epochs] += 1
        else:
            self._open.add(number)
        finite = (point_of(trial, measured[epoch]) for epoch in sorted(measured))
        points = {_key(point): point for point in finite if is_finite(point)}
        self._points[number] = points
        if trial.is_reference:
            self._reference = self._choose(points.values())
        return points

    def _is_over(self, trial: TrialRecord) -> bool:
        """Tell whether a trial has no epochs to come; the interrupted ones go on in this run.

        And so do those that were complete under a budget of fewer epochs.
        """
        if trial.state == "complete" and not self._lengths:
            return trial.num_epochs >= self._epochs_each
        return trial.has_ended and trial.state != "interrupted"

    def _measured(self, trial: TrialRecord) -> Mapping[int, Measurement]:
        """Return the epochs that count: once it has ended, those with weights kept."""
        if trial.has_ended:
            return {one.epoch: one for one in kept_points(trial)}
        known = {one.epoch: one for one in trial.measurements}
        return {**known, **self._conductor.live.get(trial.number, {})}

    def _all_points(self) -> dict[Key, Point]:
        return {key: point for points in self._points.values() for key, point in points.items()}

    def _is_beaten(self, point: Point) -> bool:
        """Tell whether a point of the front is better; true of most, which then cost no more."""
        values = self._values(point)
        return any(one != values and all(map(le, one, values)) for one in self._front_values)

    def _values(self, point: Point) -> tuple[float, ...]:
        return tuple(self._chooser.objective.values(point.losses).values())

    def _update(self, points: Mapping[Key, Point]) -> None:
        """Make the front of these points, and choose the best."""
        given = list(points.values())
        front: tuple[Point, ...] = ()
        for start in range(0, len(given), CHUNK):
            front = self._chooser.front([*front, *given[start : start + CHUNK]])
        self._front = {_key(point): point for point in front}
        self._front_values = [self._values(point) for point in front]
        best = self._choose(front)
        self._best = None if best is None else _key(best)

    def _choose(self, points: Iterable[Point]) -> Point | None:
        points = tuple(points)
        if len(points) < 2:
            return points[0] if points else None
        return self._chooser.pick(points)

    def _epochs_left(self) -> float:
        if self._lengths:
            ended = self._states.keys() - self._open
            return sum(
                max(length - self._epochs.get(number, 0), 0)
                for number, length in enumerate(self._lengths)
                if number not in ended
            )
        to_come = sum(
            num * self._expected_after(epochs)
            for epochs, num in Counter(self._epochs[number] for number in self._open).items()
        )
        num = len(self._states)
        mean = (self._all_epochs + to_come) / num if num else float(self._epochs_each)
        return max(0, self._num_trials - num) * mean + to_come

    def _expected_after(self, epochs: int) -> float:
        """Return how many more epochs a trial of so many has, if it goes on like the others.

        Those that had as many and are over tell where it will be stopped, if it is.
        """
        longer = {end: num for end, num in self._ended_after.items() if end > epochs and num}
        if not longer:
            return max(0.0, float(self._epochs_each - epochs))
        return sum(end * num for end, num in longer.items()) / sum(longer.values()) - epochs


def _key(point: Point) -> Key:
    return (point.number, point.epoch, *point.losses.values())


class TimeLeft:
    """Estimates the time left from the epochs that were measured in this run."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._began = clock()
        self._first: tuple[float, int] | None = None
        self._last = (self._began, -1)
        self._epochs_left = 0.0
        self._deadline: float | None = None

    def ends_within(self, seconds: float) -> None:
        """Let nothing take longer than this from now on."""
        self._deadline = self._clock() + seconds

    @property
    def elapsed(self) -> float:
        """Seconds since this was made."""
        return self._clock() - self._began

    def saw(self, progress: StudyProgress) -> None:
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
        now = self._clock()
        left = self._epochs_left * seconds_each - (now - self._last[0])
        return max(0.0, left if self._deadline is None else min(left, self._deadline - now))
