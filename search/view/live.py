"""What a person sees while a study runs: a live panel on a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, RenderableType
from rich.live import Live
from rich.status import Status
from rich.text import Text

from search.record.history import TrialHistory
from search.results.metrics import point_words, short_words
from search.results.progress import EndedTrial, LivePoint, Pace, Progress, Running, Tracker
from search.results.retrained import Training
from search.study.configs import num_trials
from search.study.objective import objective_of
from search.study.prepared import Prepared
from search.study.study import Study
from search.text import clean, count, duration
from search.view.panel import View, render

REFRESHES_PER_SECOND = 2.0
"""Of the panel; trials share the processor with it."""

SUMMARY_SECONDS = 10.0
"""At least this long between two summaries in plain lines."""


class Watching(Protocol):
    """A `search.running.run.Watcher` that is on between ``with`` and its end."""

    def preparing(self, what: str) -> None:
        """Hear what is being done before the first trial."""

    def told(self, line: str) -> None:
        """Hear what a person should still see when the study is over."""

    def started(self, study: Study, prepared: Prepared, conductor: Running) -> None:
        """Get to know the study."""

    def changed(self) -> None:
        """Hear that something was handed out or came in."""

    @property
    def has_started(self) -> bool:
        """Whether there was anything to run."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


def watcher_for(console: Console) -> Watching:
    """Return the panel if it can be drawn, else plain lines.

    What can be drawn on is a terminal that moves its cursor, not a file, a pipe or
    ``TERM=dumb``, even if the environment asks for colours there.
    """
    return LiveWatcher(console) if can_draw(console) else PlainWatcher(console)


def can_draw(console: Console) -> bool:
    """Tell whether lines that were printed can be renewed in place."""
    return console.file.isatty() and console.is_interactive and not console.is_dumb_terminal


class PlainWatcher:
    """Prints a line when a phase begins, one per ended trial, and now and then a summary.

    Args:
        console: Where to.
        clock: Seconds, monotonic.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._pace = Pace(clock)
        self._tracker: Tracker | None = None
        self._last_summary = clock()
        self._reported = (-1, -1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        """Have nothing to put away."""

    def preparing(self, what: str) -> None:
        """Print what is being done."""
        self._print(clean(what))

    def told(self, line: str) -> None:
        """Print it."""
        self._print(clean(line))

    def started(self, study: Study, prepared: Prepared, conductor: Running) -> None:
        """Print what the study is."""
        self._tracker = make_tracker(study, prepared, conductor)
        self._print(f"{clean(study.name)}: {opening_line(study, prepared)}")
        self._print("starting the workers")
        self._last_summary = self._clock()

    @property
    def has_started(self) -> bool:
        """Whether there was anything to run."""
        return self._tracker is not None

    def changed(self) -> None:
        """Print the trials that have ended, and a summary if the last was long ago."""
        if self._tracker is None:
            return
        progress = self._tracker.look()
        self._pace.saw(progress)
        for trial in progress.just_ended:
            self._print(ended_line(trial, progress.reference))
        now = self._clock()
        state = (progress.num_ended, progress.num_epochs)
        if now - self._last_summary >= SUMMARY_SECONDS and state != self._reported:
            self._last_summary, self._reported = now, state
            self._print(summary_line(progress, self._pace))

    def _print(self, line: str) -> None:
        self._console.print(Text(line), soft_wrap=True)


class LiveWatcher:
    """Draws a panel that is renewed in place and gone at the end.

    The study is looked at only in the calls of the runner; the thread that draws sees frozen
    pictures.

    Args:
        console: A terminal.
        clock: Seconds, monotonic.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._pace = Pace(clock)
        self._clock = clock
        self._tracker: Tracker | None = None
        self._view = View(pace=self._pace)
        self._console = console
        self._live = Live(
            console=console,
            refresh_per_second=REFRESHES_PER_SECOND,
            transient=True,
            get_renderable=self.picture,
        )

    def picture(self) -> RenderableType:
        """Return the panel as it is now."""
        return render(self._view, self._console.width, self._clock())

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *details: object) -> None:
        self._live.stop()

    def preparing(self, what: str) -> None:
        """Show what is being done."""
        self._view = self._view.with_phase(clean(what), self._clock())

    def told(self, line: str) -> None:
        """Print it above the panel, where it stays."""
        self._console.print(Text(clean(line)), soft_wrap=True)

    def started(self, study: Study, prepared: Prepared, conductor: Running) -> None:
        """Show the study from now on."""
        self._tracker = make_tracker(study, prepared, conductor)
        self._view = self._view.with_study(
            title=clean(study.name),
            heads=tuple(prepared.data.baselines),
            opening=opening_line(study, prepared),
        )
        self.changed()

    @property
    def has_started(self) -> bool:
        """Whether there was anything to run."""
        return self._tracker is not None

    def changed(self) -> None:
        """Take a new picture."""
        if self._tracker is None:
            return
        progress = self._tracker.look()
        self._pace.saw(progress)
        reference = progress.reference
        news = [ended_line(trial, reference, is_short=True) for trial in progress.just_ended]
        self._view = self._view.with_progress(progress, news)


def make_tracker(study: Study, prepared: Prepared, conductor: Running) -> Tracker:
    """Return what follows this study."""
    return Tracker(
        conductor,
        baselines={head.name: prepared.data.baselines[head.name] for head in study.heads},
        num_trials=num_trials(study, prepared),
        num_epochs=study.budget.epochs,
        objective=objective_of(study),
    )


def opening_line(study: Study, prepared: Prepared) -> str:
    """Return the data and the budget in one line."""
    rows = [f"{num} {split}" for split, num in prepared.data.rows.items() if num]
    shape = "x".join(str(side) for side in prepared.data.image_shape)
    trials, epochs = (
        count(num_trials(study, prepared), "trial"),
        count(study.budget.epochs, "epoch"),
    )
    return f"{', '.join(rows)} images of {shape}; {trials} x {epochs}"


def ended_line(trial: EndedTrial, reference: LivePoint | None, *, is_short: bool = False) -> str:
    """Return how one trial ended, in one line."""
    name = f"trial {trial.number}{' (reference)' if trial.is_reference else ''}"
    epochs = f"@{trial.num_epochs}" if is_short else f"after {count(trial.num_epochs, 'epoch')}"
    said = f"{name} {trial.state} {epochs}"
    if trial.taken_up_after and not is_short:
        said += f", taken up again after {trial.taken_up_after}"
    if trial.best is None:
        return clean(f"{said}: {trial.reason}" if trial.reason else said)
    best = f"best @{trial.best.epoch}" if is_short else f"(best: epoch {trial.best.epoch})"
    where = "" if trial.best.epoch == trial.num_epochs else f" {best}"
    against = None if trial.is_reference else reference
    words = short_words(trial.best) if is_short else point_words(trial.best, against)
    return f"{clean(f'{said}{where}')}: {words}"


def summary_line(progress: Progress, pace: Pace) -> str:
    """Return where the study stands, in one line."""
    states = ", ".join(f"{num} {state}" for state, num in progress.counts.items() if num)
    left = "" if pace.left is None else f", about {duration(pace.left)} left"
    best = progress.best
    said = (
        f"{progress.num_ended} of {progress.num_trials} trials ended"
        f"{f' ({states})' if states else ''}, {progress.num_running} running, "
        f"{count(progress.num_epochs, 'epoch')}, {duration(pace.elapsed)}{left}"
    )
    if best is None:
        return clean(said)
    against = None if best.is_reference else progress.reference
    name = "the reference" if best.is_reference else f"trial {best.number}"
    words = point_words(best, against)
    return f"{clean(said)}; best: {name} after {count(best.epoch, 'epoch')}: {words}"


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
                self._print(retrained_line(self._trainings[place], trial))
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


def retrained_line(training: Training, trial: TrialHistory) -> str:
    """Return how one training ended, in one line."""
    name = "the reference trial" if training.is_reference else f"trial {training.number}"
    said = f"{name} with seed {training.seed}"
    if trial.state != "complete":
        return f"{said} failed: {trial.reason or trial.state}"
    words = point_words(trial.measurements[-1])
    return f"{said} after {count(training.epoch, 'epoch')}: {words}"
