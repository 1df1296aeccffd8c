"""What the sampler is told of the trials, each worked out once until it changes."""

from collections.abc import Mapping, Sequence
from itertools import islice

from search.asking import Recorded, RecordedTrial
from search.candidates import best_log_skills, log_curve
from search.history import TrialHistory
from search.objective import Objective
from trainables.attempt import Step

Losses = Mapping[str, float]
Live = Mapping[int, Step]
"""By epoch, what a trial in flight gave since it was last logged."""
_Of = tuple[TrialHistory, dict[int, Step]]


class Memory:
    """From the trials as they are logged to the trials as a sampler sees them.

    Args:
        baselines: Of each head.
        objective: What is minimised.
    """

    def __init__(self, baselines: Losses, objective: Objective) -> None:
        self._baselines = baselines
        self._objective = objective
        self._recorded = Recorded()
        self._num_changes = 0
        self._places: dict[int, int] = {}
        self._of: list[_Of] = []

    def recorded(
        self,
        trials: Mapping[int, TrialHistory],
        live: Mapping[int, Live],
        changes: Sequence[int] | None = None,
    ) -> Recorded:
        """Return every trial; what is returned changes with the next call.

        Args:
            trials: The newest history of each, by number, in an order that only grows.
            live: Of those in flight, by number.
            changes: The number of each that has changed, again and again, from the first call
                on; None if any may have. New ones need not be named.
        """
        changed = trials if changes is None else set(changes[self._num_changes :])
        self._num_changes = 0 if changes is None else len(changes)
        for number in list(changed):
            place = self._places.get(number)
            now = trials[number], dict(live.get(number, {}))
            if place is not None and not _is_same(self._of[place], now):
                self._of[place] = now
                self._recorded.put(place, self._one(*now))
        for number in islice(trials, len(self._places), None):
            place = self._places[number] = len(self._places)
            self._of.append((trials[number], dict(live.get(number, {}))))
            self._recorded.put(place, self._one(*self._of[place]))
        return self._recorded

    def _one(self, trial: TrialHistory, live: Live) -> RecordedTrial:
        skills, epoch = best_log_skills(trial, self._baselines, self._objective)
        logged = {m.epoch: m.losses for m in trial.measurements}
        by_epoch = logged | {epoch: step.losses for epoch, step in live.items()}
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


def _is_same(one: _Of, other: _Of) -> bool:
    """Tell whether a trial has not changed: one that has is another value."""
    return one[0] is other[0] and one[1] == other[1]
