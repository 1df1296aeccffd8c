"""Deletes the checkpoints of ended trials that nobody can need any more."""

import re
from collections import defaultdict
from collections.abc import Iterable

from search.record.history import TrialRecord
from search.results.points import front_points
from trainables.storage.store import Store
from trainables.storage.study_folder import StudyFolder

FOLDER = StudyFolder.CHECKPOINTS
_NAME = re.compile(r"(\d{6,})-\d{3,}-\d{4,}")
"""Generation, attempt and epoch (``trainables.trial.attempt``); others are the user's own."""


def tidy(store: Store, generation: int, trial: TrialRecord) -> None:
    """Delete the checkpoints of an ended trial but the newest and those on its own front.

    Actors do so while they train, one epoch late (``trainables.trial.attempt``); here goes what
    their last epochs left, and what attempts left that were lost.
    """
    _delete(store, generation, trial, _folders(store.list(f"{FOLDER}/{trial.number:06d}")))


def tidy_all(store: Store, generation: int, trials: Iterable[TrialRecord]) -> None:
    """Do so for all ended trials, at the cost of one listing; raises what `tidy` raises."""
    found: dict[str, set[str]] = defaultdict(set)
    for folder in _folders(store.list(FOLDER)):
        found[folder.split("/")[1]].add(folder)
    for trial in trials:
        if trial.has_ended:
            _delete(store, generation, trial, found[f"{trial.number:06d}"])


def _delete(store: Store, generation: int, trial: TrialRecord, folders: Iterable[str]) -> None:
    saved = [m for m in trial.measurements if m.checkpoint is not None]
    needed = {m.checkpoint for m in (*front_points(trial), *saved[-1:])}
    for folder in folders:
        # What newer owners have is theirs: this one may have been succeeded since it logged the
        # end, and the trial taken up again.
        made = _NAME.fullmatch(folder.rpartition("/")[2])
        if made and int(made[1]) <= generation and folder not in needed:
            store.delete(folder)


def _folders(paths: Iterable[str]) -> set[str]:
    return {"/".join(path.split("/")[:3]) for path in paths if path.count("/") > 2}
