"""Asks a sampler of Optuna's for a study of ours: of an Optuna study that is filled each time."""

import importlib
import inspect
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from math import inf
from typing import Any, final

import numpy as np
import optuna
from optuna.samplers import BaseSampler
from optuna.samplers._ga import BaseGASampler
from optuna.storages import InMemoryStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from search.errors import InputError
from search.sampling.distributions import distributions_of
from search.sampling.space_sampler import SpaceSampler
from search.sampling.trials import (
    CURVE,
    MAY_CONTINUE,
    MOST_SHOWN,
    NUM_BEST,
    NUMBER,
    Continue,
    DrawContext,
    RecordedTrial,
    Seen,
    best_first,
    rng_of,
    shown,
    stacked,
    sub_seed,
)
from search.space.encoding import Key, clamp, fill, nth_number
from search.space.parameters import Parameter
from search.study.samplers import SamplerSetting, class_of, keeps_state, name_of

REDRAWS = 20
"""How often a config that has been tried is drawn again."""
FEW_REDRAWS = 3
"""The same where a draw is dear, as TPE's, which each time has the choice of 24."""
FINEST = 32
"""Most values of a number for which TPE weighs each by itself. Finer ones it takes for real
numbers: at 250 trials with two ranges of units a draw costs 10 ms instead of 33."""
GP_SHOWN = 100
"""Trials that Optuna's Gaussian processes are shown; their cost grows with the cube."""
IDLE = 22
"""The draw of what lies idle in a trial; those before it are taken."""
RACE_ATTRIBUTES = ("tpe:relative_params", "gp:relative_params")
"""Prefixes of a copy of a running trial's params, for processes that share a database."""
STUDY = "twohead:study"

logging.getLogger("optuna.storages._in_memory").addFilter(
    # A line for each study that is made, at each ask. The level would be somebody else's, and
    # to set it takes longer than to draw a config at random.
    lambda line: not line.getMessage().endswith(STUDY)
)

Select = Callable[[Sequence[Seen]], Sequence[Seen]]
_NEVER = datetime(1970, 1, 1)
"""Optuna asks for times and looks at none."""


class _ToldTrial(FrozenTrial):  # type: ignore[misc] # Optuna's types are not followed
    """A recorded trial as Optuna has it; it is in one study at a time, and none changes it.

    Optuna copies each trial that is added to a study in depth, 75 microseconds a trial.
    """

    def __deepcopy__(self, memo: dict[int, Any]) -> "_ToldTrial":
        return self


class UntriedTPESampler(optuna.samplers.TPESampler):  # type: ignore[misc] # as above
    """Multivariate MO-TPE that takes the best of its candidates that has not been tried.

    Optuna's own (Ozaki et al. 2022, doi:10.1613/jair.1.13188) takes the best one, which in a
    small space is the same again and again. Running trials count among the bad ones, so that the
    next is not drawn beside them.
    """

    def __init__(
        self, *, seed: int, context: DrawContext, multivariate: bool = True, **options: Any
    ) -> None:
        # Optuna 5 takes the parameters one by one where there are several objectives, unless told;
        # and models only the parameters that every trial has, unless told of groups.
        group = multivariate and bool(context.gates)
        super().__init__(seed=seed, multivariate=multivariate, group=group, **options)
        self._context = context

    def _compute_acquisition_func(self, samples: Any, below: Any, above: Any) -> Any:
        values = super()._compute_acquisition_func(samples, below, above)
        kinds, tried = self._context.kinds, self._context.tried
        if samples.keys() == kinds.keys():
            columns = [
                [clamp(kind, number) for number in samples[name].tolist()]
                for name, kind in kinds.items()
            ]
            values = np.where([key in tried for key in zip(*columns, strict=True)], -inf, values)
        return values


@dataclass(frozen=True, slots=True, kw_only=True)
class _Manner:
    """How samplers of a class are asked."""

    select: Select
    """Which trials they are shown of those that have a point or run."""

    redraws: int
    """How often they are asked again for a config that is new."""

    finest: int | None = None
    """See `distributions_of`."""

    generation: str | None = None
    """The attribute by which trials belong to generations, whose parents have all parameters."""


def _manner_of(cls: type[BaseSampler]) -> _Manner:
    if issubclass(cls, SpaceSampler):
        return _Manner(select=cls.shown, redraws=0)
    if issubclass(cls, optuna.samplers.RandomSampler):
        return _Manner(select=lambda trials: (), redraws=REDRAWS)
    if issubclass(cls, BaseGASampler):
        return _Manner(select=_choice, redraws=REDRAWS, generation=cls._get_generation_key())
    if issubclass(cls, optuna.samplers.GPSampler):
        return _Manner(select=partial(_choice, most=GP_SHOWN), redraws=0)
    finest = FINEST if issubclass(cls, UntriedTPESampler) else None
    return _Manner(select=_choice, redraws=FEW_REDRAWS, finest=finest)


def _choice(trials: Sequence[Seen], *, most: int = MOST_SHOWN) -> list[Seen]:
    points = [trial.point for trial, _ in trials]
    places = shown(points, [trial.is_pending for trial, _ in trials], most=most)
    return [trials[place] for place in places]


def _newest(trials: Sequence[Seen]) -> list[Seen]:
    told = [(trial, key) for trial, key in trials if trial.is_pending or trial.point is not None]
    return told[-MOST_SHOWN:]


def _generations(trials: Sequence[Seen], attribute: str) -> tuple[list[Seen], int]:
    """Return what a sampler by generations is shown, and how many generations it does not know.

    Of a long study the newest two, and the best before as the one that those come from.
    """
    bred = [pair for pair in trials if pair[0].point is not None]
    if len(bred) <= MOST_SHOWN:
        return bred, 0
    generations = [int(trial.system_attrs.get(attribute, 0)) for trial, _ in bred]
    first = max(max(generations) - 1, 1)
    new = [p for p, one in enumerate(generations) if one >= first][-(MOST_SHOWN - NUM_BEST) :]
    old = [p for p, one in enumerate(generations) if one < first]
    points = stacked([bred[place][0].point or () for place in old])
    best = [old[row] for row in best_first(points, NUM_BEST)]
    return [bred[place] for place in sorted([*best, *new])], max(max(generations) - 2, 0)


@final
class _KeptState:
    """What a sampler with a state of its own has, from one question to the next."""

    def __init__(self) -> None:
        self.sampler: BaseSampler | None = None
        self.of_study: dict[str, Any] = {}
        self.of_trials: dict[int, dict[str, Any]] = {}
        self.untold: set[int] = set()

    def is_due(self, trial: RecordedTrial) -> bool:
        """Tell whether the sampler asked for a trial and has not been told how it ended."""
        return trial.number in self.untold and trial.point is not None

    def restore(self, study: Study, chosen: Sequence[Seen]) -> None:
        """Bring a new Optuna study to where the last one was, and tell what has ended since."""
        for name, value in self.of_study.items():
            study._storage.set_study_system_attr(study._study_id, name, value)
        for place, (trial, _) in enumerate(chosen):
            if self.is_due(trial):
                study.tell(place, trial.point)
                self.untold.remove(trial.number)

    def keep(self, study: Study, number: int) -> None:
        """Take note of what the sampler has written by when it has answered for a trial."""
        self.untold.add(number)
        self.of_study = study._storage.get_study_system_attrs(study._study_id)
        for trial in study.get_trials(deepcopy=False):
            self.of_trials[trial.user_attrs.get(NUMBER, number)] = trial.system_attrs


@final
class AskedSampler:
    """Any sampler of Optuna's interface, asked for the trials of one study of ours.

    Each time it is a fresh one, seeded by our seed and number, of an Optuna study in memory that
    shows a bounded selection of the trials: what is asked for is a function of these. Only a
    sampler that keeps a state of its own is kept from one question to the next.
    """

    def __init__(
        self, sampler: SamplerSetting, kinds: Mapping[str, Parameter], num_objectives: int
    ) -> None:
        self._name = name_of(sampler)
        target, self._options = class_of(sampler)
        self._class = _import(self._name, target)
        self._takes = _check_options(self._name, self._class, self._options)
        self._manner = _manner_of(self._class)
        # What takes a context is told all of it each time.
        keeps = keeps_state(sampler) and "context" not in self._takes
        self._kept = _KeptState() if keeps else None
        if self._kept is not None:
            self._manner = replace(self._manner, select=_newest, generation=None)
        self._distributions = distributions_of(kinds, finest=self._manner.finest)
        self._directions = ["minimize"] * num_objectives
        self._told: dict[int, tuple[RecordedTrial, _ToldTrial]] = {}
        self.takes_up = hasattr(self._class, "take_up")
        """Whether it may ask for a stopped trial instead of a new config."""

    def ask(
        self, trials: Sequence[Seen], context: DrawContext
    ) -> tuple[Key, dict[str, Any]] | Continue:
        """Return a config's key and what is to be recorded with it, or a trial to take up.

        A sampler with a method ``take_up(study)`` is asked first for the ``twohead:number`` of a
        trial with the user attribute ``twohead:may_continue``; by None it wants a new config.
        """
        with _failing_as(self._name), warnings.catch_warnings():
            # What conditional parameters take is experimental: bounded by version, and tested.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            if self._class is optuna.samplers.RandomSampler:
                return self._at_random(context), {}
            chosen, past = self._manner.select(trials), 0
            if self._manner.generation is not None:
                chosen, past = _generations(trials, self._manner.generation)
            study = self._study(chosen, past, context)
            for redraw in range(1 + self._manner.redraws):
                if redraw:  # the repeated one stays in the study as a running trial
                    study.sampler = self._sampler(context, redraw)
                take_up = getattr(study.sampler, "take_up", None)
                if take_up is not None and (number := take_up(study)) is not None:
                    return _taken_up(number, trials)
                place = study.ask(self._distributions).number
                drawn = study.get_trials(deepcopy=False)[place]
                numbers = (clamp(kind, drawn.params[name]) for name, kind in context.kinds.items())
                key = context.prune(tuple(numbers))
                if key not in context.tried:
                    break
            if self._kept is not None:
                self._kept.keep(study, context.number)
                return key, {}
            return key, self._to_record(drawn, past)

    def _at_random(self, context: DrawContext) -> Key:
        """Return what Optuna draws at random, in half the time: no study has a say in it."""
        for redraw in range(1 + REDRAWS):
            sampler, numbers = self._sampler(context, redraw), []
            for name, kind in context.kinds.items():
                one = self._distributions[name]
                # Of a single value Optuna asks no sampler.
                value = nth_number(kind, 0)
                if not one.single():
                    value = sampler.sample_independent(None, None, name, one)
                numbers.append(clamp(kind, value))
            key = context.prune(tuple(numbers))
            if key not in context.tried:
                break
        return key

    def _sampler(self, context: DrawContext, redraw: int) -> BaseSampler:
        if self._kept is not None and self._kept.sampler is not None:
            return self._kept.sampler
        seed = sub_seed(context.seed, context.number, redraw)
        given = {"seed": seed, "context": context}
        sampler = self._class(**{name: given[name] for name in self._takes}, **self._options)
        if self._kept is not None:
            self._kept.sampler = sampler
        return sampler

    def _study(self, chosen: Sequence[Seen], past: int, context: DrawContext) -> Study:
        """Return an Optuna study that has the chosen trials."""
        study = optuna.create_study(
            storage=InMemoryStorage(),
            study_name=STUDY,
            directions=self._directions,
            sampler=self._sampler(context, 0),
        )
        study.stop = lambda: None  # some samplers end a study; when ours ends, its budget says
        before, self._told = self._told, {}
        for trial, key in chosen:
            known, told = before.get(trial.number, (None, None))
            if told is None or known is not trial or self._kept is not None:
                told = self._as_told(trial, key, context)
            if self._manner.generation is not None:
                generation = int(trial.system_attrs.get(self._manner.generation, 0))
                told.system_attrs = {self._manner.generation: max(generation - past, 0)}
            self._told[trial.number] = trial, told
            study._storage.create_new_trial(study._study_id, told)
        if self._kept is not None:
            self._kept.restore(study, chosen)
        return study

    def _as_told(self, trial: RecordedTrial, key: Key, context: DrawContext) -> _ToldTrial:
        """Return a trial as Optuna is to see it, without what does not count in it."""
        if self._manner.generation is not None and None in key:
            # To samplers by generations that is an idle gene, inherited as any other.
            key = fill(context.kinds, key, rng_of(context.seed, trial.number, IDLE))
        pairs = zip(context.kinds, key, strict=True)
        params = {name: number for name, number in pairs if number is not None}
        is_due = self._kept is not None and self._kept.is_due(trial)
        point = None if is_due else trial.point
        state = TrialState.RUNNING if is_due or trial.is_pending else TrialState.FAIL
        return _ToldTrial(
            number=-1,
            trial_id=-1,
            state=TrialState.COMPLETE if point is not None else state,
            value=None,
            values=point,
            datetime_start=_NEVER,
            datetime_complete=_NEVER,
            params=params,
            distributions={name: self._distributions[name] for name in params},
            user_attrs={
                NUMBER: trial.number,
                CURVE: trial.curve,
                MAY_CONTINUE: trial.may_continue,
            },
            system_attrs={} if self._kept is None else self._kept.of_trials.get(trial.number, {}),
            intermediate_values={},
        )

    def _to_record(self, drawn: FrozenTrial, past: int) -> dict[str, Any]:
        """Return what a sampler has written of a trial, for it to see again."""
        written = drawn.system_attrs.items()
        attributes = {k: v for k, v in written if not k.startswith(RACE_ATTRIBUTES)}
        if self._manner.generation in attributes:  # not where every parameter has one value
            attributes[self._manner.generation] += past
        return attributes


def _taken_up(number: Any, trials: Sequence[Seen]) -> Continue:
    stopped = [trial.number for trial, _ in trials if trial.may_continue]
    if number not in stopped:
        raise InputError(f"take_up needs the number of a stopped trial, got {number!r}")
    return Continue(number=int(number))


def _import(name: str, target: str) -> type[BaseSampler]:
    module, _, attribute = target.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # the module may do anything
        what = f"{type(error).__name__}: {error}"
        raise InputError(f"sampler {name!r} cannot be imported: {what}") from error
    if not inspect.isclass(found) or not issubclass(found, BaseSampler):
        raise InputError(f"sampler {name!r} needs a class of Optuna samplers, got {found!r}")
    return found


def _check_options(name: str, cls: type[BaseSampler], options: Mapping[str, Any]) -> list[str]:
    """Return which of ``seed`` and ``context`` a class takes; refuse options that it has not."""
    known = inspect.signature(cls).parameters
    takes_any = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in known.values())
    unknown = [] if takes_any else sorted(options.keys() - known.keys())
    if unknown:
        raise InputError(f"sampler {name!r} has no options {unknown}; it has {sorted(known)}")
    return [name for name in ("seed", "context") if name in known]


@contextmanager
def _failing_as(name: str) -> Iterator[None]:
    """Turn what somebody else's class raises into an error of ours."""
    try:
        yield
    except Exception as error:
        if ":" not in name:
            raise
        what = f"{type(error).__name__}: {error}"
        raise InputError(f"sampler {name!r} cannot suggest a config: {what}") from error
