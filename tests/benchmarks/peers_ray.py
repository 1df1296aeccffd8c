"""Ray's ASHA with Optuna as contenders, with the defaults of Ray 2.60.

``AsyncHyperBandScheduler`` (grace period 1, reduction factor 4, one bracket) and ``OptunaSearch``
(whose default is Optuna's TPE on one objective) are called as Ray's controller calls them: the
scheduler with each result, then the searcher unless the trial ended with it, then both at the
end. ``max_t`` is the epochs of a trial. Both look at one metric: the loss of the first head, or
the geometric mean of all. What Ray does with a stopped trial it does here: the searcher is told
that it is complete, with its last value. Ordered choices are int ranges of places, as for
Optuna's own contenders.
"""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch

from tests.benchmarks.contender import EndState, Problem
from tests.benchmarks.peers_optuna import Places, geometric_mean

METRIC = "objective"
NO_CONTROLLER: Any = None
"""Neither class looks at it."""


class Asha:
    """ASHA on one metric, with suggestions for the same metric."""

    def __init__(self, problem: Problem, *, of: str) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._first = problem.heads[0] if of == "first head" else None
        self._places = Places(problem.space)
        self._searcher = OptunaSearch(
            self._places.distributions, metric=METRIC, mode="min", seed=problem.seed
        )
        self._scheduler = AsyncHyperBandScheduler(metric=METRIC, mode="min", max_t=problem.epochs)
        self._trials: dict[int, Any] = {}
        self._results: dict[int, dict[str, Any]] = {}
        self._asked = 0

    def ask(self) -> tuple[int, Mapping[str, Any]] | None:
        """Ask the searcher, and announce the trial to the scheduler."""
        number, self._asked = self._asked, self._asked + 1
        params = self._searcher.suggest(str(number))
        if params is None:
            return None
        self._trials[number] = SimpleNamespace(trial_id=str(number))
        self._scheduler.on_trial_add(NO_CONTROLLER, self._trials[number])
        return number, self._places.config(params)

    def report(self, number: int, epoch: int, losses: Mapping[str, float]) -> bool:
        """Ask the scheduler; the last epoch's result goes to both at the trial's end."""
        value = losses[self._first] if self._first else geometric_mean(losses)
        result = {METRIC: value, "training_iteration": epoch}
        self._results[number] = result
        trial = self._trials[number]
        action = self._scheduler.on_trial_result(NO_CONTROLLER, trial, result)
        if action == TrialScheduler.STOP:
            return True
        self._searcher.on_trial_result(str(number), result)
        return False

    def ended(self, number: int, state: EndState) -> None:
        """Tell both."""
        trial, result = self._trials.pop(number), self._results.pop(number, None)
        if state == "failed" or result is None:
            self._scheduler.on_trial_error(NO_CONTROLLER, trial)
            self._searcher.on_trial_complete(str(number), error=True)
            return
        self._scheduler.on_trial_complete(NO_CONTROLLER, trial, result)
        self._searcher.on_trial_complete(str(number), result)
