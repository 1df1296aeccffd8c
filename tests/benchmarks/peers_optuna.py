"""Optuna's samplers as contenders, by ask and tell, with the defaults of Optuna 5.0.

Nothing is stopped, and nothing is pruned, which Optuna refuses with several objectives. A trial's
values are the losses after its last epoch. Numbers with an order are given as an int range of
places, the rest as categories.
"""

from collections.abc import Callable, Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.trial import TrialState

from search.space import Choice, SearchSpace
from tests.benchmarks.contender import EndState, Problem


class Places:
    """A table's choices as Optuna's distributions, and back."""

    def __init__(self, space: SearchSpace, *, ordered: bool = True) -> None:
        self._space = space
        self.distributions: dict[str, BaseDistribution] = {}
        for name, kind in space.searched:
            if not isinstance(kind, Choice):
                raise TypeError(f"a table needs choices, got {kind}")
            last = len(kind.values) - 1
            self.distributions[name] = (
                IntDistribution(0, last)
                if ordered and _is_numeric(kind)
                else CategoricalDistribution(tuple(range(last + 1)))
            )

    def config(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the config that places stand for."""
        searched = dict(self._space.searched)
        return {
            name: searched[name].values[params[name]] if name in searched else value  # type: ignore[union-attr]
            for name, value in self._space.parameters
        }


class Sampled:
    """A multi-objective study without stopping."""

    def __init__(
        self, problem: Problem, make: Callable[[int], BaseSampler], *, ordered: bool = True
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._places = Places(problem.space, ordered=ordered)
        self._study = optuna.create_study(
            directions=["minimize"] * len(problem.heads), sampler=make(problem.seed)
        )
        self._last: dict[int, list[float]] = {}

    def ask(self) -> tuple[int, Mapping[str, Any]] | None:
        """Ask for a trial."""
        trial = self._study.ask(self._places.distributions)
        return trial.number, self._places.config(trial.params)

    def report(self, number: int, epoch: int, losses: Mapping[str, float]) -> bool:
        """Keep the newest losses."""
        self._last[number] = list(losses.values())
        return False

    def ended(self, number: int, state: EndState) -> None:
        """Tell the values, or that there are none."""
        if state == "complete":
            self._study.tell(number, self._last[number])
        else:
            self._study.tell(number, state=TrialState.FAIL)


def tpe_independent(problem: Problem) -> Sampled:
    """Optuna's multi-objective TPE as it comes: parameter by parameter."""
    return Sampled(problem, lambda seed: optuna.samplers.TPESampler(seed=seed))


def tpe_multivariate(problem: Problem) -> Sampled:
    """Optuna's multi-objective TPE, all parameters at once."""
    return Sampled(problem, lambda seed: optuna.samplers.TPESampler(seed=seed, multivariate=True))


def nsga2(problem: Problem) -> Sampled:
    """Optuna's NSGA-II with its population of 50."""
    return Sampled(problem, lambda seed: optuna.samplers.NSGAIISampler(seed=seed))


def _is_numeric(kind: Choice) -> bool:
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in kind.values)
