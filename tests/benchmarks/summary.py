"""What many runs of a contender come to: medians and quartiles, in epochs and in seconds."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tests.benchmarks.clock import Trace

TARGETS = (90, 95, 98, 99)
"""Percent of the hypervolume of the table's front."""
MOMENTS = (10, 25, 50, 100)
"""Percent of the budget."""


def summarise(traces: Sequence[Trace], *, budget: int, seconds: float) -> dict[str, Any]:
    """Return the medians and quartiles of a contender's runs.

    A run that never gets to a target counts as the budget: all its epochs; in seconds
    ``seconds``, or the time of its last epoch where that is later.

    Args:
        traces: At least one run.
        budget: Epochs that each could begin.
        seconds: What the budget would take with all workers busy on average epochs.
    """
    by_epochs = [np.arange(1, len(trace.shares) + 1) for trace in traces]
    by_seconds = [trace.seconds for trace in traces]
    return {
        "seeds": len(traces),
        "epochs": _figures(traces, by_epochs, float(budget), lambda clock: float(budget)),
        "seconds": _figures(
            traces,
            by_seconds,
            seconds,
            lambda clock: max(seconds, float(clock[-1]) if len(clock) else 0.0),
        ),
        "trials": float(np.median([trace.trials for trace in traces])),
    }


def _figures(
    traces: Sequence[Trace], clocks: Sequence[np.ndarray], budget: float, never: Any
) -> dict[str, Any]:
    to_target: dict[str, Any] = {}
    for target in TARGETS:
        reached = [
            clock[np.argmax(trace.shares >= target / 100)]
            if (trace.shares >= target / 100).any()
            else never(clock)
            for trace, clock in zip(traces, clocks, strict=True)
        ]
        hits = sum(bool((trace.shares >= target / 100).any()) for trace in traces)
        to_target[str(target)] = {**_spread(reached), "reached": hits}
    share_at = {
        str(moment): _spread(shares_at(traces, clocks, [budget * moment / 100])[:, 0])
        for moment in MOMENTS
    }
    return {"to": to_target, "share_at": share_at}


def shares_at(
    traces: Sequence[Trace], clocks: Sequence[np.ndarray], moments: Sequence[float]
) -> np.ndarray:
    """Return the share of each run at each moment, shape ``(traces, moments)``.

    Args:
        traces: Runs.
        clocks: When each of a run's epochs ended, rising; shape ``(epochs finished,)``.
        moments: On the same clock.
    """
    rows = []
    for trace, clock in zip(traces, clocks, strict=True):
        finished = np.searchsorted(clock, moments, side="right")
        rows.append(np.concatenate([[0.0], trace.shares])[finished])
    return np.array(rows)


def _spread(values: Any) -> dict[str, float]:
    low, median, high = np.percentile(np.asarray(values, dtype=np.float64), [25, 50, 75])
    return {"median": float(median), "quartiles": [float(low), float(high)]}  # type: ignore[dict-item]


def ratios(results: Mapping[str, Any], ours: str, others: Sequence[str]) -> dict[str, Any]:
    """Return our median epochs and seconds to each target, over the best of some others'.

    Args:
        results: Contender -> what `summarise` returned.
        ours: Whose ratio.
        others: Those of them that ran are looked at; without one there are no ratios.
    """
    present = [name for name in others if name in results]
    if ours not in results or not present:
        return {}
    return {
        unit: {
            str(target): results[ours][unit]["to"][str(target)]["median"]
            / min(results[name][unit]["to"][str(target)]["median"] for name in present)
            for target in TARGETS
        }
        for unit in ("epochs", "seconds")
    }
