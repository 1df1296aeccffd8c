"""A report as tables for people."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as Lines

from tests.benchmarks.summary import MOMENTS, TARGETS

Shown = Callable[[float], str]


def print_report(report: Mapping[str, Any], console: Console | None = None) -> None:
    """Print what each contender reached, in epochs and in virtual seconds."""
    console = console or Console()
    settings = report["settings"]
    console.print(
        f"{settings['table']}: {settings['configs']} configs x {settings['epochs_per_trial']} "
        f"epochs, heads {', '.join(settings['heads'])}\n{settings['workers']} workers, "
        f"{settings['seeds']} seed(s), at most {settings['epochs']} epochs each; "
        "medians, quartiles below them",
        highlight=False,
    )
    for unit, name in (("epochs", "epochs"), ("seconds", "virtual seconds")):
        budget = settings[unit]
        title = f"{name} to a share of the hypervolume; never: {_amount(budget)}"
        lines = _lines(report, unit, "to", TARGETS, title, _amount)
        _add_ratios(lines, report, unit)
        console.print(lines)
        title = f"share reached at a part of {_amount(budget)} {name}"
        console.print(_lines(report, unit, "share_at", MOMENTS, title, lambda v: f"{v:.3f}"))
    for name, result in report["contenders"].items():
        console.print(f"{name}: {result['about']}; {result['trials']:.0f} trials", highlight=False)


def _lines(
    report: Mapping[str, Any],
    unit: str,
    kind: str,
    columns: Sequence[int],
    title: str,
    show: Shown,
) -> Lines:
    lines = Lines(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1))
    lines.add_column("contender", no_wrap=True)
    for percent in columns:
        lines.add_column(f"{percent} %", justify="right", no_wrap=True)
    for name, result in report["contenders"].items():
        spreads = [result[unit][kind][str(percent)] for percent in columns]
        lines.add_row(name, *[_cell(spread, show) for spread in spreads])
    return lines


def _add_ratios(lines: Lines, report: Mapping[str, Any], unit: str) -> None:
    if report["ratios"]:
        ratios = report["ratios"][unit]
        lines.add_section()
        lines.add_row("ours/better MO-TPE", *[f"{ratios[str(t)]:.2f}" for t in TARGETS])


def _amount(value: float) -> str:
    """Return three digits or all whole ones."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _cell(spread: Mapping[str, Any], show: Shown) -> str:
    low, high = map(show, spread["quartiles"])
    return f"{show(spread['median'])}\n[dim]{low}..{high}[/dim]"
