"""What is printed of a result: the best config with its figures, and what to type next."""

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from search.errors import NoCandidate
from search.record.history import TrialRecord
from search.record.metrics import (
    BALANCED,
    HasFigures,
    loss_words,
    metric_digits,
    metric_words,
    own_metric,
    point_words,
    recorded,
)
from search.results.points import Point
from search.results.result import StudyResult
from search.study.objective import HEADS
from search.text import count, duration, number, quoted, short_path, value
from search.view.confirmation import confirmed_line
from search.view.tables import (
    add_row,
    change_cell,
    config_table,
    figure_column,
    mark_column,
    new_table,
    say,
    say_labelled,
    text_column,
)

SAME_ACCURACY = 0.01
"""Nearer than this to the accuracy, the balanced accuracy says nothing more."""


def print_end(console: Console, result: StudyResult, seconds: float | None = None) -> None:
    """Print what a finished run found in so many seconds, where it lies and what to type next.

    Of a study that was resumed this run is told first, then all of it. Without seconds the study
    had ended before; raises `NoCandidate` if no trial gave a point.
    """
    for line in _end_lines(result, seconds):
        say(console, line, "bold")
    say(console)
    try:
        best = result.best()
    except NoCandidate:
        say(console, f"  twohead show {quoted(result.folder)}")
        raise
    print_best(console, result, best)
    say(console)
    _print_next(console, result.folder)


def _end_lines(result: StudyResult, seconds: float | None) -> list[str]:
    """Return what was trained: in this run, in so many seconds, and in all, where that is more."""
    name, newest = result.study.name, result.newest_run
    if seconds is None:
        return [f"{name}: {counts_text(result)}, ended before"]
    took = f" in {duration(seconds)}"
    if all(one.generation == newest for trial in result.trials for one in trial.attempts):
        return [f"{name}: {counts_text(result)}{took}"]
    trained = [trial for trial in result.trials if trial.attempts[-1].generation == newest]
    epochs = [m for trial in trained for m in trial.measurements if m.generation == newest]
    run = f"{_trials_text(trained)}, {count(len(epochs), 'epoch')}{took}"
    return [f"{name}: this run {run}", f"the whole study: {counts_text(result)}"]


def print_best(console: Console, result: StudyResult, point: Point) -> None:
    """Print one point: its figures next to the reference's, its config, its weights."""
    reference = result.reference()
    say(console, best_line(point, reference), "bold green")
    say_labelled(console, "why", point.why)
    if result.study.objective != HEADS:
        say_labelled(console, "goal", result.chooser.objective.in_words())
    say(console)
    beside = None if point.is_reference else reference
    console.print(_figures_table(result, point, beside))
    if point.test is None and result.has_test_split:
        how = "`twohead best` with --test measures it now"
        say(console, f"test     not measured for this point; {how}")
    say(console)
    _print_config(console, result, point, beside)
    say_labelled(console, "others", *_others_lines(result, point))
    say_labelled(console, "again", confirmed_line(result, point))
    say(console, f"weights  {result.checkpoint_uri(point)}")
    say_labelled(console, "model", *result.signature.in_words())


def print_interrupted(console: Console, folder: str) -> None:
    """Print what is kept of an interrupted run and how to go on with it."""
    say(console, "interrupted: every measured epoch and its weights are kept")
    say(console, f"  twohead resume {quoted(folder)}")


def _print_next(console: Console, folder: str) -> None:
    """Print where the study lies and what to type next; the lines can be copied."""
    path = quoted(folder)
    say(console, f"study    {folder}")
    say(console, "next")
    for command in (f"best {path} --json", f"show {path}", f"confirm {path}"):
        say(console, f"  twohead {command}")
    say(console, "or in Python")
    say(console, f"  import search; result = search.load({short_path(folder)!r})")
    say(console, "  best = result.best(); print(best.config, result.predict('photo.jpg', best))")
    say(console, "  model = result.model(best)  # plain Keras, for result.preprocess(images)")


def best_line(point: Point, reference: Point | None) -> str:
    """Return which point this is and by which rule it was chosen."""
    name = f"trial {point.number} after {count(point.epoch, 'epoch')}"
    rule = f", chosen by {point.policy}" if point.policy else ""
    if point.is_reference:
        return f"nothing beat the reference trial: best is {name}, the reference itself{rule}"
    note = "" if point.state == "complete" else f" ({point.state})"
    alone = "" if reference else "; the study has no reference trial"
    return f"best: {name}{note}{rule}{alone}"


def counts_text(result: StudyResult) -> str:
    """Return how many trials ended how, and how many of them twice, in words."""
    epochs = sum(trial.num_epochs for trial in result.trials)
    return f"{_trials_text(result.trials)}, {count(epochs, 'epoch')}"


def _trials_text(trials: Sequence[TrialRecord]) -> str:
    """Return how many trials there are, by state, and how many were taken up again."""
    states = Counter(trial.state for trial in trials)
    again = sum(trial.taken_up_after > 0 for trial in trials)
    each = ", ".join(f"{num} {state}" for state, num in states.items())
    each += f"; {again} taken up again" if again else ""
    return f"{count(len(trials), 'trial')}{f' ({each})' if each else ''}"


def _others_lines(result: StudyResult, point: Point) -> list[str]:
    """Return what the other policies would have chosen and what that would cost, a line each."""
    by_point: dict[tuple[int, int], list[str]] = {}
    for name, other in point.others.items():
        by_point.setdefault((other.number, other.epoch), []).append(name)
    same = by_point.pop((point.number, point.epoch), [])
    lines = []
    for names in by_point.values():
        other = point.others[names[0]]
        here, there = (result.chooser.totals(one.losses) for one in (point, other))
        totals = [loss_words(name, loss, here[name]) for name, loss in there.items()]
        figures = ", ".join([point_words(other, point), *totals])
        reference = " (the reference)" if other.is_reference else ""
        lines.append(
            f"{', '.join(names)}: trial {other.number}{reference} epoch {other.epoch} "
            f"instead, {figures}"
        )
    return [*lines, *([f"the same by {', '.join(same)}"] if same else [])]


def _print_config(
    console: Console, result: StudyResult, point: Point, beside: Point | None
) -> None:
    """Print the searched parameters next to the reference's, and in one line what is fixed."""
    searched = [name for name in result.searched if name in point.config]
    configs = [("value", point.config, "bold")]
    if beside is not None:
        configs.append(("reference", beside.config, "dim"))
    if searched:
        console.print(config_table("searched", searched, configs))
    fixed = (f"{name} {value(v)}" for name, v in point.config.items() if name not in searched)
    say_labelled(console, "fixed", ", ".join(fixed))


def _figures_table(result: StudyResult, point: Point, beside: Point | None) -> Table:
    """Return a row per head: on the validation split, then on the test split if measured."""
    compared = ("reference", "loss", "reference", "change", "skill")
    names = ("loss", "skill") if beside is None else compared
    table = new_table(
        text_column("validation"), mark_column("metric"), *(figure_column(name) for name in names)
    )
    is_compared = beside is not None
    _add_rows(table, result, point, beside, is_compared=is_compared)
    if point.test is not None:
        add_row(table, Text("test", style="dim"))
        tested = beside.test if beside else None
        _add_rows(table, result, point.test, tested, is_compared=is_compared)
    return table


def _add_rows(
    table: Table,
    result: StudyResult,
    figures: HasFigures,
    other: HasFigures | None,
    *,
    is_compared: bool,
) -> None:
    """Add a row per head with its figures on one split, and one for the total if that counts."""
    totals = result.chooser.totals
    losses = {**figures.losses, **totals(figures.losses)}
    there = {**other.losses, **totals(other.losses)} if other else {}
    for name, baseline in {**result.baselines, **totals(result.baselines)}.items():
        loss, its_loss = losses[name], there.get(name)
        cells = [Text(metric_words(figures.metrics, name) or "-", style="bold")]
        cells += [Text(number(loss), style="bold")]
        if is_compared:
            cells.insert(1, Text(metric_digits(other.metrics if other else {}, name), style="dim"))
            cells += [Text(number(its_loss), style="dim"), change_cell(loss, its_loss)]
        add_row(table, name, *cells, number(loss / baseline))
        if balanced := _balanced_words(figures, name):
            add_row(table, "", balanced)


def _balanced_words(figures: HasFigures, head: str) -> str:
    """Return the balanced accuracy of classes that are not predicted equally well; else empty."""
    found, balanced = own_metric(figures.metrics, head), recorded(figures.metrics, head, BALANCED)
    is_same = found is None or balanced is None or abs(found[1] - balanced) < SAME_ACCURACY
    return "" if is_same else f"{BALANCED.label} {BALANCED.in_digits(balanced or 0.0)}"
