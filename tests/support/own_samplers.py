"""Samplers of somebody else's, as a study finds them by their class."""

from typing import ClassVar

from optuna.samplers import BaseSampler, RandomSampler


class TellingSampler(RandomSampler):
    """Keeps what it is told of ended trials, and notes on trials how many there were."""

    told: ClassVar[list] = []

    def __init__(self, seed=None, sign="+"):
        super().__init__(seed)
        self.sign = sign
        type(self).told = []

    def before_trial(self, study, trial):
        study._storage.set_trial_system_attr(trial._trial_id, "known", len(self.told))

    def after_trial(self, study, trial, state, values):
        self.told.append((trial.system_attrs["known"], state.name, tuple(values)))


class AgainSampler(RandomSampler):
    """Takes up every stopped trial again, the last one first."""

    def take_up(self, study):
        stopped = [
            trial.user_attrs["twohead:number"]
            for trial in study.trials
            if trial.user_attrs["twohead:may_continue"]
        ]
        return max(stopped, default=None)


class WrongSampler(RandomSampler):
    """Takes up a trial that there is not."""

    def take_up(self, study):
        return 99


class OneGoalSampler(RandomSampler):
    """Refuses several objectives, as Optuna's own that can only have one do."""

    def sample_independent(self, study, *given):
        self._raise_error_if_multi_objective(study)
        return super().sample_independent(study, *given)


def no_class(seed):
    return BaseSampler
