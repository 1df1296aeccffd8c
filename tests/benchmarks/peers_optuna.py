"""Optuna's samplers as contenders, by ask and tell, with the defaults of Optuna 5.0.

Those for several objectives stop nothing: Optuna refuses to prune there. A trial's values are the
losses after its last epoch. A choice between numbers is given as an int range of places, which
serves MO-TPE better than categories (README.md has the figures); text and booleans as categories.
A trial with a loss that is not finite is told as failed.

Hyperband is Optuna's ``HyperbandPruner`` with its default TPE on one objective, the geometric
mean of the losses: the only pruner with brackets that neither waits for a cohort nor needs a
cluster. Its ``max_resource`` is given, for it is known.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.trial import TrialState

from search.space.parameters import Choice
from search.space.space import SearchSpace
from tests.benchmarks.contender import EndState, Problem


class Places:
    """A table's choices as Optuna's distributions over places, and back."""

    def __init__(self, space: SearchSpace, *, ordered: bool = True) -> None:
        self._space = space
        self._values: dict[str, tuple[Any, ...]] = {}
        self.distributions: dict[str, BaseDistribution] = {}
        for name, kind in space.searched:
            if not isinstance(kind, Choice):
                raise TypeError(f"a table needs choices, got {kind}")
            last = len(kind.values) - 1
            self._values[name] = kind.values
            self.distributions[name] = (
                IntDistribution(0, last)
                if ordered and _is_numeric(kind)
                else CategoricalDistribution(tuple(range(last + 1)))
            )

    def config(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the config that places stand for."""
        values = {name: places[params[name]] for name, places in self._values.items()}
        return {**dict(self._space.constants), **values}


class Sampled:
    """A study of several objectives without stopping."""

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
        values = self._last.pop(number, None)
        if state == "complete":
            self._study.tell(number, values)
        else:
            self._study.tell(number, state=TrialState.FAIL)


def tpe_independent(problem: Problem, *, ordered: bool = True) -> Sampled:
    """Return multi-objective TPE as it comes: parameter by parameter."""
    return Sampled(problem, lambda seed: optuna.samplers.TPESampler(seed=seed), ordered=ordered)


def tpe_multivariate(problem: Problem, *, ordered: bool = True) -> Sampled:
    """Return multi-objective TPE, all parameters at once."""
    return Sampled(
        problem,
        lambda seed: optuna.samplers.TPESampler(seed=seed, multivariate=True),
        ordered=ordered,
    )


def nsga2(problem: Problem) -> Sampled:
    """Return NSGA-II with its population of 50."""
    return Sampled(problem, lambda seed: optuna.samplers.NSGAIISampler(seed=seed))


def gp(problem: Problem) -> Sampled:
    """Return Gaussian processes with log hypervolume improvement; they need torch."""
    import torch

    torch.set_num_threads(1)
    return Sampled(problem, lambda seed: optuna.samplers.GPSampler(seed=seed))


class Hyperband:
    """A study of the geometric mean of the losses, pruned by Hyperband."""

    def __init__(self, problem: Problem) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._places = Places(problem.space)
        self._study = optuna.create_study(
            direction="minimize",
            sampler=optuna.samplers.TPESampler(seed=problem.seed),
            pruner=optuna.pruners.HyperbandPruner(max_resource=problem.epochs),
            # A trial's bracket is a hash of this name and the number; the default is random.
            study_name=f"study-{problem.seed}",
        )
        self._trials: dict[int, optuna.Trial] = {}
        self._last: dict[int, float] = {}

    def ask(self) -> tuple[int, Mapping[str, Any]] | None:
        """Ask for a trial."""
        trial = self._study.ask(self._places.distributions)
        self._trials[trial.number] = trial
        return trial.number, self._places.config(trial.params)

    def report(self, number: int, epoch: int, losses: Mapping[str, float]) -> bool:
        """Report the geometric mean, and ask whether to prune."""
        self._last[number] = geometric_mean(losses)
        self._trials[number].report(self._last[number], epoch)
        return bool(self._trials[number].should_prune())

    def ended(self, number: int, state: EndState) -> None:
        """Tell the value, or how the trial ended."""
        trial, last = self._trials.pop(number), self._last.pop(number, None)
        if state == "complete":
            self._study.tell(trial, last)
        else:
            pruned = state == "stopped"
            self._study.tell(trial, state=TrialState.PRUNED if pruned else TrialState.FAIL)


def geometric_mean(losses: Mapping[str, float]) -> float:
    """Return the geometric mean of losses >= 0."""
    return math.prod(losses.values()) ** (1 / len(losses))


def _is_numeric(kind: Choice) -> bool:
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in kind.values)
