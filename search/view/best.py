"""What is printed of a result: the best config with its figures, and what to type next."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from search.errors import NoCandidate
from search.results.metrics import (
    BALANCED,
    HasFigures,
    metric_words,
    own_metric,
    point_words,
    recorded,
)
from search.results.points import Point
from search.results.result import StudyResult
from search.study.objective import HEADS
from search.text import change, clean, count, duration, number, quoted, short_path, value
from search.view.confirmation import confirmed_line
from trainables.storage.store import Store

LABEL_WIDTH = 9
"""Columns of what stands before a line."""
SAME_ACCURACY = 0.01
"""Nearer than this to the accuracy, the balanced accuracy says nothing more."""


def print_end(console: Console, result: StudyResult, seconds: float | None = None) -> None:
    """Print what a finished run found, where it lies and what to type next.

    Args:
        console: Where to.
        result: A study that has ended.
        seconds: What the run took; None if the study had ended before.

    Raises:
        NoCandidate: If no trial gave a point.
    """
    took = ", ended before" if seconds is None else f" in {duration(seconds)}"
    _line(console, f"{clean(result.study.name)}: {counts_text(result)}{took}", "bold")
    _line(console, "")
    try:
        best = result.best()
    except NoCandidate:
        _line(console, f"  twohead show {quoted(result.folder)}")
        raise
    print_best(console, result, best)
    _line(console, "")
    print_next(console, result.folder)


def print_best(console: Console, result: StudyResult, point: Point) -> None:
    """Print one point: its figures next to the reference's, its config, its weights."""
    reference = result.reference()
    _line(console, best_line(point, reference), "bold green")
    if point.why:
        _labelled(console, "why", clean(point.why))
    if result.study.objective != HEADS:
        _labelled(console, "goal", clean(result.chooser.objective.in_words()))
    _line(console, "")
    console.print(figures_table(result, point, reference))
    if point.test is None and result.has_test_split:
        how = "`twohead best` with --test measures it now"
        _line(console, f"test     not measured for this point; {how}")
    _line(console, "")
    searched = config_table(result, point, reference)
    if searched.row_count:
        console.print(searched)
    constants = fixed_text(result, point)
    if constants:
        _labelled(console, "fixed", constants)
    _print_others(console, result, point)
    confirmed = confirmed_line(result, point)
    if confirmed:
        _labelled(console, "again", confirmed)
    _line(console, f"weights  {clean(checkpoint_of(result, point))}")
    for index, line in enumerate(result.signature.in_words()):
        _labelled(console, "model" if index == 0 else "", clean(line))


def print_next(console: Console, folder: str) -> None:
    """Print where the study lies and what to type next; the lines can be copied."""
    path = quoted(folder)
    _line(console, f"study    {clean(folder)}")
    _line(console, "next")
    _line(console, f"  twohead best {path} --json")
    _line(console, f"  twohead show {path}")
    _line(console, f"  twohead confirm {path}")
    _line(console, "or in Python")
    _line(console, f"  import search; result = search.load({short_path(folder)!r})")
    _line(console, "  best = result.best(); print(best.config, result.predict('photo.jpg', best))")
    _line(console, "  model = result.model(best)  # plain Keras, for result.preprocess(images)")


def print_interrupted(console: Console, folder: str) -> None:
    """Print what is kept of an interrupted run and how to go on with it."""
    _line(console, "interrupted: every measured epoch and its weights are kept")
    _line(console, f"  twohead resume {quoted(folder)}")


def best_line(point: Point, reference: Point | None) -> str:
    """Return which point this is and by which rule it was chosen."""
    name = f"trial {point.number} after {count(point.epoch, 'epoch')}"
    rule = f", chosen by {clean(point.policy)}" if point.policy else ""
    if point.is_reference:
        return f"nothing beat the reference trial: best is {name}, the reference itself{rule}"
    note = "" if point.state == "complete" else f" ({point.state})"
    alone = "" if reference else "; the study has no reference trial"
    return f"best: {name}{note}{rule}{alone}"


def figures_table(result: StudyResult, point: Point, reference: Point | None) -> Table:
    """Return a row per head: on the validation split, then on the test split if measured.

    Each begins with the head's own metric, its loss beside it.
    """
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    compared = reference if reference is not None and not point.is_reference else None
    beside = ("reference",) if compared else ()
    table.add_column("validation", overflow="fold")
    table.add_column("metric", no_wrap=True)
    for name in (*beside, "loss", *beside, *(("change",) if compared else ()), "skill"):
        table.add_column(name, justify="right", no_wrap=True)
    _add_rows(table, result, point, compared)
    if point.test is not None:
        table.add_row(Text("test", style="dim"))
        _add_rows(table, result, point.test, compared.test if compared else None)
    return table


def config_table(result: StudyResult, point: Point, reference: Point | None) -> Table:
    """Return the searched parameters with their values, next to the reference's."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("searched", overflow="fold")
    table.add_column("value", justify="right", overflow="fold")
    compared = reference if reference is not None and not point.is_reference else None
    if compared:
        table.add_column("reference", justify="right", overflow="fold")
    for name in searched_names(result):
        if name not in point.config:
            continue
        row = [Text(clean(name)), Text(value(point.config[name]), style="bold")]
        if compared:
            row.append(Text(value(compared.config.get(name, "-")), style="dim"))
        table.add_row(*row)
    return table


def searched_names(result: StudyResult) -> tuple[str, ...]:
    """Return the names of the parameters that vary."""
    return tuple(name for name, _ in result.prepared.space.searched)


def fixed_text(result: StudyResult, point: Point) -> str:
    """Return what does not vary of a point's config, in one line."""
    searched = set(searched_names(result))
    fixed = {name: given for name, given in point.config.items() if name not in searched}
    return ", ".join(f"{clean(name)} {value(given)}" for name, given in fixed.items())


def others_lines(result: StudyResult, point: Point) -> list[str]:
    """Return what the other policies would have chosen and what that would cost, a line each."""
    by_point: dict[tuple[int, int], list[str]] = {}
    for name, other in point.others.items():
        by_point.setdefault((other.number, other.epoch), []).append(clean(name))
    same = by_point.pop((point.number, point.epoch), [])
    lines = []
    for names in by_point.values():
        other = point.others[names[0]]
        here = _sums(result, point.losses)
        sums = [
            _against(name, value, here[name])
            for name, value in _sums(result, other.losses).items()
        ]
        figures = ", ".join([point_words(other, point), *sums])
        lines.append(
            f"{', '.join(names)}: trial {other.number}{_reference(other)} epoch {other.epoch} "
            f"instead, {figures}"
        )
    return [*lines, *([f"the same by {', '.join(same)}"] if same else [])]


def _reference(point: Point) -> str:
    return " (the reference)" if point.is_reference else ""


def _print_others(console: Console, result: StudyResult, point: Point) -> None:
    """Print what the other policies would have chosen, with the changes against this point."""
    for index, line in enumerate(others_lines(result, point)):
        _labelled(console, "others" if index == 0 else "", line)


def _against(name: str, loss: float, here: float) -> str:
    words = change(loss, here)
    return f"{clean(name)} {number(loss)}" + (f" ({words})" if words else "")


def checkpoint_of(result: StudyResult, point: Point) -> str:
    """Return where a point's weights lie: an absolute path or a URI."""
    return Store(result.folder).child(point.checkpoint).uri


def counts_text(result: StudyResult) -> str:
    """Return how many trials ended how, and how many of them twice, in words."""
    states: dict[str, int] = {}
    for trial in result.trials:
        states[trial.state] = states.get(trial.state, 0) + 1
    again = sum(trial.taken_up_after > 0 for trial in result.trials)
    each = ", ".join(f"{num} {state}" for state, num in states.items())
    each += f"; {again} taken up again" if again else ""
    epochs = sum(trial.num_epochs for trial in result.trials)
    ended = f" ({each})" if each else ""
    return f"{count(len(result.trials), 'trial')}{ended}, {count(epochs, 'epoch')}"


def skills_of(result: StudyResult, losses: Mapping[str, float]) -> dict[str, float]:
    """Return each head's loss over that of the best constant prediction."""
    return {head: losses[head] / result.baselines[head] for head in result.heads}


def _sums(result: StudyResult, losses: Mapping[str, float]) -> dict[str, float]:
    """Return what is minimised besides the losses of heads: the total, if it is."""
    values = result.chooser.objective.values(losses)
    return {name: value for name, value in values.items() if name not in result.heads}


def _add_rows(
    table: Table, result: StudyResult, figures: HasFigures, other: HasFigures | None
) -> None:
    """Add a row per head with its figures on one split, next to the reference's if it has any.

    And a row for the total, if that is minimised.
    """
    baselines = {**result.baselines, **_sums(result, result.baselines)}
    losses = {**figures.losses, **_sums(result, figures.losses)}
    beside = {**other.losses, **_sums(result, other.losses)} if other else {}
    has_reference = any(column.header == "reference" for column in table.columns)
    for name, baseline in baselines.items():
        row = [Text(clean(name)), *_metric_cells(figures, other, name, has_reference)]
        row.append(Text(number(losses[name]), style="bold"))
        if has_reference:
            row += _compared(losses[name], beside.get(name))
        table.add_row(*row, Text(number(losses[name] / baseline)))
        if balanced := _balanced_words(figures, name):
            table.add_row("", balanced)


def _metric_cells(
    figures: HasFigures, other: HasFigures | None, head: str, has_reference: bool
) -> list[Text]:
    """Return a head's own metric with its name and, if there is one, the reference's."""
    cells = [Text(metric_words(figures.metrics, head) or "-", style="bold")]
    if has_reference:
        found = own_metric(other.metrics, head) if other else None
        cells.append(Text("-" if found is None else found[0].in_digits(found[1]), style="dim"))
    return cells


def _balanced_words(figures: HasFigures, head: str) -> str:
    """Return the balanced accuracy of classes that are not predicted equally well; else empty."""
    found, balanced = own_metric(figures.metrics, head), recorded(figures.metrics, head, BALANCED)
    is_same = found is None or balanced is None or abs(found[1] - balanced) < SAME_ACCURACY
    return "" if is_same else f"{BALANCED.label} {BALANCED.in_digits(balanced or 0.0)}"


def _compared(loss: float, reference: float | None) -> Sequence[Text]:
    words = "" if reference is None else change(loss, reference)
    style = "green" if words.startswith("-") else "red"
    return [Text(number(reference), style="dim"), Text(words, style=style)]


def _labelled(console: Console, label: str, words: str) -> None:
    """Print words behind a label; their further lines begin below the first."""
    table = Table.grid(padding=0)
    table.add_column(width=LABEL_WIDTH, no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    table.add_row(label, Text(words))
    console.print(table)


def _line(console: Console, line: str, style: str = "") -> None:
    """Print one line that is never broken, so that it can be copied."""
    console.print(Text(line, style=style), soft_wrap=True)
