"""Our own searcher and scheduler as contenders: the objects that a real study uses."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from search.results.points import best_log_skills, log_curve
from search.running.scheduler import make_scheduler
from search.sampling.suggest import Suggester
from search.sampling.trials import Continue, RecordedTrial
from search.study.objective import every_head
from tests.benchmarks.contender import EndState, Problem


@dataclass(slots=True, kw_only=True)
class _Measured:
    epoch: int
    losses: Mapping[str, float]


@dataclass(slots=True, kw_only=True)
class _Trial:
    """As much of a ``TrialRecord`` as is looked at."""

    config: Mapping[str, Any]
    system: Mapping[str, Any]
    measurements: list[_Measured] = field(default_factory=list)


class Twohead:
    """A sampler and a scheduler of ours, by name."""

    def __init__(self, problem: Problem, *, sampler: str = "ehvi", scheduler: str = "pareto_asha"):
        self._problem = problem
        self._suggester = Suggester(
            sampler,
            problem.space,
            seed=problem.seed,
            num_objectives=len(problem.heads),
            epochs=problem.epochs,
        )
        self._scheduler = make_scheduler(
            scheduler, baselines=problem.baselines, max_epochs=problem.epochs
        )
        self._trials: list[_Trial] = []

    def ask(self) -> tuple[int, Mapping[str, Any]] | None:
        """Suggest as the conductor does, until every config has been tried."""
        number = len(self._trials)
        if number == self._problem.space.size:  # as a real study, which then is complete
            return None
        suggestion = self._suggester.suggest(number)
        if isinstance(suggestion, Continue):
            self._put(suggestion.number, "running")
            return suggestion.number, self._trials[suggestion.number].config
        self._trials.append(_Trial(config=suggestion.config, system=suggestion.system_attrs))
        self._put(number, "running")
        return number, suggestion.config

    def report(self, number: int, epoch: int, losses: Mapping[str, float]) -> bool:
        """Ask the scheduler."""
        self._trials[number].measurements.append(_Measured(epoch=epoch, losses=losses))
        self._put(number, "running")
        return self._scheduler.decide(number, epoch, losses) == "stop"

    def ended(self, number: int, state: EndState) -> None:
        """Record the state."""
        self._put(number, state)

    def _put(self, number: int, state: Any) -> None:
        trial = self._trials[number]
        baselines = self._problem.baselines
        objective = every_head(self._problem.heads)
        skills, epoch = best_log_skills(trial, baselines, objective)  # type: ignore[arg-type]
        measured = [one.losses for one in trial.measurements]
        trial_now = RecordedTrial(
            number=number,
            config=trial.config,
            state=state,
            log_skills=skills,
            epoch=epoch,
            curve=log_curve(measured, baselines, objective),
            system_attrs=trial.system,
        )
        self._suggester.put(trial_now)
