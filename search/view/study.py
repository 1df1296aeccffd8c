"""What is printed of whole studies: one with its trials and seconds, or many, a line each."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from search.errors import NoCandidate
from search.record.decisions import LOST, WORDS
from search.record.history import TrialRecord
from search.record.metrics import metric_digits, own_metric, point_words
from search.results.ledger import MEANINGS, WORK, Ledger, make_ledger
from search.results.pareto import SKILL_FLOOR
from search.results.points import Point
from search.results.result import StudyResult
from search.study.objective import HEADS, objective_of
from search.study.samplers import state_note, words_of
from search.text import clean, count, number, value
from search.view.best import best_line, counts_text
from search.view.disk import disk_lines
from search.view.tables import (
    STATE_STYLES,
    LongColumn,
    add_row,
    figure_column,
    fit,
    mark_column,
    new_table,
    say,
    side_by_side,
    text_column,
)


def print_show(console: Console, result: StudyResult) -> None:
    """Print a study: what it is, its trials, its front, and where its time went."""
    for line in (*_head_lines(result), *disk_lines(result)):
        say(console, line)
    if not result.trials:
        return
    for table in _trial_tables(result, _best_points(result), console.width):
        console.print()
        console.print(table)
    for line in _history_lines(result.trials):
        say(console, line, "dim")
    for trial in result.trials:
        if trial.reason:
            line = f"trial {trial.number} {trial.state}: {trial.reason}"
            say(console, line, STATE_STYLES.get(trial.state, ""))
    say(console)
    _print_front(console, result)
    say(console)
    is_any_again = any(trial.taken_up_after for trial in result.trials)
    ledger = make_ledger(result.trials, result.runs)
    console.print(_ledger_table(ledger, is_any_again=is_any_again))


def print_list(console: Console, rows: Iterable[tuple[str, StudyResult | str]]) -> None:
    """Print a line per study, by its name; of one that cannot be read, why."""
    table = studies_table()
    for name, found in rows:
        if isinstance(found, str):
            add_row(table, name, state_cell("unreadable"), "", found)
            continue
        ended = sum(trial.state != "running" for trial in found.trials)
        done = f"{ended}/{found.study.budget.trials}"
        add_row(table, name, state_cell(found.state), done, _best_words(found))
    console.print(table)


def studies_table(*more: str) -> Table:
    """Return an empty table of a row per study: name, state, trials, best, and what else."""
    best = [text_column(heading) for heading in ("best", *more)]
    return new_table(text_column("study"), mark_column("state"), figure_column("trials"), *best)


def state_cell(state: str) -> Text:
    """Return a state in its colour."""
    return Text(clean(state), style=STATE_STYLES.get(state, ""))


def _head_lines(result: StudyResult) -> list[str]:
    """Return what a study is, in a few lines."""
    study = result.study
    budget = f"{study.budget.trials} trials x {study.budget.epochs} epochs"
    hours = "" if study.budget.hours is None else f", at most {study.budget.hours:g} hours"
    lines = [
        f"study    {study.name}, {result.state}: {counts_text(result)}",
        f"folder   {result.folder}",
        f"data     {study.data}",
        f"budget   {budget}{hours}; sampler {words_of(study.sampler)}, "
        f"scheduler {study.scheduler}, seed {study.seed}",
    ]
    if note := state_note(study.sampler):
        lines.append(f"note     {note}")
    if study.model is not None:
        lines.append(f"model    {study.model}{_reference_words(result)}")
    if study.objective != HEADS:
        lines.append(f"goal     {objective_of(study).in_words()}")
    if result.has_begun:
        data = result.prepared.data
        rows = ", ".join(f"{num} {split}" for split, num in data.rows.items())
        shape = "x".join(str(side) for side in data.image_shape)
        baselines = ", ".join(f"{head} {number(loss)}" for head, loss in result.baselines.items())
        lines[3:3] = [
            f"rows     {rows}; images {shape}, {result.prepared.precision}",
            f"baseline {baselines} (the best constant prediction)",
        ]
        lines += [f"note     {note}" for note in result.prepared.notes]
    if (shares := result.shares) is not None:
        lines += [f"shares   {line}" for line in shares.lines(study.resources)]
    return lines


def _reference_words(result: StudyResult) -> str:
    """Return which model the reference trial is of, beside a user's own; empty without one."""
    if not result.study.reference or not result.has_begun:
        return ""
    is_own = result.prepared.reference is not None
    return f"; the reference is {'this at its defaults' if is_own else 'the built-in network'}"


def _best_points(result: StudyResult) -> dict[int, Point]:
    """Return the best point of each trial that has one: the smallest product of skills."""
    best: dict[int, Point] = {}
    for point in result.points() if result.has_begun else ():
        before = best.get(point.number, point)
        best[point.number] = min(before, point, key=lambda one: _product(result, one))
    return best


def _product(result: StudyResult, point: Point) -> float:
    return math.prod(max(skill, SKILL_FLOOR) for skill in result.chooser.skills(point).values())


def _trial_tables(result: StudyResult, points: Mapping[int, Point], width: int) -> list[Group]:
    """Return the trials as one table, or as several if the terminal is narrow."""
    first = _trial_columns(result, points)
    names = result.searched if result.has_begun else ()
    given = {name: [trial.config.get(name, "-") for trial in result.trials] for name in names}
    configs = [LongColumn(_folded(name), [*map(value, cells)]) for name, cells in given.items()]
    for gap in (2, 1):
        if sum(column.width + gap for column in [*first, *configs]) <= width + gap:
            return [side_by_side([*first, *configs], gap)]
    number, *others = first
    groups = [*fit(number.width, others, width), *fit(number.width, configs, width)]
    return [side_by_side([number, *group]) for group in groups]


def _trial_columns(result: StudyResult, points: Mapping[int, Point]) -> list[LongColumn]:
    """Return the columns that say how each trial went."""
    trials = result.trials
    numbers = [f"{t.number}{'*' if t.is_reference else ''}" for t in trials]
    states = [t.state for t in trials]
    styles = [STATE_STYLES.get(state, "") for state in states]
    found = [points.get(t.number) for t in trials]
    columns = [
        LongColumn("#", numbers, is_text=True),
        LongColumn("state", states, styles=styles, is_text=True),
        LongColumn("epochs", [str(t.num_epochs) for t in trials]),
        LongColumn("best", ["-" if p is None else f"@{p.epoch}" for p in found]),
    ]
    for head in result.heads:
        columns += _head_columns(head, found)
    columns.append(LongColumn("skill", [_skill(result, p) for p in found]))
    if len({node for trial in trials for node in trial.nodes}) > 1:
        cells = [clean(" ".join(trial.nodes) or "-") for trial in trials]
        columns.append(LongColumn("node", cells, is_text=True))
    return columns


def _head_columns(head: str, points: Sequence[Point | None]) -> list[LongColumn]:
    """Return a column of a head's own metric, if it was recorded, and one of its loss."""
    losses = ["-" if p is None else number(p.losses[head]) for p in points]
    metrics = [None if p is None else own_metric(p.metrics, head) for p in points]
    label = next((found[0].label for found in metrics if found), "")
    if not label:
        return [LongColumn(f"{_folded(head)}\nloss", losses)]
    cells = ["-" if p is None else metric_digits(p.metrics, head) for p in points]
    return [LongColumn(f"{_folded(head)}\n{label}", cells), LongColumn("loss", losses)]


def _skill(result: StudyResult, point: Point | None) -> str:
    """Return the geometric mean of a point's skills."""
    num = len(result.chooser.objective.names)
    return "-" if point is None else f"{_product(result, point) ** (1 / num):.3f}"


def _folded(name: str) -> str:
    """Return a name in lines of one word, so that its column is narrow."""
    return clean(name).replace("_", "_\n")


def _history_lines(trials: Sequence[TrialRecord]) -> Iterator[str]:
    """Yield which trials had ended and then went on, and which attempts were lost."""
    again = [
        f"trial {trial.number} after {count(trial.taken_up_after, 'epoch')}"
        for trial in trials
        if trial.taken_up_after
    ]
    if again:
        yield f"taken up again: {', '.join(again)}"
    lost = [
        f"trial {trial.number} ({WORDS[one.cause]}{'' if one.charged else ', not charged'})"
        for trial in trials
        for one in trial.releases
        if one.cause in LOST
    ]
    if lost:
        yield f"attempts lost: {', '.join(lost)}"


def _print_front(console: Console, result: StudyResult) -> None:
    front = result.pareto()
    if not front:
        console.print(Text("front: no trial has a point that could be chosen"))
        return
    best = result.best()
    say(console, best_line(best, result.reference()), "bold green")
    console.print(Text(f"  {point_words(best)}"))
    figures = [
        f"trial {point.number} @{point.epoch} "
        + " ".join(_short_figures(point, head)[1] for head in result.heads)
        for point in front
    ]
    names = " ".join(f"{head} {_short_figures(front[0], head)[0]}" for head in result.heads)
    console.print(Text.assemble((f"front ({clean(names)}): ", "dim"), "; ".join(figures)))


def _short_figures(point: Point, head: str) -> tuple[str, str]:
    """Return what is told of a head, its own metric and its loss, and their figures."""
    found, loss = own_metric(point.metrics, head), number(point.losses[head])
    if found is None:
        return "loss", loss
    return f"{found[0].label}/loss", f"{found[0].in_digits(found[1])}/{loss}"


def _best_words(result: StudyResult) -> str:
    try:
        return point_words(result.best())
    except NoCandidate:
        return "-"


def _ledger_table(ledger: Ledger, *, is_any_again: bool) -> Table:
    """Return where the time went; ``is_any_again``: whether some trial counts more than once."""
    what = text_column("what it is", ratio=1)
    table = new_table(mark_column("seconds"), figure_column("sum"), what)
    for part, seconds in ledger.parts.items():
        style = "" if part in WORK else "dim"
        add_row(table, part, f"{seconds:.2f}", MEANINGS.get(part, ""), style=style)
    if ledger.wall_seconds is None:
        add_row(table, "wall", "-", "no run has ended in order yet")
        return table
    add_row(table, "wall", f"{ledger.wall_seconds:.2f}", "from the first trial to the last")
    add_row(table, "slots", f"{ledger.slot_seconds:.2f}", "wall times the trials side by side")
    add_row(table, "start-up", f"{ledger.startup_seconds:.2f}", "of slots: processes and imports")
    idle = "of slots: at the end, no trial was left"
    add_row(table, "idle", f"{ledger.idle_seconds:.2f}", idle)
    again = ", one that was taken up again each time" if is_any_again else ""
    per_trial = f"per trial: (slots - start-up - idle - {' - '.join(WORK)})"
    overhead = "-" if ledger.overhead_seconds is None else f"{ledger.overhead_seconds:.3f}"
    name, bold = Text("overhead", style="bold"), Text(overhead, style="bold")
    add_row(table, name, bold, f"{per_trial} / {count(ledger.num_trials, 'trial')}{again}")
    if ledger.typical_overhead_seconds is not None:
        typical = f"{ledger.typical_overhead_seconds:.3f}"
        add_row(table, "", typical, "of the trial in the middle: half of them had less")
    return table
