"""Hypervolume against what it cost, as one picture of all contenders."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.clock import Trace
from tests.benchmarks.contenders import CONTENDERS, OURS
from tests.benchmarks.summary import shares_at

POINTS = 400
EARLIEST = 50
"""Of how many parts of the budget the first one is left out; little happens there."""
COLORS = (
    *("#d62728", "#7f7f7f", "#1f77b4", "#0b3d91", "#2ca02c", "#17becf"),
    *("#9467bd", "#ff7f0e", "#bcbd22", "#8c564b"),
)
"""One per contender, whichever of them are drawn."""
STYLES = ("-", "-", "-", "-", "--", "--", "-.", ":", ":", "-.")


def draw(path: Path, runs: Mapping[str, Sequence[Trace]], report: Mapping[str, Any]) -> None:
    """Draw medians and quartiles of the share against epochs and virtual seconds.

    Args:
        path: The PNG to write.
        runs: By contender.
        report: As `simulate.as_report` returns.
    """
    # Drawn without pyplot, which would look for a display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    settings = report["settings"]
    figure = Figure(figsize=(14, 6.5), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, unit in ((left, "epochs"), (right, "seconds")):
        _draw_panel(axes, runs, unit, float(settings[unit]))
    left.set_xlabel("epochs spent")
    right.set_xlabel(f"virtual seconds, {settings['workers']} workers")
    left.set_ylabel("share of the hypervolume of the table's front")
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle(
        f"{settings['table']}: {settings['configs']} configs x {settings['epochs_per_trial']} "
        f"epochs; median and quartiles of {settings['seeds']} seeds"
    )
    figure.savefig(path, dpi=110)


def _draw_panel(axes: Any, runs: Mapping[str, Sequence[Trace]], unit: str, budget: float) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    # Most of what tells the contenders apart happens early, and close to 1.
    moments = np.geomspace(budget / EARLIEST, budget, POINTS)
    for name, traces in runs.items():
        place = list(CONTENDERS).index(name)
        clocks = [
            np.arange(1, len(trace.shares) + 1) if unit == "epochs" else trace.seconds
            for trace in traces
        ]
        shares = shares_at(traces, clocks, moments.tolist())
        low, median, high = np.percentile(shares, [25, 50, 75], axis=0)
        color, is_ours = COLORS[place % len(COLORS)], name == OURS
        style = STYLES[place % len(STYLES)]
        above = 10 - place
        axes.fill_between(moments, low, high, color=color, alpha=0.15 if is_ours else 0.07, lw=0)
        axes.plot(
            moments,
            median,
            color=color,
            ls=style,
            lw=2.8 if is_ours else 1.5,
            zorder=above,
            label=CONTENDERS[name].about,
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(moments[0], budget)
    axes.set_ylim(0.2, 1.005)
    axes.set_yticks([0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0])
    axes.grid(alpha=0.3, which="both", lw=0.6)
    axes.spines[["top", "right"]].set_visible(False)
