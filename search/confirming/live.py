"""What a person sees while points are trained again: a line per training, and what is left."""

import time
from collections.abc import Callable, Sequence
from typing import Self

from rich.console import Console
from rich.status import Status
from rich.text import Text

from search.confirming.plan import Training
from search.history import TrialHistory
from search.live import can_draw
from search.metrics import point_words
from search.progress import Running
from search.wording import clean, count, duration


class ConfirmWatcher:
    """Prints a line per ended training; on a terminal, also one that is renewed in place.

    Args:
        console: Where to.
        clock: Seconds, monotonic.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._status = Status("", console=console) if can_draw(console) else None
        self._trainings: Sequence[Training] = ()
        self._conductor: Running | None = None
        self._open: set[int] = set()
        self._first: tuple[float, int] | None = None

    def __enter__(self) -> Self:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, *details: object) -> None:
        if self._status is not None:
            self._status.stop()

    def preparing(self, what: str) -> None:
        """Say what is being done."""
        if self._status is None:
            self._print(what)
        else:
            self._status.update(Text(clean(what)))

    def started(self, trainings: Sequence[Training], conductor: Running) -> None:
        """Say what is to be trained."""
        self._trainings, self._conductor = trainings, conductor
        known = conductor.trials
        ended = {n for n, trial in known.items() if trial.has_ended}
        self._open = set(range(len(trainings))) - ended
        there = f", {len(ended)} of them before" if ended else ""
        self._print(f"{count(len(trainings), 'training')} with fresh seeds{there}")
        self.preparing("starting the workers")

    def changed(self) -> None:
        """Print the trainings that have ended, and renew the line."""
        if self._conductor is None:
            return
        for place in sorted(self._open):
            trial = self._conductor.trials.get(place)
            if trial is not None and trial.has_ended:
                self._open.discard(place)
                self._print(ended_line(self._trainings[place], trial))
        if self._status is not None:
            self._status.update(Text(self.standing()))

    def standing(self) -> str:
        """Return how much is done and how much is left, in one line."""
        done = [self._epochs_of(place) for place in range(len(self._trainings))]
        wanted = sum(training.epoch for training in self._trainings)
        failed = sum(
            training.epoch - epochs
            for place, (training, epochs) in enumerate(zip(self._trainings, done, strict=True))
            if place not in self._open
        )
        left = self._left(sum(done), wanted - failed)
        ended = len(self._trainings) - len(self._open)
        return (
            f"{ended} of {count(len(self._trainings), 'training')} ended, "
            f"{sum(done)} of {count(wanted - failed, 'epoch')}{left}"
        )

    def _left(self, done: int, wanted: int) -> str:
        """Return the time left, from the pace since the first epoch of this run."""
        if self._first is None:
            self._first = (self._clock(), done)
        began, before = self._first
        if done <= before:
            return ""
        seconds = (self._clock() - began) / (done - before) * (wanted - done)
        return f", about {duration(seconds)} left"

    def _epochs_of(self, place: int) -> int:
        assert self._conductor is not None, "it has started"
        trial = self._conductor.trials.get(place)
        live = self._conductor.live.get(place, {})
        return max([0, *live, len(trial.measurements) if trial else 0])

    def _print(self, line: str) -> None:
        self._console.print(Text(clean(line)), soft_wrap=True)


def ended_line(training: Training, trial: TrialHistory) -> str:
    """Return how one training ended, in one line."""
    name = "the reference trial" if training.is_reference else f"trial {training.number}"
    said = f"{name} with seed {training.seed}"
    if trial.state != "complete":
        return f"{said} failed: {trial.reason or trial.state}"
    words = point_words(trial.measurements[-1])
    return f"{said} after {count(training.epoch, 'epoch')}: {words}"
