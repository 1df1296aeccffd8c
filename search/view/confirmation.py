"""What is printed of a confirmation: a table, its verdict, and one line beside the best."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from search.record.metrics import HasFigures, own_metric
from search.results.confirmation import Candidate, Confirmation, Spread, percent, spread_of
from search.results.points import Point
from search.results.result import StudyResult
from search.results.retrained import confirmed_point
from search.text import count, number, value
from search.view.tables import add_row, config_table, figure_column, new_table, say, text_column

WIDE = 110
"""Columns of a terminal from which on all columns of the table have room."""
_Cells = Mapping[str, str]
"""Of a row, by the heading of the column."""


def print_confirmation(console: Console, confirmed: Confirmation) -> None:
    """Print the verdict, a row per candidate and head, and in what their configs differ."""
    say(console, confirmed.verdict, "bold green")
    if confirmed.gain:
        say(console, confirmed.gain)
    seeds = ", ".join(map(str, confirmed.seeds))
    say(
        console,
        f"{confirmed.name} by {confirmed.policy}{_goal(confirmed)}; trained "
        f"again with {'seed' if len(confirmed.seeds) == 1 else 'seeds'} {seeds}; "
        "the figures in the study were selected, so they are optimistic",
        "dim",
    )
    say(console)
    console.print(_figures_table(confirmed, console.width))
    differing = _differing(confirmed)
    if differing:
        say(console)
        configs = [(_name(one), one.point.config, "") for one in confirmed.candidates]
        console.print(config_table("config", differing, configs))
    for candidate in confirmed.candidates:
        for seed, why in candidate.failed.items():
            line = f"{candidate.name} with seed {seed} failed: {why}"
            say(console, line, "red")


def confirmed_line(result: StudyResult, point: Point) -> str:
    """Return what fresh seeds gave for a point, in one line; empty if it was not confirmed."""
    candidate = confirmed_point(result, point)
    if candidate is None:
        return ""
    if not candidate.trained:
        return f"failed with {count(len(candidate.failed), 'fresh seed')}"
    figures = ", ".join(candidate.in_words(head) for head in candidate.losses)
    failed = f"; failed with {len(candidate.failed)} more" if candidate.failed else ""
    return f"{figures} ({count(len(candidate.trained), 'fresh seed')}){failed}"


def _figures_table(confirmed: Confirmation, width: int) -> Table:
    """Return the rows of each candidate: in the study, and again with fresh seeds.

    Below ``WIDE`` columns its name has a row of its own, and the range gives way to the test.
    """
    is_wide, has_test = width >= WIDE, any(one.test for one in confirmed.candidates)
    headings = ["in the study", "again"]
    headings += ["least .. most"] if is_wide or not has_test else []
    headings += ["test, again"] if has_test else []
    first = [figure_column("rank"), figure_column("was"), text_column("trial")] if is_wide else []
    table = new_table(*first, text_column("validation"), *map(figure_column, headings))
    for rank, candidate in enumerate(confirmed.candidates, start=1):
        name = f"{_name(candidate)} @{candidate.point.epoch}"
        if not is_wide:
            add_row(table, f"{rank}. {name}, was {candidate.was}")
        before = [str(rank), str(candidate.was), name]
        for row, cells in _rows(confirmed, candidate):
            shown = [cells[heading] for heading in headings]
            add_row(table, *(before if is_wide else ()), row if is_wide else f"  {row}", *shown)
            before = ["", "", ""]
    return table


def _rows(confirmed: Confirmation, candidate: Candidate) -> Iterator[tuple[str, _Cells]]:
    """Yield the name and the cells of each head, of a total if it is minimised, and of all.

    Of a head first its own metric, then its loss.
    """
    again = _spreads(confirmed, candidate.trained.values())
    test = _spreads(confirmed, candidate.tested.values())
    for figure, in_study in _values(confirmed, candidate.point).items():
        yield (
            figure.label,
            {
                "in the study": figure.digits(in_study),
                "again": _cell(again, figure),
                "least .. most": _range(again.get(figure), figure.digits),
                "test, again": _cell(test, figure),
            },
        )
    if len(confirmed.heads) > 1:
        skill = confirmed.skill(candidate)
        yield (
            "skill",
            {
                "in the study": number(confirmed.study_skill(candidate)),
                "again": _mean_and_share(skill),
                "least .. most": _range(skill),
                "test, again": "",
            },
        )


@dataclass(frozen=True, slots=True)
class _Figure:
    """What a row of the table shows."""

    label: str
    digits: Callable[[float], str] = number


def _values(confirmed: Confirmation, figures: HasFigures) -> dict[_Figure, float]:
    """Return each head's own metric and loss, and what is minimised besides: the total."""
    values: dict[_Figure, float] = {}
    for head in confirmed.heads:
        if found := own_metric(figures.metrics, head):
            metric, value = found
            values[_Figure(f"{head} {metric.label}", metric.in_digits)] = value
        values[_Figure(f"{head} loss")] = figures.losses[head]
    totals = confirmed.chooser.totals(figures.losses)
    return values | {_Figure(name): one for name, one in totals.items()}


def _spreads(confirmed: Confirmation, figures: Iterable[HasFigures]) -> dict[_Figure, Spread]:
    found = [_values(confirmed, one) for one in figures]
    names = found[0] if found else ()
    return {name: spread_of([values[name] for values in found]) for name in names}


def _cell(spreads: Mapping[_Figure, Spread], figure: _Figure) -> str:
    """Return mean and deviation of a figure; nothing of one that was not recorded."""
    if not spreads:
        return "failed"
    return spreads[figure].in_digits(figure.digits) if figure in spreads else "-"


def _mean_and_share(spread: Spread | None) -> str:
    if spread is None:
        return "failed"
    share = "" if spread.deviation is None else f" ± {percent(spread.deviation)}"
    return f"{number(spread.mean)}{share}"


def _range(spread: Spread | None, digits: Callable[[float], str] = number) -> str:
    return "" if spread is None else f"{digits(spread.least)} .. {digits(spread.most)}"


def _goal(confirmed: Confirmation) -> str:
    """Return what is minimised, where that is not every head."""
    objective = confirmed.chooser.objective
    is_usual = confirmed.policy == "head" or objective.names == confirmed.heads
    return "" if is_usual else f" of {objective.in_words()}"


def _differing(confirmed: Confirmation) -> list[str]:
    """Return the names of the parameters in which the candidates differ as they are shown."""
    configs = [one.point.config for one in confirmed.candidates]
    names = dict.fromkeys(name for config in configs for name in config)
    return [n for n in names if len({value(config.get(n, "-")) for config in configs}) > 1]


def _name(candidate: Candidate) -> str:
    return "reference" if candidate.point.is_reference else candidate.name
