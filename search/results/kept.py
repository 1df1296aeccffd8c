"""What lies on the disk of a study's checkpoints: what of it is needed, what it takes.

What is needed: the weights of each trial's own front, one of whose points any policy may choose
(`lexicographic` takes each of them, with some tolerance). And the *state* of a trial, which is
what a further epoch needs besides, of one checkpoint, where there may be such an epoch: see
`search.running.checkpoints`.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from search.record.history import TrialRecord
from search.results.points import front_points
from search.results.result import StudyResult
from trainables.storage.study_folder import StudyFolder
from trainables.trial.checkpoint import TRAINING, WHOLE

FOLDER = StudyFolder.CHECKPOINTS
_NAME = re.compile(r"(\d{6,})-\d{3,}-\d{4,}")
"""Generation, attempt and epoch (``trainables.trial.attempt``); others are the user's own."""

Files = Mapping[str, int]
"""The files of a checkpoint by name, each with its bytes; 0 where nobody asks for them."""
Found = Mapping[str, Files]
"""Checkpoints by folder."""


class Needed(NamedTuple):
    """Which folders of an ended trial are needed."""

    weights: Collection[str | None]
    """For their weights."""
    state: str | None
    """The one for all that is in it; None if there is no such."""


def needed(trial: TrialRecord, found: Found, *, goes_on: bool) -> Needed:
    """Return what is needed of an ended trial, which may go on or not; of a failed one the newest.

    An older version wrote weights and state into one file. Then the newest one's was kept, and it
    is for `twohead clean` alone to take it away.
    """
    newest = newest_of(trial)
    if trial.state == "failed":
        return Needed({newest}, None)
    saved = [m.checkpoint or "" for m in trial.measurements]
    states = [folder for folder in saved if _has_state(found.get(folder, ()))]
    is_older = newest is not None and WHOLE in found.get(newest, ())
    state = states[-1] if states and (goes_on or is_older) else None
    return Needed({m.checkpoint for m in front_points(trial)}, state)


def newest_of(trial: TrialRecord) -> str | None:
    """Return the folder of a trial's newest recorded checkpoint; None without any."""
    saved = [m.checkpoint for m in trial.measurements if m.checkpoint is not None]
    return saved[-1] if saved else None


def _has_state(files: Collection[str]) -> bool:
    """Tell whether these files of a checkpoint are enough to go on from it."""
    return TRAINING in files or WHOLE in files


def can_go_on(trial: TrialRecord, found: Found) -> bool:
    """Tell whether any recorded checkpoint of a trial has its state."""
    return any(_has_state(found.get(m.checkpoint or "", ())) for m in trial.measurements)


def found_in(files: Mapping[str, int]) -> Found:
    """Return the checkpoints among the names of objects, each with its bytes."""
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for path, size in files.items():
        parts = path.split("/")
        if len(parts) > 3:
            found["/".join(parts[:3])]["/".join(parts[3:])] = size
    return found


def by_number(found: Found) -> Mapping[int, Found]:
    """Return the checkpoints of each trial."""
    grouped: dict[int, dict[str, Files]] = defaultdict(dict)
    for folder, files in found.items():
        number = folder.split("/")[1]
        if number.isdecimal():
            grouped[int(number)][folder] = files
    return grouped


def generation_of(folder: str) -> int | None:
    """Return which owner's actors wrote a checkpoint; None of a folder that is none of ours."""
    made = _NAME.fullmatch(folder.rpartition("/")[2])
    return int(made[1]) if made else None


@dataclass(frozen=True, slots=True, kw_only=True)
class States:
    """The states of some trials, as `twohead clean` deletes them."""

    numbers: tuple[int, ...] = ()
    """Of the trials."""
    sizes: Mapping[str, int]
    """What goes, files and folders, each with its bytes."""

    @property
    def num_bytes(self) -> int:
        """Of all of them."""
        return sum(self.sizes.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskUse:
    """What a study's checkpoints take."""

    num_bytes: int
    """All of it; also what confirms the study."""
    complete: States
    """Of complete trials: only a larger epoch budget needs them."""
    stopped: States
    """Of stopped ones: the sampler may take them up again if there are to be more trials."""


def disk_use(result: StudyResult) -> DiskUse:
    """Return what a study's checkpoints take, at the cost of a listing."""
    confirms = result.store.confirmation.sizes(FOLDER)
    sizes = result.store.sizes(FOLDER)
    found, epochs = by_number(found_in(sizes)), result.study.budget.epochs
    # Of one that is complete under a smaller budget than the present one, the next run needs it.
    complete = [t for t in result.trials if t.state == "complete" and t.num_epochs >= epochs]
    return DiskUse(
        num_bytes=sum(sizes.values()) + sum(confirms.values()),
        complete=_states(complete, found),
        stopped=_states([t for t in result.trials if t.state == "stopped"], found),
    )


def _states(trials: Iterable[TrialRecord], found: Mapping[int, Found]) -> States:
    numbers, sizes = [], {}
    for trial in trials:
        own = found.get(trial.number, {})
        goes = _going(trial, own)
        if any(_has_state(own[path.removesuffix(f"/{TRAINING}")]) for path in goes):
            numbers.append(trial.number)
            sizes.update(goes)
    return States(numbers=tuple(numbers), sizes=sizes)


def _going(trial: TrialRecord, found: Found) -> dict[str, int]:
    """Return what of a trial is needed by nobody if it never goes on, with its bytes."""
    weights, _ = needed(trial, found, goes_on=False)
    goes = {}
    for folder, files in found.items():
        if generation_of(folder) is None:
            continue
        if folder not in weights:
            goes[folder] = sum(files.values())
        elif TRAINING in files:
            goes[f"{folder}/{TRAINING}"] = files[TRAINING]
    return goes
