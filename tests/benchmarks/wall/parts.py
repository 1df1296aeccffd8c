"""Where the time of a run went, from what its processes told."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import mean
from typing import Any

WORK = ("import", "load", "build", "trace", "train", "validate", "checkpoint")
"""What the processes that train tell of themselves."""

PARTS = ("start-up", *WORK, "idle", "driver")
"""What each slot's time is told apart into; ``driver`` is what is left."""

Stamps = Sequence[Sequence[Mapping[str, Any]]]
Losses = dict[int, dict[int, dict[str, float]]]
"""By trial number, epoch and head."""


def losses_of(stamps: Stamps) -> Losses:
    """Return all losses that were told."""
    losses: Losses = {}
    for line in _lines(stamps, "losses"):
        losses.setdefault(line["number"], {})[line["epoch"]] = dict(line["losses"])
    return losses


def last_result(stamps: Stamps) -> float | None:
    """Return when the last losses were told; None if none were."""
    return max((line["at"] for line in _lines(stamps, "losses")), default=None)


def parts_of(stamps: Stamps, *, started: float, slots: int) -> dict[str, float]:
    """Return seconds by part until the last result, those of ``slots`` processes averaged.

    They add up to the wall time. ``idle`` is from the last trial of a slot to the last result,
    ``driver`` what is left: suggestions, reports, waiting, and the start of any process after the
    first of each slot. What the first epoch of a model takes longer than the mean of its others
    counts as ``trace``, where it is not told by itself.
    """
    end = last_result(stamps)
    told = [lines for lines in stamps if any("part" in line for line in lines)]
    if end is None or not told:
        return {}
    begins = sorted(min(line["start"] for line in lines if "part" in line) for lines in told)
    ends = sorted((last_result([lines]) or end for lines in told), reverse=True)
    seconds = dict.fromkeys(PARTS, 0.0)
    seconds["start-up"] = mean(begins[:slots]) - started
    seconds["idle"] = mean(end - one for one in ends[:slots])
    for lines in told:
        for part, took in _of_process(lines):
            seconds[part] += took / slots
    seconds["driver"] = end - started - sum(seconds.values())
    return seconds


def _of_process(lines: Sequence[Mapping[str, Any]]) -> Iterable[tuple[str, float]]:
    epochs: dict[tuple[str, int], list[float]] = {}
    for line in lines:
        if "part" not in line:
            continue
        took = line["end"] - line["start"]
        if line["part"] in ("train", "validate"):
            epochs.setdefault((line["part"], line["number"]), []).append(took)
        yield line["part"], took
    for (part, _), took_by_epoch in epochs.items():
        extra = _extra(took_by_epoch)
        yield part, -extra
        yield "trace", extra


def _extra(seconds: Sequence[float]) -> float:
    """Return what the first epoch took longer than the others' mean; 0 if it is the only one."""
    return max(0.0, seconds[0] - mean(seconds[1:])) if len(seconds) > 1 else 0.0


def _lines(stamps: Stamps, key: str) -> list[Mapping[str, Any]]:
    return [line for lines in stamps for line in lines if key in line]
