"""Which config to try next: any sampler as a function of seed, number and trials."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, final

from search.errors import InputError
from search.sampling.trials import Continue, DrawContext, RecordedTrial, SeenTrials, Suggestion
from search.space.encoding import decode, untried_neighbour
from search.space.parameters import Float
from search.space.space import SearchSpace, idle_in
from search.study.samplers import check_installed, misfit

if TYPE_CHECKING:
    from search.sampling.optuna import AskedSampler

MOVE = 21
"""The draw that decides where a tried config is moved to; samplers use those before it."""


@final
class Suggester:
    """Suggests the configs of one study, on all heads at once.

    An answer depends on nothing but these arguments, the number, and the trials that were put
    in, in whatever order. The sampler sees complete trials, stopped ones and interrupted ones at
    the point they reached; trials without a finite point as failed; running ones (and interrupted
    ones without a point) as running. Trials that do not lie in the space, as the reference trial
    often does not, it does not see. Only a sampler that keeps a state of its own knows more.

    A config that another trial has is not suggested again: one that a sampler cannot help but
    repeat is moved to an untried one in as few parameters as possible. So configs repeat only
    when every config of a finite space has been tried. Configs of interrupted trials may be
    suggested again.

    ``num_objectives`` is the length of each ``log_skills``; ``epochs`` of a whole training only
    ``ehvi`` looks at. `InputError` if the sampler does not fit the space.
    """

    def __init__(
        self,
        sampler: str | Mapping[str, Any],
        space: SearchSpace,
        *,
        seed: int,
        num_objectives: int,
        epochs: int,
    ) -> None:
        reason = misfit(sampler, space)
        if reason is not None:
            raise InputError(f"sampler {reason}")
        check_installed(sampler)
        self._sampler = sampler
        self._space = space
        self._seed = seed
        self._num_objectives = num_objectives
        self._epochs = epochs
        self._trials = SeenTrials(space, num_objectives)
        self._asked: AskedSampler | None = None

    def put(self, trial: RecordedTrial) -> None:
        """Take in a trial, or what has become of it; raises what `SeenTrials.put` raises."""
        self._trials.put(trial)

    def suggest(self, number: int) -> Suggestion | Continue:
        """Return a config for the trial of a number, or a stopped trial to take up instead."""
        trials = self._trials
        if not trials.kinds:
            return Suggestion(config=self._config({}), system_attrs={})
        context = DrawContext(
            kinds=trials.kinds,
            tried=trials.tried,
            seed=self._seed,
            number=number,
            epochs=self._epochs,
            gates=trials.gates,
        )
        answer = self._to_ask().ask(trials.inside, context)
        if isinstance(answer, Continue):
            return answer
        key, attributes = answer
        if key in context.tried:
            key = untried_neighbour(
                key, context.kinds, context.tried, context.rng(MOVE), context.gates
            )
        values = {
            name: decode(kind, number)
            for (name, kind), number in zip(context.kinds.items(), key, strict=True)
            if number is not None
        }
        return Suggestion(config=self._config(values), system_attrs=attributes)

    @property
    def takes_up(self) -> bool:
        """Whether it may answer a stopped trial to take up instead of a config."""
        return bool(self._trials.kinds) and self._to_ask().takes_up

    def _to_ask(self) -> "AskedSampler":
        if self._asked is None:
            from search.sampling.optuna import AskedSampler  # only now import Optuna

            self._asked = AskedSampler(self._sampler, self._trials.kinds, self._num_objectives)
        return self._asked

    def _config(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return a whole config in the order of the space, without what does not count in it."""
        whole = {**dict(self._space.constants), **values}
        idle = idle_in(self._space.gates, values)
        return {name: whole[name] for name, _ in self._space.parameters if name not in idle}


def check_sampler(
    sampler: str | Mapping[str, Any], space: SearchSpace, num_objectives: int
) -> None:
    """Refuse a sampler that is not installed or cannot be used, before anything starts.

    The `InputError` has the command that installs it, or why it cannot be used.
    """
    check_installed(sampler)
    if isinstance(sampler, str) and ":" not in sampler:
        return
    if not space.searched:
        space = SearchSpace(parameters=(("x", Float(low=0.0, high=1.0)),))
    suggester = Suggester(sampler, space, seed=0, num_objectives=num_objectives, epochs=1)
    for number in range(3):
        found = suggester.suggest(number)
        assert isinstance(found, Suggestion)  # nothing was stopped
        trial = RecordedTrial(
            number=number,
            config=found.config,
            state="complete",
            log_skills=(float(number),) * num_objectives,
            system_attrs=found.system_attrs,
        )
        suggester.put(trial)
