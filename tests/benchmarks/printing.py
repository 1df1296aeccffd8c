"""A report as tables for people."""

from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table as Lines

from tests.benchmarks.summary import MOMENTS, TARGETS


def print_report(report: Mapping[str, Any]) -> None:
    """Print what each contender reached, in epochs and in virtual seconds."""
    console = Console()
    settings = report["settings"]
    console.print(
        f"{settings['table']}: {settings['configs']} configs x {settings['epochs_per_trial']} "
        f"epochs, heads {', '.join(settings['heads'])}; {settings['workers']} workers, "
        f"{settings['seeds']} seeds, {settings['epochs']} epochs each",
        highlight=False,
    )
    for unit, budget in (("epochs", settings["epochs"]), ("seconds", settings["seconds"])):
        console.print(_lines(report, unit, budget))


def _lines(report: Mapping[str, Any], unit: str, budget: float) -> Lines:
    lines = Lines(
        title=f"by {'virtual ' if unit == 'seconds' else ''}{unit}; a run that never gets there "
        f"counts as {budget:,.0f}; median [quartiles]"
    )
    lines.add_column("contender")
    for target in TARGETS:
        lines.add_column(f"{unit} to {target} %", justify="right")
    for moment in MOMENTS:
        lines.add_column(f"share at {moment} %", justify="right")
    for name, result in report["contenders"].items():
        figures = result[unit]
        times = [_cell(figures["to"][str(t)], lambda v: f"{v:,.0f}") for t in TARGETS]
        shares = [_cell(figures["share_at"][str(m)], lambda v: f"{v:.3f}") for m in MOMENTS]
        lines.add_row(name, *times, *shares)
    if report["ratios"]:
        shown = [f"{report['ratios'][unit][str(target)]:.2f}" for target in TARGETS]
        lines.add_section()
        lines.add_row("ours / better MO-TPE", *shown, *[""] * len(MOMENTS))
    return lines


def _cell(spread: Mapping[str, Any], shown: Callable[[float], str]) -> str:
    low, high = map(shown, spread["quartiles"])
    return f"{shown(spread['median'])}\n[{low}, {high}]"
