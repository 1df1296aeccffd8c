"""What is printed of whole studies: one with its trials and seconds, or many, a line each."""

from collections.abc import Sequence

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from search.errors import NoCandidate
from search.record.decisions import LOST, WORDS
from search.results.ledger import MEANINGS, WORK, Ledger, make_ledger
from search.results.metrics import own_metric, point_words
from search.results.points import Point, TrialRecord
from search.results.result import StudyResult
from search.study.objective import HEADS, objective_of
from search.study.samplers import state_note, words_of
from search.study.shares import read_shares
from search.text import clean, count, number, value
from search.view.best import best_line, counts_text, searched_names
from search.view.tables import Column, fit, side_by_side
from trainables.storage.store import Store

_STYLES = {"complete": "green", "stopped": "yellow", "failed": "red", "interrupted": "magenta"}


def print_show(console: Console, result: StudyResult) -> None:
    """Print a study: what it is, its trials, its front, and where its time went."""
    for line in head_lines(result):
        console.print(Text(line), soft_wrap=True)
    if not result.trials:
        return
    points = best_points(result)
    for table in trial_tables(result, points, console.width):
        console.print()
        console.print(table)
    if line := _taken_up_line(result):
        console.print(Text(line, style="dim"), soft_wrap=True)
    if line := _lost_line(result):
        console.print(Text(line, style="dim"), soft_wrap=True)
    for trial in result.trials:
        if trial.reason:
            line = f"trial {trial.number} {trial.state}: {trial.reason}"
            console.print(Text(clean(line), style=_STYLES.get(trial.state, "")), soft_wrap=True)
    console.print()
    _print_front(console, result)
    console.print()
    is_any_again = any(trial.taken_up_after for trial in result.trials)
    console.print(ledger_table(make_ledger(result.trials, result.runs), is_any_again=is_any_again))


def head_lines(result: StudyResult) -> list[str]:
    """Return what a study is, in a few lines."""
    study = result.study
    budget = f"{study.budget.trials} trials x {study.budget.epochs} epochs"
    hours = "" if study.budget.hours is None else f", at most {study.budget.hours:g} hours"
    lines = [
        f"study    {clean(study.name)}, {result.state}: {counts_text(result)}",
        f"folder   {clean(result.folder)}",
        f"data     {clean(study.data)}",
        f"budget   {budget}{hours}; sampler {clean(words_of(study.sampler))}, "
        f"scheduler {clean(study.scheduler)}, seed {study.seed}",
    ]
    if note := state_note(study.sampler):
        lines.append(f"note     {clean(note)}")
    if study.model is not None:
        lines.append(f"model    {clean(study.model)}{_reference_words(result)}")
    if study.objective != HEADS:
        lines.append(f"goal     {clean(objective_of(study).in_words())}")
    if result.has_begun:
        data = result.prepared.data
        rows = ", ".join(f"{num} {split}" for split, num in data.rows.items())
        shape = "x".join(str(side) for side in data.image_shape)
        lines.insert(3, f"rows     {rows}; images {shape}, {result.prepared.precision}")
        baselines = (f"{clean(head)} {number(loss)}" for head, loss in result.baselines.items())
        lines.insert(4, f"baseline {', '.join(baselines)} (the best constant prediction)")
    if study.resources.is_open and (shares := read_shares(Store(result.folder))) is not None:
        lines += [f"shares   {line}" for line in shares.lines(study.resources)]
    return lines


def _reference_words(result: StudyResult) -> str:
    """Return which model the reference trial is of, beside a user's own; empty without one."""
    if not result.study.reference or not result.has_begun:
        return ""
    is_own = result.prepared.reference is not None
    return f"; the reference is {'this at its defaults' if is_own else 'the built-in network'}"


def best_points(result: StudyResult) -> dict[int, Point]:
    """Return the best point of each trial that has one: the smallest product of skills."""
    best: dict[int, tuple[float, Point]] = {}
    if not result.has_begun:
        return {}
    chooser = result.chooser
    for point in result.points():
        score = 1.0
        for skill in chooser.skills(point).values():
            score *= max(skill, 1e-3)
        if point.number not in best or score < best[point.number][0]:
            best[point.number] = (score, point)
    return {number: point for number, (_, point) in best.items()}


def trial_tables(result: StudyResult, points: dict[int, Point], width: int) -> list[Group]:
    """Return the trials as one table, or as several if the terminal is narrow."""
    names = searched_names(result) if result.has_begun else ()
    first = _trial_columns(result, points)
    configs = [_config_column(name, result.trials) for name in names]
    for gap in (2, 1):
        if sum(column.width + gap for column in [*first, *configs]) <= width + gap:
            return [side_by_side([*first, *configs], gap)]
    number, *others = first
    groups = [*fit(number.width, others, width), *fit(number.width, configs, width)]
    return [side_by_side([number, *group]) for group in groups]


def ledger_table(ledger: Ledger, *, is_any_again: bool = False) -> Table:
    """Return where the time went, each line with what it means.

    Args:
        ledger: The seconds.
        is_any_again: Whether a trial that was taken up again counts there more than once.
    """
    again = ", one that was taken up again each time" if is_any_again else ""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("seconds", no_wrap=True)
    table.add_column("sum", justify="right", no_wrap=True)
    table.add_column("what it is", ratio=1)
    for part, seconds in ledger.parts.items():
        meaning = MEANINGS.get(part, "")
        table.add_row(clean(part), f"{seconds:.2f}", meaning, style="" if part in WORK else "dim")
    if ledger.wall_seconds is None:
        table.add_row("wall", "-", "no run has ended in order yet")
        return table
    table.add_row("wall", f"{ledger.wall_seconds:.2f}", "from the first trial to the last")
    table.add_row("slots", f"{ledger.slot_seconds:.2f}", "wall times the trials side by side")
    table.add_row("start-up", f"{ledger.startup_seconds:.2f}", "of slots: processes and imports")
    table.add_row("idle", f"{ledger.idle_seconds:.2f}", "of slots: at the end, no trial was left")
    overhead = ledger.overhead_seconds
    table.add_row(
        Text("overhead", style="bold"),
        Text("-" if overhead is None else f"{overhead:.3f}", style="bold"),
        f"per trial: (slots - start-up - idle - {' - '.join(WORK)}) / "
        f"{count(ledger.num_trials, 'trial')}{again}",
    )
    if ledger.typical_overhead_seconds is not None:
        typical = f"{ledger.typical_overhead_seconds:.3f}"
        table.add_row("", typical, "of the trial in the middle: half of them had less")
    return table


def print_list(console: Console, rows: Sequence[tuple[str, StudyResult | str]]) -> None:
    """Print a line per study; of one that cannot be read, why.

    Args:
        console: Where to.
        rows: Name of each study, and the study or what is wrong with it.
    """
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("study", overflow="fold")
    table.add_column("state", no_wrap=True)
    table.add_column("trials", justify="right", no_wrap=True)
    table.add_column("best", overflow="fold")
    for name, found in rows:
        if isinstance(found, str):
            table.add_row(clean(name), Text("unreadable", style="red"), "", Text(clean(found)))
            continue
        ended = sum(trial.state != "running" for trial in found.trials)
        done = f"{ended}/{found.study.budget.trials}"
        table.add_row(clean(name), found.state, done, Text(_best_words(found)))
    console.print(table)


def _best_words(result: StudyResult) -> str:
    try:
        return point_words(result.best())
    except NoCandidate:
        return "-"


def _taken_up_line(result: StudyResult) -> str:
    """Return which trials had ended and then went on, and when; empty if none did."""
    again = [
        f"trial {trial.number} after {count(trial.taken_up_after, 'epoch')}"
        for trial in result.trials
        if trial.taken_up_after
    ]
    return f"taken up again: {', '.join(again)}" if again else ""


def _lost_line(result: StudyResult) -> str:
    """Return which attempts were lost, and why; empty if none was."""
    lost = [
        f"trial {trial.number} ({WORDS[one.cause]}{'' if one.charged else ', not charged'})"
        for trial in result.trials
        for one in trial.releases
        if one.cause in LOST
    ]
    return f"attempts lost: {', '.join(lost)}" if lost else ""


def _print_front(console: Console, result: StudyResult) -> None:
    front = result.pareto()
    if not front:
        console.print(Text("front: no trial has a point that could be chosen"))
        return
    best = result.best()
    console.print(Text(best_line(best, result.reference()), style="bold green"), soft_wrap=True)
    console.print(Text(f"  {point_words(best)}"))
    words = [
        f"trial {point.number} @{point.epoch} "
        + " ".join(_short_figures(point, head) for head in result.heads)
        for point in front
    ]
    heads = " ".join(_named_figures(front[0], head) for head in result.heads)
    console.print(Text.assemble((f"front ({heads}): ", "dim"), "; ".join(words)))


def _named_figures(point: Point, head: str) -> str:
    """Return what `_short_figures` gives of a head."""
    found = own_metric(point.metrics, head)
    return clean(f"{head} {found[0].label}/loss" if found else f"{head} loss")


def _short_figures(point: Point, head: str) -> str:
    """Return a head's own metric and its loss, without names."""
    found = own_metric(point.metrics, head)
    metric = f"{found[0].in_digits(found[1])}/" if found else ""
    return f"{metric}{number(point.losses[head])}"


def _trial_columns(result: StudyResult, points: dict[int, Point]) -> list[Column]:
    """Return the columns that say how each trial went."""
    trials = result.trials
    columns = [
        Column(
            heading="#",
            cells=[f"{t.number}{'*' if t.is_reference else ''}" for t in trials],
            is_text=True,
        ),
        Column(
            heading="state",
            cells=[t.state for t in trials],
            styles=[_STYLES.get(t.state, "cyan") for t in trials],
            is_text=True,
        ),
        Column(heading="epochs", cells=[str(t.num_epochs) for t in trials]),
        Column(heading="best", cells=[_epoch_of(points.get(t.number)) for t in trials]),
    ]
    found = [points.get(trial.number) for trial in trials]
    for head in result.heads:
        columns += _head_columns(head, found)
    columns.append(Column(heading="skill", cells=[_skill(result, p) for p in found]))
    if len({node for trial in trials for node in trial.nodes}) > 1:
        cells = [clean(" ".join(trial.nodes) or "-") for trial in trials]
        columns.append(Column(heading="node", cells=cells, is_text=True))
    return columns


def _head_columns(head: str, points: Sequence[Point | None]) -> list[Column]:
    """Return a column of a head's own metric, if it was recorded, and one of its loss."""
    losses = ["-" if p is None else number(p.losses[head]) for p in points]
    metrics = [None if p is None else own_metric(p.metrics, head) for p in points]
    label = next((found[0].label for found in metrics if found), "")
    if not label:
        return [Column(heading=f"{_folded(head)}\nloss", cells=losses)]
    cells = ["-" if found is None else found[0].in_digits(found[1]) for found in metrics]
    return [
        Column(heading=f"{_folded(head)}\n{label}", cells=cells),
        Column(heading="loss", cells=losses),
    ]


def _epoch_of(point: Point | None) -> str:
    return "-" if point is None else f"@{point.epoch}"


def _skill(result: StudyResult, point: Point | None) -> str:
    """Return the geometric mean of a point's skills."""
    if point is None:
        return "-"
    skills = list(result.chooser.skills(point).values())
    product = 1.0
    for skill in skills:
        product *= max(skill, 1e-3)
    return f"{product ** (1 / len(skills)):.3f}"


def _config_column(name: str, trials: Sequence[TrialRecord]) -> Column:
    cells = [value(t.config[name]) if name in t.config else "-" for t in trials]
    return Column(heading=_folded(name), cells=cells)


def _folded(name: str) -> str:
    """Return a name in lines of one word, so that its column is narrow."""
    return clean(name).replace("_", "_\n")
