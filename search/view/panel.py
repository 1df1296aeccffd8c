"""The live panel: a frozen view of a running study, drawn for a terminal of some width."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from search.record.metrics import metric_digits, own_metric
from search.results.points import Point
from search.results.progress import StudyProgress, TimeLeft
from search.text import clean, count, duration, number
from search.view.tables import (
    STATE_STYLES,
    add_row,
    change_cell,
    figure_column,
    mark_column,
    new_table,
)

MOST_WIDTH = 110
MOST_FRONT = 6
"""Rows of the front that are shown."""
MOST_NEWS = 2
"""Trials that ended last."""
BESIDE_HEADS = 24
"""Columns that the names of trials, the borders and the word ``best`` take."""
HEAD_WIDTH = 19
"""Columns that a head's own metric and its loss take."""
CHANGE_WIDTH = 8
"""Columns that the change of a loss takes."""
_FRAMES = "|/-\\"


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """All that the panel shows."""

    time: TimeLeft
    title: str = "twohead"
    heads: tuple[str, ...] = ()
    """Of the front; none where there is no front to show."""
    opening: str = ""
    """The data and the budget."""
    is_confirming: bool = False
    """Whether points are trained again."""
    phases: tuple[tuple[str, float], ...] = ()
    """What was done before the first trial and after the last, and when each began."""
    progress: StudyProgress | None = None
    news: tuple[str, ...] = ()
    """How the last trials ended, newest last."""


def render(view: View, width: int, now: float) -> RenderableType:
    """Draw the panel for a terminal of this width; ``now`` is on the clock of the phases."""
    width = min(width, MOST_WIDTH)
    parts: list[RenderableType] = []
    if view.opening:
        parts += [_dim(view.opening), Text()]
    if view.progress is not None and view.progress.num_epochs:
        parts += _progress(view, view.progress, width)
        if view.heads:
            parts += [Text(), _front(view.progress, view.heads, width)]
        parts += [Text(), *map(_dim, view.news)] if view.news else []
    elif view.progress is not None and not view.phases:
        parts.append(Text(f"{_frame(now)} starting the workers"))
    parts += _phases(view.phases, now)
    way_on = "the same command" if view.is_confirming else "`twohead resume`"
    return Panel(
        Group(*parts),
        title=Text(clean(view.title), style="bold"),
        title_align="left",
        subtitle=Text(f"{duration(view.time.elapsed)} · Ctrl-C interrupts, {way_on} goes on"),
        subtitle_align="right",
        width=width,
        padding=(0, 1),
        border_style="dim",
    )


def _progress(view: View, progress: StudyProgress, width: int) -> list[RenderableType]:
    ended, left = progress.num_ended, view.time.left
    noun = "trainings" if view.is_confirming else "trials"
    time_left = "" if left is None else f"   about {duration(left)} left"
    words = Text(f"  {ended} of {progress.num_trials} {noun}{time_left}")
    line = Table.grid(padding=0)
    line.add_column(width=max(10, width - len(words) - 4))
    line.add_column(no_wrap=True)
    line.add_row(
        ProgressBar(total=progress.num_trials, completed=ended, complete_style="cyan"), words
    )
    states = Text(f"{progress.num_running} running", style="cyan")
    for state, num in progress.counts.items():
        if num:
            states.append(" · ", style="dim").append(f"{num} {state}", style=STATE_STYLES[state])
    states.append(" · ", style="dim").append(count(progress.num_epochs, "epoch"), style="default")
    return [line, states]


def _front(progress: StudyProgress, heads: tuple[str, ...], width: int) -> RenderableType:
    """Draw the points of the front, and the reference trial below.

    The change of a loss against the reference's is shown where there is room for all heads.
    """
    room = width - BESIDE_HEADS
    has_change = len(heads) * (HEAD_WIDTH + CHANGE_WIDTH) <= room
    shown = heads[: max(1, room // HEAD_WIDTH)]
    columns = [mark_column("front so far" if len(progress.front) > 1 else "best so far")]
    for head in shown:
        columns.append(figure_column(f"{head}\n{_label(progress, head)}", max_width=14))
        columns.append(figure_column("\nloss"))
        columns += [figure_column("", min_width=6)] if has_change else []
    hidden = len(heads) - len(shown)
    more_heads = f"+{hidden}{' heads' if room >= HEAD_WIDTH else ''}" if hidden else ""
    table = new_table(*columns, mark_column(more_heads))
    points = _choose_rows(progress.front, progress.best)
    for point in points:
        add_row(table, *_cells(point, progress, shown, has_change=has_change))
    more = len(progress.front) - len(points)
    if more:
        add_row(table, Text(f"and {more} more", style="dim"))
    reference = progress.reference
    if reference is not None and reference not in points:
        cells = _cells(reference, progress, shown, has_change=has_change)
        add_row(table, *cells, style="dim")
    return table


def _label(progress: StudyProgress, head: str) -> str:
    """Return the name of a head's own metric; empty where none was recorded."""
    found = [own_metric(point.metrics, head) for point in progress.front]
    return next((metric[0].label for metric in found if metric), "")


def _choose_rows(front: Sequence[Point], best: Point | None) -> list[Point]:
    """Return at most ``MOST_FRONT`` points: both ends, some between, and the best."""
    if len(front) <= MOST_FRONT:
        return list(front)
    last = len(front) - 1
    places = {round(step * last / (MOST_FRONT - 1)) for step in range(MOST_FRONT)}
    if best in front:
        wanted = front.index(best)
        if wanted not in places:
            inner = [place for place in places if place not in {0, last}]
            places.discard(min(inner, key=lambda place: abs(place - wanted)))
            places.add(wanted)
    return [front[place] for place in sorted(places)]


def _cells(
    point: Point, progress: StudyProgress, heads: Sequence[str], *, has_change: bool
) -> Iterator[Text]:
    is_best = point == progress.best
    style = "bold" if is_best else ""
    name = "reference" if point.is_reference else f"trial {point.number}"
    yield Text(f"{name} @{point.epoch}", style=style)
    for head in heads:
        yield Text(metric_digits(point.metrics, head), style=style)
        yield Text(number(point.losses[head]), style=style)
        if has_change:
            compared = None if point.is_reference else progress.reference
            yield change_cell(point.losses[head], compared.losses[head] if compared else None)
    yield Text("best" if is_best else "", style="bold green")


def _phases(phases: Sequence[tuple[str, float]], now: float) -> Iterator[Text]:
    """Draw the phases that are over, each with its time, and the one at hand."""
    for index, (what, began) in enumerate(phases):
        if index + 1 < len(phases):
            took = phases[index + 1][1] - began
            yield Text(f"✓ {clean(what)}  {duration(took)}", style="dim")
        else:
            yield Text(f"{_frame(now)} {clean(what)}")


def _dim(line: str) -> Text:
    return Text(clean(line), style="dim", no_wrap=True, overflow="ellipsis")


def _frame(now: float) -> str:
    return _FRAMES[int(now * 2) % len(_FRAMES)]
