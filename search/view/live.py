"""What a person sees while a study runs: a live panel on a terminal, plain lines elsewhere."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self, final

from rich.console import Console, RenderableType
from rich.live import Live

from search.record.history import TrialRecord
from search.record.metrics import point_words, short_words
from search.results.chooser import Chooser
from search.results.points import Point
from search.results.progress import Running, StudyProgress, TimeLeft, Tracker, Watcher
from search.results.retrained import Training
from search.study.configs import num_trials
from search.study.objective import objective_of
from search.study.prepared import Prepared
from search.study.study import Study
from search.text import count, duration
from search.view.panel import MOST_NEWS, View, render
from search.view.tables import say

REFRESHES_PER_SECOND = 2.0
"""Of the panel; trials share the processor with it."""

SUMMARY_SECONDS = 10.0
"""At least this long between two summaries in plain lines."""


def watcher_for(console: Console | None = None) -> "StudyWatcher":
    """Return the panel if it can be drawn, else plain lines; by default on stdout.

    What can be drawn on is a terminal that moves its cursor, not a file, a pipe or
    ``TERM=dumb``, even if the environment asks for colours there.
    """
    console = console or Console()
    can_draw = console.file.isatty() and console.is_interactive and not console.is_dumb_terminal
    return LiveWatcher(console) if can_draw else PlainWatcher(console)


class StudyWatcher(Watcher, ABC):
    """Tells a person how a study, or the training of its points again, goes on."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._time = TimeLeft(clock)
        self._story: Story | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        """Put away what shows the study."""

    @property
    def has_started(self) -> bool:
        """Whether there was anything to run."""
        return self._story is not None

    def told(self, line: str) -> None:
        """Print it, where it stays."""
        say(self._console, line)

    def started(self, study: Study, prepared: Prepared, conductor: Running) -> None:
        """Show the study, or what is trained again."""
        self._story = _story_of(study, prepared, conductor)
        if study.budget.hours is not None and not conductor.trainings:
            self._time.ends_within(study.budget.hours * 3600)
        self._open(self._story)

    def changed(self) -> None:
        """Show what has changed."""
        if self._story is not None:
            progress = self._story.tracker.look()
            self._time.saw(progress)
            self._show(self._story, progress)

    @abstractmethod
    def _open(self, story: "Story") -> None: ...

    @abstractmethod
    def _show(self, story: "Story", progress: StudyProgress) -> None: ...


@final
class PlainWatcher(StudyWatcher):
    """Prints a line when a phase begins, one per ended trial, and now and then a summary."""

    _last_summary = 0.0
    _reported = (-1, -1)

    def preparing(self, what: str) -> None:
        """Print what is being done."""
        say(self._console, what)

    def _open(self, story: "Story") -> None:
        say(self._console, story.opening if story.trainings else f"{story.name}: {story.opening}")
        say(self._console, "starting the workers")
        self._last_summary = self._clock()

    def _show(self, story: "Story", progress: StudyProgress) -> None:
        for trial, best in progress.just_ended:
            say(self._console, story.ended_line(trial, best, progress.reference))
        now = self._clock()
        state = (progress.num_ended, progress.num_epochs)
        is_due = now - self._last_summary >= SUMMARY_SECONDS and state != self._reported
        if is_due and not story.trainings:
            self._last_summary, self._reported = now, state
            say(self._console, _summary_line(progress, self._time))


@final
class LiveWatcher(StudyWatcher):
    """Draws a panel on a terminal that is renewed in place and gone at the end.

    The study is looked at only in the calls of the runner; who draws sees frozen pictures.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(console, clock)
        self._view = View(time=self._time)
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
        view = self._view
        self._view = replace(view, phases=(*view.phases, (what, self._clock())))

    def _open(self, story: "Story") -> None:
        """Show the study from now on; the phases before are over."""
        view = replace(self._view, title=story.name, phases=())
        if story.trainings:
            self.told(story.opening)
            self._view = replace(view, is_confirming=True)
        else:
            self._view = replace(view, heads=story.heads, opening=story.opening)
        self.changed()

    def _show(self, story: "Story", progress: StudyProgress) -> None:
        """Take a new picture; how a training ended is told above it, where it stays."""
        news = [
            story.ended_line(trial, best, progress.reference, is_short=True)
            for trial, best in progress.just_ended
        ]
        if story.trainings:
            for line in news:
                self.told(line)
            news = []
        last = (*self._view.news, *news)[-MOST_NEWS:]
        self._view = replace(self._view, progress=progress, news=last)


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What there is to tell of a study that runs, or of points that are trained again."""

    name: str
    """Of the study."""
    heads: tuple[str, ...]
    opening: str
    """The data and the budget, or how many trainings there are."""
    tracker: Tracker
    trainings: Sequence[Training]

    def ended_line(
        self,
        trial: TrialRecord,
        best: Point | None,
        reference: Point | None,
        *,
        is_short: bool = False,
    ) -> str:
        """Return how one trial ended, in one line."""
        if self.trainings:
            return _training_line(self.trainings[trial.number], trial)
        name = f"trial {trial.number}{' (reference)' if trial.is_reference else ''}"
        num = len(trial.measurements)
        epochs = f"@{num}" if is_short else f"after {count(num, 'epoch')}"
        said = f"{name} {trial.state} {epochs}"
        if trial.taken_up_after and not is_short:
            said += f", taken up again after {trial.taken_up_after}"
        if best is None:
            return f"{said}: {trial.reason}" if trial.reason else said
        at = f" best @{best.epoch}" if is_short else f" (best: epoch {best.epoch})"
        against = None if trial.is_reference else reference
        words = short_words(best) if is_short else point_words(best, against)
        return f"{said}{'' if best.epoch == num else at}: {words}"


def _story_of(study: Study, prepared: Prepared, conductor: Running) -> Story:
    """Return what there is to tell of a study, or of its points that are trained again."""
    trainings = conductor.trainings
    baselines = {head.name: prepared.data.baselines[head.name] for head in study.heads}
    num = len(trainings) or num_trials(study, prepared)
    return Story(
        name=study.name,
        heads=tuple(prepared.data.baselines),
        opening=_trainings_line(conductor) if trainings else _study_line(study, prepared, num),
        tracker=Tracker(
            conductor,
            Chooser(objective=objective_of(study), baselines=baselines),
            num_trials=num,
            num_epochs=study.budget.epochs,
            lengths=[training.epoch for training in trainings],
        ),
        trainings=trainings,
    )


def _trainings_line(conductor: Running) -> str:
    before = sum(trial.has_ended for trial in conductor.trials.values())
    there = f", {before} of them before" if before else ""
    return f"{count(len(conductor.trainings), 'training')} with fresh seeds{there}"


def _study_line(study: Study, prepared: Prepared, num: int) -> str:
    """Return the data and the budget in one line."""
    rows = ", ".join(f"{rows} {split}" for split, rows in prepared.data.rows.items() if rows)
    shape = "x".join(str(side) for side in prepared.data.image_shape)
    budget = f"{count(num, 'trial')} x {count(study.budget.epochs, 'epoch')}"
    return f"{rows} images of {shape}; {budget}"


def _training_line(training: Training, trial: TrialRecord) -> str:
    """Return how one training ended, in one line."""
    name = "the reference trial" if training.is_reference else f"trial {training.number}"
    said = f"{name} with seed {training.seed}"
    if trial.state != "complete":
        return f"{said} failed: {trial.reason or trial.state}"
    words = point_words(trial.measurements[-1])
    return f"{said} after {count(training.epoch, 'epoch')}: {words}"


def _summary_line(progress: StudyProgress, time_left: TimeLeft) -> str:
    """Return where the study stands, in one line."""
    states = ", ".join(f"{num} {state}" for state, num in progress.counts.items() if num)
    left = "" if time_left.left is None else f", about {duration(time_left.left)} left"
    best = progress.best
    said = (
        f"{progress.num_ended} of {progress.num_trials} trials ended"
        f"{f' ({states})' if states else ''}, {progress.num_running} running, "
        f"{count(progress.num_epochs, 'epoch')}, {duration(time_left.elapsed)}{left}"
    )
    if best is None:
        return said
    against = None if best.is_reference else progress.reference
    name = "the reference" if best.is_reference else f"trial {best.number}"
    words = point_words(best, against)
    return f"{said}; best: {name} after {count(best.epoch, 'epoch')}: {words}"
