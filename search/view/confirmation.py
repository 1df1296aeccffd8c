"""What is printed of a confirmation: a table, its verdict, and one line beside the best."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from search.results.confirmation import Candidate, Confirmation, Spread, percent, spread_of
from search.results.metrics import HasFigures, own_metric
from search.results.points import Figures, Point
from search.results.result import StudyResult
from search.results.retrained import confirmed_point
from search.text import clean, count, number, value

WIDE = 110
"""Columns of a terminal from which on all columns of the table have room."""
Row = tuple[str, ...]
Rows = Sequence[Row]
Digits = Callable[[float], str]
"""Puts a figure into words."""


def print_confirmation(console: Console, confirmed: Confirmation) -> None:
    """Print the verdict, a row per candidate and head, and in what their configs differ."""
    _line(console, confirmed.verdict, "bold green")
    if confirmed.gain:
        _line(console, confirmed.gain)
    seeds = ", ".join(map(str, confirmed.seeds))
    _line(
        console,
        f"{clean(confirmed.name)} by {clean(confirmed.policy)}{_goal(confirmed)}; trained "
        f"again with {'seed' if len(confirmed.seeds) == 1 else 'seeds'} {seeds}; "
        "the figures in the study were selected, so they are optimistic",
        "dim",
    )
    _line(console, "")
    console.print(figures_table(confirmed, console.width))
    differing = config_table(confirmed)
    if differing.row_count:
        _line(console, "")
        console.print(differing)
    for candidate in confirmed.candidates:
        for repeat in candidate.failed:
            _line(
                console,
                f"{_name(candidate)} with seed {repeat.seed} failed: {clean(repeat.failure)}",
                "red",
            )


def _goal(confirmed: Confirmation) -> str:
    """Return what is minimised, where that is not every head."""
    objective = confirmed.chooser.objective
    is_usual = confirmed.policy == "head" or objective.names == confirmed.heads
    return "" if is_usual else f" of {clean(objective.in_words())}"


def figures_table(confirmed: Confirmation, width: int = WIDE) -> Table:
    """Return the rows of each candidate: in the study, and again with fresh seeds.

    Args:
        confirmed: What became of the leading points.
        width: Columns of the terminal. Below ``WIDE`` a candidate's name has a row of its own,
            and the least and the most give way to the test split.
    """
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    is_wide, has_test = width >= WIDE, any(one.test for one in confirmed.candidates)
    for name in ("rank", "was") if is_wide else ():
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("trial", "validation") if is_wide else ("validation",):
        table.add_column(name, overflow="fold")
    is_shown = {
        "in the study": True,
        "again": True,
        "least .. most": is_wide or not has_test,
        "test, again": has_test,
    }
    columns = [name for name, is_here in is_shown.items() if is_here]
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    for rank, candidate in enumerate(confirmed.candidates, start=1):
        rows = [
            (name, *(cells[column] for column in columns))
            for name, cells in _rows(confirmed, candidate)
        ]
        for row in _named(rows, rank, candidate) if is_wide else _below(rows, rank, candidate):
            table.add_row(*row)
    return table


def _named(rows: Rows, rank: int, candidate: Candidate) -> Iterable[Row]:
    """Yield a candidate's rows, the first with its name in columns of its own."""
    first = (str(rank), str(candidate.was), _point_name(candidate))
    for index, row in enumerate(rows):
        yield (*(first if index == 0 else ("", "", "")), *row)


def _below(rows: Rows, rank: int, candidate: Candidate) -> Iterable[Row]:
    """Yield a candidate's name, and its rows below."""
    yield (f"{rank}. {_point_name(candidate)}, was {candidate.was}",)
    for name, *cells in rows:
        yield (f"  {name}", *cells)


def config_table(confirmed: Confirmation) -> Table:
    """Return the parameters in which the candidates differ, a column per candidate."""
    configs = [one.point.config for one in confirmed.candidates]
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("config", overflow="fold")
    for candidate in confirmed.candidates:
        table.add_column(_short_name(candidate), justify="right", overflow="fold")
    for name in dict.fromkeys(name for config in configs for name in config):
        shown = [value(config.get(name, "-")) for config in configs]
        if len(set(shown)) > 1:
            table.add_row(clean(name), *shown)
    return table


def confirmed_line(result: StudyResult, point: Point) -> str:
    """Return what fresh seeds gave for a point, in one line; empty if it was not confirmed."""
    candidate = confirmed_point(result, point)
    if candidate is None:
        return ""
    if not candidate.trained:
        return f"failed with {count(len(candidate.failed), 'fresh seed')}"
    figures = clean(", ".join(candidate.in_words(head) for head in candidate.losses))
    failed = f"; failed with {len(candidate.failed)} more" if candidate.failed else ""
    return f"{figures} ({count(len(candidate.trained), 'fresh seed')}){failed}"


def confirmed_to_dict(result: StudyResult, point: Point) -> dict[str, Any] | None:
    """Return the same as plain JSON values; None if the point was not confirmed."""
    candidate = confirmed_point(result, point)
    return None if candidate is None else _again(candidate)


def confirmation_to_dict(confirmed: Confirmation) -> dict[str, Any]:
    """Return a whole confirmation as plain JSON values."""
    return {
        "name": confirmed.name,
        "folder": confirmed.folder,
        "policy": confirmed.policy,
        "options": dict(confirmed.options),
        "objective": list(confirmed.chooser.objective.names),
        "seeds": list(confirmed.seeds),
        "verdict": confirmed.verdict,
        "gain": confirmed.gain,
        "first_in_study": confirmed.first.point.number,
        "leader": confirmed.leader.point.number,
        "candidates": [
            {
                "rank": rank,
                "was": candidate.was,
                "number": candidate.point.number,
                "epoch": candidate.point.epoch,
                "is_reference": candidate.point.is_reference,
                "config": dict(candidate.point.config),
                "study": {
                    **_figures(candidate.point),
                    "test": _optional_figures(candidate.point.test),
                },
                **_again(candidate),
                "skill": _skill(confirmed.skill(candidate)),
            }
            for rank, candidate in enumerate(confirmed.candidates, start=1)
        ],
    }


def _again(candidate: Candidate) -> dict[str, Any]:
    return {
        "losses": {head: _spread(spread) for head, spread in candidate.losses.items()},
        "metrics": {name: _spread(spread) for name, spread in candidate.metrics.items()},
        "test": {head: _spread(spread) for head, spread in candidate.test.items()} or None,
        "test_metrics": {name: _spread(one) for name, one in candidate.test_metrics.items()}
        or None,
        "trainings": [
            {
                "seed": repeat.seed,
                "failure": repeat.failure or None,
                "validation": _optional_figures(repeat.figures),
                "test": _optional_figures(repeat.test),
            }
            for repeat in candidate.repeats
        ],
    }


def _rows(
    confirmed: Confirmation, candidate: Candidate
) -> Iterable[tuple[str, Mapping[str, str]]]:
    """Yield the name and the cells of each head, of a total if it is minimised, and of all.

    Of a head first its own metric, then its loss.
    """
    again = _spreads(confirmed, [one.figures for one in candidate.trained])
    test = _spreads(confirmed, [one.test for one in candidate.trained])
    for figure, study_value in _values(confirmed, candidate.point).items():
        yield (
            clean(figure.label),
            {
                "in the study": figure.digits(study_value),
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
    digits: Digits = number


def _values(confirmed: Confirmation, figures: HasFigures) -> dict[_Figure, float]:
    """Return each head's own metric and loss, and what is minimised besides: the total."""
    values: dict[_Figure, float] = {}
    for head in confirmed.heads:
        if found := own_metric(figures.metrics, head):
            metric, value = found
            values[_Figure(f"{head} {metric.label}", metric.in_digits)] = value
        values[_Figure(f"{head} loss")] = figures.losses[head]
    sums = confirmed.chooser.objective.values(figures.losses)
    return values | {
        _Figure(name): one for name, one in sums.items() if name not in figures.losses
    }


def _spreads(confirmed: Confirmation, figures: Iterable[Figures | None]) -> dict[_Figure, Spread]:
    found = [_values(confirmed, one) for one in figures if one is not None]
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


def _range(spread: Spread | None, digits: Digits = number) -> str:
    return "" if spread is None else f"{digits(spread.least)} .. {digits(spread.most)}"


def _spread(spread: Spread | None) -> dict[str, Any] | None:
    if spread is None:
        return None
    return {
        "mean": spread.mean,
        "deviation": spread.deviation,
        "least": spread.least,
        "most": spread.most,
        "num": spread.num,
    }


def _skill(spread: Spread | None) -> dict[str, Any] | None:
    """Return the spread of a skill, whose deviation is a share of it and is named so."""
    values = _spread(spread)
    if values is not None:
        values["deviation_share"] = values.pop("deviation")
    return values


def _figures(figures: Figures | Point) -> dict[str, Any]:
    return {"losses": dict(figures.losses), "metrics": dict(figures.metrics)}


def _optional_figures(figures: Figures | None) -> Mapping[str, Any] | None:
    return None if figures is None else _figures(figures)


def _name(candidate: Candidate) -> str:
    return "the reference trial" if candidate.point.is_reference else _short_name(candidate)


def _short_name(candidate: Candidate) -> str:
    point = candidate.point
    return "reference" if point.is_reference else f"trial {point.number}"


def _point_name(candidate: Candidate) -> str:
    return f"{_short_name(candidate)} @{candidate.point.epoch}"


def _line(console: Console, line: str, style: str = "") -> None:
    console.print(Text(line, style=style), soft_wrap=True)
