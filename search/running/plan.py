"""What a run is to train: a study's trials, or its leading points again to confirm it."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from search.record.decisions import Origin
from search.record.log import StudyLog
from search.results.load import read
from search.results.points import Point, point_of
from search.results.retrained import Training
from search.sampling.suggest import Suggester
from search.sampling.trials import RecordedTrial
from search.study.configs import first_configs, num_trials
from search.study.objective import Objective, every_head, objective_of
from search.study.prepared import Prepared
from search.study.study import Study


@dataclass(frozen=True, slots=True, kw_only=True)
class ToTest:
    """A point that has no figures on the test split yet."""

    point: Point
    seed: int
    """Of its training."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All in which a run of a study and a run that confirms it differ."""

    name: str = ""
    """Of the run, on the Ray."""
    seed: int
    trials: int
    epochs: int
    deadline: float | None = None
    """On the clock of ``time.monotonic``; None for no limit."""
    baselines: Mapping[str, float]
    """Of each head, in the order of the heads."""
    objective: Objective
    """What is minimised."""
    scheduler: str = "fifo"
    first: tuple[tuple[Mapping[str, Any], Origin], ...] = ()
    """Configs to try before any that is suggested, and where each comes from."""
    sampler: Suggester | None = None
    """Whom to ask for any other config; None where all are fixed."""
    gpu: float = 0.0
    """The share of a GPU that each trial has at first."""
    trainings: tuple[Training, ...] = ()
    """What is trained again to confirm a study, by number: with seeds and epochs of their own."""
    to_test: Callable[[StudyLog], Sequence[ToTest]] = lambda log: ()
    """What is left to be measured on the test split once all trials have ended."""

    def seed_of(self, number: int) -> int:
        """Return the seed with which a trial is trained."""
        return self.trainings[number].seed if self.trainings else self.seed

    def epochs_of(self, number: int) -> int:
        """Return the epochs after which a trial is complete."""
        return self.trainings[number].epoch if self.trainings else self.epochs


def study_plan(
    study: Study, prepared: Prepared, gpu: float, earlier: Sequence[RecordedTrial]
) -> Plan:
    """Return what a run of a study trains."""
    objective, hours = objective_of(study), study.budget.hours

    sampler = Suggester(
        study.sampler,
        prepared.space,
        seed=study.seed,
        num_objectives=len(objective.names),
        epochs=study.budget.epochs,
    )
    for trial in earlier:
        sampler.put(trial)
    return Plan(
        name=study.name,
        seed=study.seed,
        trials=num_trials(study, prepared),
        epochs=study.budget.epochs,
        deadline=None if hours is None else time.monotonic() + hours * 3600,
        baselines=prepared.data.baselines,
        objective=objective,
        scheduler=study.scheduler,
        first=first_configs(study, prepared),
        sampler=sampler,
        gpu=gpu,
        to_test=_chosen_to_test,
    )


def confirmation_plan(
    study: Study, prepared: Prepared, gpu: float, trainings: Sequence[Training]
) -> Plan:
    """Return what a run trains again to confirm a study, by number."""
    return Plan(
        name=f"{study.name}-confirm",
        seed=study.seed,
        trials=len(trainings),
        epochs=max(training.epoch for training in trainings),
        baselines=prepared.data.baselines,
        objective=every_head(tuple(prepared.data.baselines)),
        first=tuple(
            (one.config, "reference" if one.is_reference else "start_with") for one in trainings
        ),
        gpu=gpu,
        trainings=tuple(trainings),
        to_test=partial(_repeats_to_test, tuple(trainings)),
    )


def _chosen_to_test(log: StudyLog) -> list[ToTest]:
    """Return what the policies of a study choose, and the reference, unless they were measured."""
    result = read(log.reader)
    return [
        ToTest(point=point, seed=result.study.seed)
        for point in result.points_to_test()
        if point.test is None
    ]


def _repeats_to_test(trainings: Sequence[Training], log: StudyLog) -> list[ToTest]:
    """Return the trainings of a confirmation that are complete and were not measured."""
    return [
        ToTest(point=point_of(trial, trial.measurements[-1]), seed=training.seed)
        for training, trial in zip(trainings, log.history().trials, strict=True)
        if trial.state == "complete" and not trial.tested
    ]
