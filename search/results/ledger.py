"""Where a study's time went: the seconds that its trials recorded, and what is left over."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from search.record.history import TrialRecord

WORK = ("build", "trace", "train", "validate", "save")
"""The parts of a trial that are its own work."""

OPENING = ("start", "open")
"""What comes before a trial's first epoch: imports, once per process; data and checkpoint."""

MEANINGS = {
    "start": "imports in a new process (start-up)",
    "open": "data set and checkpoint opened (overhead)",
    "build": "model and optimizer built",
    "trace": "epoch compiled",
    "train": "gradient steps",
    "validate": "exact losses on the validation rows",
    "save": "weights written, superseded ones deleted",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """Seconds of a study, summed over its trials and over the slots they ran in."""

    parts: Mapping[str, float]
    """By part; those of ``OPENING`` and ``WORK`` first, always there."""
    wall_seconds: float | None
    """Of all runs that ended in order, from the first to the last trial; None without one."""
    slot_seconds: float
    """The same times the trials that ran side by side."""
    startup_seconds: float
    """Of that: until each slot's process was ready, imports included."""
    idle_seconds: float
    """Of that: at the end, when no trial was left for a slot."""
    num_trials: int
    """Trials that ended in those runs, one that was taken up again each time."""
    work_seconds: float
    """Of that: what the trials of those runs recorded as ``WORK``."""
    typical_overhead_seconds: float | None = None
    """The median over those trials of what a slot spent on one besides its work; None if no run
    noted it for each trial."""

    @property
    def overhead_seconds(self) -> float | None:
        """Seconds per trial that were neither work nor start-up; None if unknown.

        Work that was not recorded counts, too: epochs that failed or were lost.
        """
        if self.wall_seconds is None or self.num_trials == 0:
            return None
        used = self.startup_seconds + self.idle_seconds + self.work_seconds
        return max(0.0, self.slot_seconds - used) / self.num_trials

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain JSON values."""
        return {
            "seconds": dict(self.parts),
            "wall_seconds": self.wall_seconds,
            "slot_seconds": self.slot_seconds,
            "startup_seconds": self.startup_seconds,
            "idle_seconds": self.idle_seconds,
            "num_trials": self.num_trials,
            "overhead_seconds_per_trial": self.overhead_seconds,
            "typical_overhead_seconds": self.typical_overhead_seconds,
        }


def make_ledger(trials: Sequence[TrialRecord], runs: Sequence[Mapping[str, Any]]) -> Ledger:
    """Add a study's seconds up.

    What trials did in runs that were killed is left out of the overhead, as the wall time of
    those is not known.
    """
    counted = _sum_parts(trials, {run["generation"] for run in runs})
    imports = counted.get("start", 0.0)
    overheads = _trial_overheads(trials, runs)
    doubled = [_counted_twice(trials, run) for run in runs]
    return Ledger(
        parts=_sum_parts(trials, None),
        wall_seconds=sum(run["wall_seconds"] for run in runs) if runs else None,
        slot_seconds=sum(run["wall_seconds"] * run["slots"] for run in runs),
        startup_seconds=sum(run["startup_seconds"] for run in runs)
        + (imports if runs else 0.0)
        - sum(startup for _, startup in doubled),
        idle_seconds=sum(run["idle_seconds"] for run in runs) - sum(idle for idle, _ in doubled),
        num_trials=sum(run["trials"] for run in runs),
        work_seconds=sum(counted.get(part, 0.0) for part in WORK),
        typical_overhead_seconds=median(overheads) if overheads else None,
    )


def _counted_twice(trials: Sequence[TrialRecord], run: Mapping[str, Any]) -> tuple[float, float]:
    """Return what of a run's idle time and of its start-up is work of its trials, too.

    Runs that were interrupted used to count a process as idle since its last trial that ended,
    also while it trained the next. And a clock may be set while a run lasts.
    """
    counted = _sum_parts(trials, {run["generation"]})
    idle, startup = run["idle_seconds"], run["startup_seconds"] + counted["start"]
    left = run["wall_seconds"] * run["slots"] - sum(counted.get(part, 0.0) for part in WORK)
    twice = max(0.0, idle + startup - left)
    of_idle = min(twice, idle)
    return of_idle, min(twice - of_idle, startup)


def _trial_overheads(
    trials: Sequence[TrialRecord], runs: Sequence[Mapping[str, Any]]
) -> list[float]:
    """Return the seconds that each trial that ended took of its slot, besides work and imports.

    From the end of the trial before it in the same process to its own, as the driver heard of
    them; so its results, its record, the next suggestion and its way to the process are in it.
    """
    work: dict[tuple[int, int, int], float] = {}
    for trial in trials:
        for one in trial.measurements:
            key = one.generation, one.number, one.attempt
            spent = sum(one.seconds.get(part, 0.0) for part in (*WORK, "start"))
            work[key] = work.get(key, 0.0) + spent
    return [
        max(0.0, seconds - work.get((run["generation"], number, attempt), 0.0))
        for run in runs
        for number, attempt, seconds in run.get("trial_seconds", ())
    ]


def _sum_parts(trials: Sequence[TrialRecord], generations: set[int] | None) -> dict[str, float]:
    """Add up each part over the measurements of these generations (None: of all)."""
    parts = dict.fromkeys((*OPENING, *WORK), 0.0)
    for trial in trials:
        for measurement in trial.measurements:
            if generations is None or measurement.generation in generations:
                for part, seconds in measurement.seconds.items():
                    parts[part] = parts.get(part, 0.0) + seconds
    return parts
