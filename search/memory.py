"""What the sampler is told of the trials, each worked out once until it changes."""

from collections.abc import Mapping
from itertools import compress
from operator import is_not

from search.asking import RecordedTrial
from search.candidates import best_log_skills, log_curve
from search.history import TrialHistory
from search.objective import Objective

Losses = Mapping[str, float]


class Memory:
    """From the trials as they are logged to the trials as a sampler sees them.

    Args:
        baselines: Of each head.
        objective: What is minimised.
    """

    def __init__(self, baselines: Losses, objective: Objective) -> None:
        self._baselines = baselines
        self._objective = objective
        self._trials: list[TrialHistory] = []
        self._places: dict[int, int] = {}
        self._live: dict[int, int] = {}
        self._recorded: list[RecordedTrial] = []

    def recorded(
        self, trials: Mapping[int, TrialHistory], live: Mapping[int, Mapping[int, Losses]]
    ) -> list[RecordedTrial]:
        """Return every trial.

        Args:
            trials: The newest history of each, by number, in an order that only grows; a value
                that has changed is another.
            live: Of those in flight the losses by epoch since they were last logged.
        """
        histories = list(trials.values())
        known = len(self._trials)
        changed = set(compress(range(known), map(is_not, self._trials, histories)))
        num_live = {number: len(losses) for number, losses in live.items() if losses}
        for number in num_live.keys() | self._live.keys():
            if num_live.get(number) != self._live.get(number) and number in self._places:
                changed.add(self._places[number])
        for place in changed:
            self._recorded[place] = self._one(histories[place], live)
        for trial in histories[known:]:
            self._places[trial.number] = len(self._recorded)
            self._recorded.append(self._one(trial, live))
        self._trials, self._live = histories, num_live
        return list(self._recorded)

    def _one(self, trial: TrialHistory, live: Mapping[int, Mapping[int, Losses]]) -> RecordedTrial:
        skills, epoch = best_log_skills(trial, self._baselines, self._objective)
        by_epoch = {m.epoch: m.losses for m in trial.measurements} | dict(
            live.get(trial.number, {})
        )
        measured = [by_epoch[epoch] for epoch in range(1, len(by_epoch) + 1) if epoch in by_epoch]
        return RecordedTrial(
            number=trial.number,
            config=trial.config,
            state=trial.state,
            log_skills=skills,
            epoch=epoch,
            curve=log_curve(measured, self._baselines, self._objective),
            system_attrs=trial.system,
        )
