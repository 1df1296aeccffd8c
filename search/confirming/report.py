"""What is printed of a confirmation: a table, its verdict, and one line beside the best."""

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from search.confirming.confirmation import Candidate, Confirmation, Spread, spread_of
from search.confirming.record import confirmed_point
from search.confirming.verdict import percent
from search.points import Figures, Point
from search.results import StudyResult
from search.wording import clean, count, number, value


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
    console.print(figures_table(confirmed))
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


def figures_table(confirmed: Confirmation) -> Table:
    """Return a row per candidate and head: in the study, and again with fresh seeds."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    has_test = any(one.test for one in confirmed.candidates)
    for name in ("rank", "was"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("trial", "validation"):
        table.add_column(name, overflow="fold")
    for name in ("in the study", "again", "least .. most", *(["test, again"] if has_test else [])):
        table.add_column(name, justify="right", no_wrap=True)
    for rank, candidate in enumerate(confirmed.candidates, start=1):
        for index, row in enumerate(_rows(confirmed, candidate, has_test=has_test)):
            first = (str(rank), str(candidate.was), _point_name(candidate))
            table.add_row(*(first if index == 0 else ("", "", "")), *row)
    return table


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
    figures = ", ".join(
        f"{clean(head)} {_mean(spread)}" for head, spread in candidate.losses.items()
    )
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
        "test": {head: _spread(spread) for head, spread in candidate.test.items()} or None,
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


def _rows(confirmed: Confirmation, candidate: Candidate, *, has_test: bool) -> Iterable[list[str]]:
    """Yield the cells of each head, of a total if that is minimised, and of all together."""
    again = _spreads(confirmed, [one.figures for one in candidate.trained])
    test = _spreads(confirmed, [one.test for one in candidate.trained])
    for name, study_value in _values(confirmed, candidate.point).items():
        yield [
            clean(name),
            number(study_value),
            _mean(again.get(name)),
            _range(again.get(name)),
            *([_mean(test.get(name))] if has_test else []),
        ]
    if len(confirmed.heads) > 1:
        skill = confirmed.skill(candidate)
        yield [
            "skill",
            number(confirmed.study_skill(candidate)),
            _mean_and_share(skill),
            _range(skill),
            *([""] if has_test else []),
        ]


def _values(confirmed: Confirmation, figures: Figures | Point) -> dict[str, float]:
    """Return the losses by head, and what is minimised besides: the total, if it is."""
    losses = {head: figures.losses[head] for head in confirmed.heads}
    return {**losses, **confirmed.chooser.objective.values(figures.losses)}


def _spreads(confirmed: Confirmation, figures: Iterable[Figures | None]) -> dict[str, Spread]:
    found = [_values(confirmed, one) for one in figures if one is not None]
    names = found[0] if found else ()
    return {name: spread_of([values[name] for values in found]) for name in names}


def _mean(spread: Spread | None) -> str:
    if spread is None:
        return "failed"
    if spread.deviation is None:
        return number(spread.mean)
    return f"{number(spread.mean)} ± {number(float(f'{spread.deviation:.2g}'))}"


def _mean_and_share(spread: Spread | None) -> str:
    if spread is None:
        return "failed"
    share = "" if spread.deviation is None else f" ± {percent(spread.deviation)}"
    return f"{number(spread.mean)}{share}"


def _range(spread: Spread | None) -> str:
    return "" if spread is None else f"{number(spread.least)} .. {number(spread.most)}"


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
