"""What our samplers have in common: whole configs as functions of a seed, a number and trials."""

import abc
from collections.abc import Sequence
from typing import Any
from zlib import crc32

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.search_space import IntersectionSearchSpace
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from search.sampling.distributions import Distributions, distributions_of, parameter_of
from search.sampling.trials import DrawContext, Seen, rng_of
from search.space.encoding import Key, number_at

Told = list[tuple[FrozenTrial, Key]]
"""The other trials of an Optuna study that lie in its space, each with its key."""


class SpaceSampler(BaseSampler, abc.ABC):  # type: ignore[misc] # Optuna's types are not followed
    """A sampler that draws all parameters of a config at once.

    In plain Optuna these are the parameters that all complete trials have in common; what else
    an objective asks for, and all of the first trial, is drawn at random. Every draw is a
    function of the seed, the trial's number and the study's trials, so nothing is reseeded where
    trials run in parallel.
    """

    def __init__(self, *, seed: int | None = None, context: DrawContext | None = None) -> None:
        entropy = np.random.SeedSequence(seed).entropy
        self._seed = int(entropy)  # type: ignore[arg-type] # given one number, it is that
        self._context = context
        self._common = IntersectionSearchSpace()
        self._prepared: Key | None = None

    @abc.abstractmethod
    def draw(self, context: DrawContext, told: Told, study: Study) -> Key:
        """Return the config of a trial; ``told`` are the others in the order of their numbers."""

    @classmethod
    def shown(cls, trials: Sequence[Seen]) -> Sequence[Seen]:
        """Return those of a study's trials that it looks at; by default none."""
        return ()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> Distributions:
        """Return the space of a study of ours, else what all complete trials have in common."""
        if self._context is not None:
            return distributions_of(self._context.kinds)
        common = self._common.calculate(study).items()
        return {name: distribution for name, distribution in common if not distribution.single()}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: Distributions
    ) -> dict[str, Any]:
        """Return the values of all parameters that count."""
        if not search_space:
            return {}
        key, self._prepared = self._prepared, None
        if key is None:
            told = self._told(study, search_space, but=trial.number)
            context = self._context or DrawContext(
                kinds={name: parameter_of(one) for name, one in sorted(search_space.items())},
                tried={key for _, key in told},
                seed=self._seed,
                number=trial.number,
            )
            key = self.draw(context, told, study)
        return {
            name: search_space[name].to_external_repr(number)
            for name, number in zip(sorted(search_space), key, strict=True)
            if number is not None
        }

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Draw one parameter at random."""
        rng = rng_of(self._seed, trial.number, crc32(param_name.encode()))
        number = number_at(parameter_of(param_distribution), rng.random())
        return param_distribution.to_external_repr(number)

    def _told(self, study: Study, space: Distributions, but: int = -1) -> Told:
        trials = study.get_trials(deepcopy=False)
        if self._context is not None:  # it was filled with keys of this space
            return [(t, tuple(map(t.params.get, space))) for t in trials if t.number != but]
        others = [t for t in trials if t.number != but and t.state != TrialState.WAITING]
        return [(t, key) for t in others if (key := _key_in(space, t)) is not None]


def _key_in(space: Distributions, trial: FrozenTrial) -> Key | None:
    """Return a trial's key, None where it lacks a parameter or drew from another range."""
    if any(trial.distributions.get(name) != one for name, one in space.items()):
        return None
    return tuple(one.to_internal_repr(trial.params[name]) for name, one in sorted(space.items()))
