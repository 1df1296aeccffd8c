"""Syne Tune's MOASHA as a contender, with the defaults of Syne Tune 0.16.

It draws configs at random and stops by non-dominated rank (grace period 1, reduction factor 3,
one bracket); ``max_t`` is the epochs of a trial. It is called as its tuner calls it. What had to
be adapted: its draws ignore ``random_seed`` and come from NumPy's global generator, which is
therefore put into a state of its own around each call.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import numpy as np
from syne_tune.backend.trial_status import Trial
from syne_tune.config_space import choice
from syne_tune.optimizer.scheduler import SchedulerDecision
from syne_tune.optimizer.schedulers.multiobjective.moasha import MOASHA

from search.space.parameters import Choice
from tests.benchmarks.contender import EndState, Problem

EPOCH = "epoch"
NEVER = datetime(2000, 1, 1)
"""When trials are said to be made; nobody looks."""


class Moasha:
    """Random search with multi-objective ASHA."""

    def __init__(self, problem: Problem) -> None:
        self._constants = dict(problem.space.constants)
        self._scheduler = MOASHA(
            {
                name: choice(list(kind.values))
                for name, kind in problem.space.searched
                if isinstance(kind, Choice)
            },
            metrics=list(problem.heads),
            time_attr=EPOCH,
            max_t=problem.epochs,
            random_seed=problem.seed,
        )
        self._state = np.random.RandomState(problem.seed).get_state()
        self._trials: dict[int, Trial] = {}
        self._results: dict[int, dict[str, Any]] = {}
        self._asked = 0

    def ask(self) -> tuple[int, Mapping[str, Any]] | None:
        """Draw a config."""
        with self._own_randomness():
            suggestion = self._scheduler.suggest()
            if suggestion is None:
                return None
            number, self._asked = self._asked, self._asked + 1
            trial = Trial(trial_id=number, config=suggestion.config, creation_time=NEVER)
            self._trials[number] = trial
            self._scheduler.on_trial_add(trial)
        return number, {**self._constants, **suggestion.config}

    def report(self, number: int, epoch: int, losses: Mapping[str, float]) -> bool:
        """Ask it."""
        self._results[number] = {**losses, EPOCH: epoch}
        action = self._scheduler.on_trial_result(self._trials[number], self._results[number])
        return bool(action != SchedulerDecision.CONTINUE)

    def ended(self, number: int, state: EndState) -> None:
        """Tell it."""
        trial, result = self._trials.pop(number), self._results.pop(number, None)
        if state == "complete" and result is not None:
            self._scheduler.on_trial_complete(trial, result)
        else:
            self._scheduler.on_trial_remove(trial)

    @contextmanager
    def _own_randomness(self) -> Iterator[None]:
        outside = np.random.get_state()
        np.random.set_state(self._state)
        try:
            yield
        finally:
            self._state = np.random.get_state()
            np.random.set_state(outside)
