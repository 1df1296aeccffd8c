"""From runs to one row per contender and precision: medians, ratios, and whether they count."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from tests.benchmarks.wall.entries import ENTRIES, LIMIT
from tests.benchmarks.wall.judging import Noise, difference, final, measure_noise, notices

Run = Mapping[str, Any]
"""As ``running.run`` returns it, with ``contender``, ``precision`` and ``seed``."""

REFERENCE = (LIMIT, "float32")
OTHER_SEED = 1
CLOCKS = ("wall_seconds", "exit_seconds")


def make_table(runs: Sequence[Run], epochs: int) -> dict[str, Any]:
    """Return the rows of all runs with equal settings, and how equal losses were judged.

    Ratios are of medians: to the limit in the same precision, to the fastest peer in float32,
    and to the fastest peer in any precision that ran.

    Args:
        runs: Any number of each contender, in any order.
        epochs: Of every trial.
    """
    reference, noise = _judge(runs, epochs)
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        if run["seed"] != OTHER_SEED:
            groups.setdefault((run["contender"], run["precision"]), []).append(run)
    ordered = sorted(groups, key=lambda key: (key[1] != "float32", list(ENTRIES).index(key[0])))
    rows = [_row(key, groups[key], epochs, reference, noise) for key in ordered]
    best = _best_peers(rows)
    for row in rows:
        row["ratios"] = _ratios(row, rows, best)
    return {
        "rows": rows,
        "best_peer": {name: row["contender"] for name, row in best.items()},
        "noise": None if noise is None else {**noise.by_head, "configs": noise.num},
        "notices_one_epoch_less": _notices(reference, noise, epochs),
    }


def _judge(
    runs: Sequence[Run], epochs: int
) -> tuple[dict[int, dict[int, dict[str, float]]] | None, Noise | None]:
    """Return the reference's losses and the noise; None for what was not run."""
    whole = [run for run in runs if (run["contender"], run["precision"]) == REFERENCE]
    by_seed = {run["seed"]: run["losses"] for run in whole if run["error"] is None}
    reference = by_seed.get(0)
    if reference is None or OTHER_SEED not in by_seed:
        return reference, None
    other = final(by_seed[OTHER_SEED], epochs)
    return reference, measure_noise(final(reference, epochs), other)


def _row(
    key: tuple[str, str], runs: Sequence[Run], epochs: int, reference: Any, noise: Noise | None
) -> dict[str, Any]:
    whole = [run for run in runs if run["error"] is None]
    errors = [run["error"] for run in runs if run["error"] is not None]
    differences = [_difference(run, epochs, reference, noise) for run in whole]
    reasons = [found for found in differences if found]
    is_equal = None if reference is None or noise is None else not reasons
    clocks = {clock: median(run[clock] for run in whole) if whole else None for clock in CLOCKS}
    spread = [run["wall_seconds"] for run in whole]
    return {
        "contender": key[0],
        "precision": key[1],
        "about": ENTRIES[key[0]].about,
        "kind": ENTRIES[key[0]].kind,
        "runs": len(whole),
        **clocks,
        "range_seconds": [min(spread), max(spread)] if spread else None,
        "parts": {
            part: median(run["parts"][part] for run in whole)
            for part in (whole[0]["parts"] if whole else ())
        },
        "is_equal": is_equal,
        "difference": reasons[0] if reasons else None,
        "counts": bool(whole) and is_equal is not False,
        "errors": errors,
    }


def _difference(run: Run, epochs: int, reference: Any, noise: Noise | None) -> str | None:
    if reference is None or noise is None:
        return None
    return difference(final(reference, epochs), final(run["losses"], epochs), noise)


def _notices(reference: Any, noise: Noise | None, epochs: int) -> dict[str, bool]:
    """Tell by head whether losses of one epoch less would be called different, if known."""
    if reference is None or noise is None or epochs < 2:
        return {}
    return notices(final(reference, epochs), final(reference, epochs - 1), noise)


def _best_peers(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the fastest peer that counts, in float32 and in any precision."""
    peers = [row for row in rows if row["kind"] == "peer" and row["counts"]]
    groups = {"float32": [row for row in peers if row["precision"] == "float32"], "any": peers}
    return {
        name: min(group, key=lambda row: row["wall_seconds"])
        for name, group in groups.items()
        if group
    }


def _ratios(
    row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], best: Mapping[str, Any]
) -> dict[str, Any]:
    """Return both clocks of a row over those of each yardstick; None where one is missing."""
    limits = [
        other
        for other in rows
        if (other["contender"], other["precision"]) == (LIMIT, row["precision"])
    ]
    yardsticks = {
        "limit": limits[0] if limits else None,
        "best_peer": best.get("float32"),
        "best_peer_any": best.get("any"),
    }
    return {
        name: None
        if other is None or not other["counts"] or not row["counts"]
        else {clock: row[clock] / other[clock] for clock in CLOCKS}
        for name, other in yardsticks.items()
    }
