"""Deletes of ended trials what nobody can need any more of their checkpoints.

What stays is the weights of each trial's own front, and the state of those that may go on: of
trials that were interrupted, of complete ones until `twohead clean`, and of the stopped ones that
the sampler may take up again.
"""

import math
from collections.abc import Iterable
from statistics import fmean
from typing import final

from search.record.history import TrialRecord
from search.results.kept import (
    FOLDER,
    Found,
    Needed,
    by_number,
    found_in,
    generation_of,
    needed,
    newest_of,
)
from search.results.points import best_log_skills
from search.running.plan import Plan
from search.sampling.trials import MOST_STOPPED
from trainables.storage.store import Store
from trainables.trial.checkpoint import TRAINING, drop_training


@final
class Checkpoints:
    """The checkpoints of a study's ended trials, in the hands of its owner.

    Actors delete while they train, one epoch late (``trainables.trial.attempt``); here goes what
    their last epochs left, and what attempts left that were lost.
    """

    def __init__(self, plan: Plan, store: Store, generation: int) -> None:
        self._plan = plan
        self._store = store
        self._generation = generation
        self._waiting: dict[int, tuple[float, TrialRecord]] = {}
        """Stopped trials that may be taken up again, each with its mean log skill."""

    def tidy(self, trial: TrialRecord) -> None:
        """Keep of an ended trial what is needed, and of the stopped one that it displaces."""
        displaced = self._wait(trial)
        for one in (trial, *displaced):
            paths = self._store.list(f"{FOLDER}/{one.number:06d}")
            self._delete(one, found_in(dict.fromkeys(paths, 0)))

    def tidy_all(self, trials: Iterable[TrialRecord]) -> Found:
        """Do so for all ended trials, at the cost of one listing; return what it has found."""
        found = found_in(dict.fromkeys(self._store.list(FOLDER), 0))
        own = by_number(found)
        ended = [trial for trial in trials if trial.has_ended]
        for trial in ended:
            self._wait(trial)
        for trial in ended:
            self._delete(trial, own.get(trial.number, {}))
        return found

    def goes_on(self, number: int) -> None:
        """Take note that a trial is trained: what it goes on from is not to be deleted."""
        self._waiting.pop(number, None)

    def _wait(self, trial: TrialRecord) -> tuple[TrialRecord, ...]:
        """Let a stopped trial wait for being taken up; return another that no longer does."""
        sampler = self._plan.sampler
        if trial.state != "stopped" or sampler is None or not sampler.takes_up:
            return ()
        skills, _ = best_log_skills(trial, self._plan.baselines, self._plan.objective)
        self._waiting[trial.number] = (math.inf if skills is None else fmean(skills)), trial
        if len(self._waiting) <= MOST_STOPPED:
            return ()
        worst = max(self._waiting, key=lambda number: (self._waiting[number][0], number))
        _, displaced = self._waiting.pop(worst)
        return () if worst == trial.number else (displaced,)

    def _needed(self, trial: TrialRecord, found: Found) -> Needed:
        if self._plan.trainings and trial.state == "complete":
            # Its last epoch is what it was trained for, and measured on the test split.
            return Needed({newest_of(trial)}, None)
        goes_on = trial.state in {"complete", "interrupted"} or trial.number in self._waiting
        return needed(trial, found, goes_on=goes_on)

    def _delete(self, trial: TrialRecord, found: Found) -> None:
        weights, state = self._needed(trial, found)
        for folder, files in found.items():
            generation = generation_of(folder)
            # What newer owners have is theirs: this one may have been succeeded since it logged
            # the end, and the trial taken up again.
            if generation is None or generation > self._generation or folder == state:
                continue
            if folder not in weights:
                self._store.delete(folder)
            elif TRAINING in files:
                drop_training(self._store, folder)
