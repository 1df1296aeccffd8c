"""What the sampler is told of the trials, each worked out once until it changes."""

from collections.abc import Mapping

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
        self._known: dict[int, tuple[TrialHistory, int, RecordedTrial]] = {}

    def recorded(
        self, trials: Mapping[int, TrialHistory], live: Mapping[int, Mapping[int, Losses]]
    ) -> list[RecordedTrial]:
        """Return every trial.

        Args:
            trials: The newest history of each, by number; a value that has changed is another.
            live: Of those in flight the losses by epoch since they were last logged.
        """
        return [self._one(trial, live.get(number, {})) for number, trial in trials.items()]

    def _one(self, trial: TrialHistory, live: Mapping[int, Losses]) -> RecordedTrial:
        known = self._known.get(trial.number)
        if known is not None and known[0] is trial and known[1] == len(live):
            return known[2]
        skills, epoch = best_log_skills(trial, self._baselines, self._objective)
        by_epoch = {m.epoch: m.losses for m in trial.measurements} | dict(live)
        measured = [by_epoch[epoch] for epoch in range(1, len(by_epoch) + 1) if epoch in by_epoch]
        recorded = RecordedTrial(
            number=trial.number,
            config=trial.config,
            state=trial.state,
            log_skills=skills,
            epoch=epoch,
            curve=log_curve(measured, self._baselines, self._objective),
            system_attrs=trial.system,
        )
        self._known[trial.number] = trial, len(live), recorded
        return recorded
