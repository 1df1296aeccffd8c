"""Optuna's samplers as pure functions: a study in memory is filled for each question."""

import copy
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from math import inf
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState

from search.sampling.trials import (
    MOST_SHOWN,
    NUM_BEST,
    Known,
    RecordedTrial,
    Request,
    best_first,
    rng_of,
    shown,
)
from search.space.encoding import Key, clamp, fill, grid_value, is_ordered, num_values
from search.space.parameters import Choice, Int, Parameter, num_steps

STARTUP_TRIALS = 10
"""Trials with a point before TPE models anything; drawn at random until then."""
POPULATION = 8
"""Trials of a generation of NSGA-II; Optuna's own 50 exceed many a whole study."""
REDRAWS = 20
"""How often a config that has been tried is drawn again."""
TPE_REDRAWS = 3
"""The same for TPE, which each time has the choice of 24."""
FINEST = 32
"""Most values of a number for which TPE weighs each by itself. Finer ones it takes for real
numbers: at 250 trials with two ranges of units a draw costs 10 ms instead of 33."""
GP_SHOWN = 100
"""Trials that Optuna's Gaussian processes are shown; their cost grows with the cube."""
IDLE = 22
"""The draw of what lies idle in a trial; those before it are taken."""
GENERATION = "NSGAIISampler:generation"
"""Where Optuna 5 notes a trial's generation; trials of other origin are of generation 0."""
RACE_ATTRIBUTES = ("tpe:relative_params", "gp:relative_params")
"""Prefixes of a copy of a running trial's params, for processes that share a database."""

Answer = tuple[Key, dict[str, Any]]
Seeded = Callable[[int], optuna.samplers.BaseSampler]
"""From a seed to a fresh sampler."""
_NEVER = datetime(1970, 1, 1)
"""Optuna asks for times and looks at none."""


class _Shown(FrozenTrial):  # type: ignore[misc] # Optuna's types are not followed
    """A recorded trial as a sampler sees it; no sampler changes it.

    Optuna copies each trial that is added to a study in depth, 75 microseconds a trial.
    """

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Shown":
        return copy.copy(self)


def random(request: Request) -> Answer:
    """Draw each parameter by itself; looks at no other trial.

    As a study of Optuna's does it, without the study, which takes twice the time of the draw.
    """
    distributions = _distributions(request.kinds)
    for redraw in range(1 + REDRAWS):
        sampler = optuna.samplers.RandomSampler(seed=request.sub_seed(redraw))
        drawn = {
            name: 0 if one.single() else sampler.sample_independent(None, None, name, one)
            for name, one in distributions.items()
        }
        key = request.prune(tuple(clamp(kind, drawn[n]) for n, kind in request.kinds.items()))
        if key not in request.tried:
            break
    return key, {}


class _Tpe(optuna.samplers.TPESampler):  # type: ignore[misc] # as above
    """TPE that takes the best of its candidates that has not been tried.

    Optuna's own takes the best one, which in a small space is the same again and again.
    """

    def __init__(self, request: Request, seed: int) -> None:
        # Optuna 5 takes the parameters one by one where there are several objectives, unless told.
        super().__init__(
            n_startup_trials=STARTUP_TRIALS,
            multivariate=True,
            # By itself it models only the parameters that every trial has.
            group=bool(request.gates),
            constant_liar=True,
            seed=seed,
        )
        self._request = request

    def _compute_acquisition_func(self, samples: Any, below: Any, above: Any) -> Any:
        values = super()._compute_acquisition_func(samples, below, above)
        kinds, tried = self._request.kinds, self._request.tried
        if samples.keys() == kinds.keys():
            columns = [
                [clamp(kind, number) for number in samples[name].tolist()]
                for name, kind in kinds.items()
            ]
            values = np.where([key in tried for key in zip(*columns, strict=True)], -inf, values)
        return values


def tpe(request: Request) -> Answer:
    """Draw by multivariate multi-objective TPE (Ozaki et al. 2022, doi:10.1613/jair.1.13188).

    Running trials count among the bad ones, so that the next is not drawn beside them. What
    counts only at some depths is modelled by itself, from the trials that have it.
    """
    distributions = _distributions(request.kinds, finest=FINEST)
    told = _told(shown(request.known), request.kinds, distributions)
    return _draw(request, distributions, told, partial(_Tpe, request), redraws=TPE_REDRAWS)


def gp(request: Request) -> Answer:
    """Draw by Optuna's Gaussian processes, one per head, and expected hypervolume improvement.

    Running trials are taken for points whose losses are not known yet: expected improvement is
    taken over what they may be. Needs torch, and 2 to 4 seconds for each suggestion (one core,
    eight parameters, two heads; twice as long with 16 running trials as without).
    """
    told = _told(shown(request.known, most=GP_SHOWN), request.kinds, _distributions(request.kinds))
    distributions = _distributions(request.kinds)

    def sampler(seed: int) -> optuna.samplers.BaseSampler:
        return optuna.samplers.GPSampler(n_startup_trials=STARTUP_TRIALS, seed=seed)

    return _draw(request, distributions, told, sampler, redraws=0)


def nsga2(request: Request) -> Answer:
    """Breed by NSGA-II (Deb et al. 2002, doi:10.1109/4235.996017).

    Running trials it does not look at. Of a long study it sees the newest two generations, and
    the best of all before as the one that those come from. A parameter that does not count in
    a config is a gene that lies idle: drawn once for its trial, and inherited as any other.
    """

    def sampler(seed: int) -> optuna.samplers.BaseSampler:
        return optuna.samplers.NSGAIISampler(population_size=POPULATION, seed=seed)

    bred = [(trial, key) for trial, key in request.known if trial.point is not None]
    newest = max((_generation(trial) for trial, _ in bred), default=0)
    past = 0
    if len(bred) > MOST_SHOWN:
        past = max(newest - 2, 0)
        bred = _latest(bred, max(newest - 1, 1))
    distributions = _distributions(request.kinds)
    whole = [(trial, _with_idle(request, trial, key)) for trial, key in bred]
    told = _told(whole, request.kinds, distributions)
    for (trial, _), told_trial in zip(bred, told, strict=True):
        told_trial.system_attrs = {GENERATION: max(_generation(trial) - past, 0)}
    key, attributes = _draw(request, distributions, told, sampler)
    if GENERATION in attributes:  # not where every parameter has one value
        attributes[GENERATION] += past
    return key, attributes


def _with_idle(request: Request, trial: RecordedTrial, key: Key) -> Key:
    return (
        fill(request.kinds, key, rng_of(request.seed, trial.number, IDLE)) if None in key else key
    )


def _generation(trial: RecordedTrial) -> int:
    return int(trial.system_attrs.get(GENERATION, 0))


def _latest(bred: Known, first: int) -> list[tuple[RecordedTrial, Key]]:
    """Return the trials from a generation on, and the best of those before it."""
    new = [pair for pair in bred if _generation(pair[0]) >= first][-(MOST_SHOWN - NUM_BEST) :]
    old = [pair for pair in bred if _generation(pair[0]) < first]
    points = np.array([trial.log_skills for trial, _ in old]).reshape(len(old), -1)
    best = [old[row] for row in best_first(points, NUM_BEST)]
    return sorted([*best, *new], key=lambda pair: pair[0].number)


def _draw(
    request: Request,
    distributions: dict[str, BaseDistribution],
    told: list[_Shown],
    sampler: Seeded,
    *,
    redraws: int = REDRAWS,
) -> Answer:
    """Draw until a config is new; a repeated one stays in the study as a running trial."""
    with _quiet():
        study = optuna.create_study(directions=["minimize"] * request.num_heads)
        study.add_trials(told)
        for redraw in range(1 + redraws):
            study.sampler = sampler(request.sub_seed(redraw))
            asked = study.ask(distributions)
            drawn = study.get_trials(deepcopy=False)[asked.number]
            numbers = (clamp(kind, drawn.params[name]) for name, kind in request.kinds.items())
            key = request.prune(tuple(numbers))
            if key not in request.tried:
                break
    attributes = drawn.system_attrs.items()
    return key, {k: value for k, value in attributes if not k.startswith(RACE_ATTRIBUTES)}


def _told(
    known: Known, kinds: Mapping[str, Parameter], distributions: dict[str, BaseDistribution]
) -> list[_Shown]:
    """Return recorded trials as Optuna is to see them, without what does not count in each."""
    told = []
    for trial, key in known:
        params = {n: number for n, number in zip(kinds, key, strict=True) if number is not None}
        is_whole = len(params) == len(distributions)
        told.append(
            _Shown(
                number=trial.number,
                trial_id=trial.number,
                state=TrialState.RUNNING if trial.point is None else TrialState.COMPLETE,
                value=None,
                values=trial.point,
                datetime_start=_NEVER,
                datetime_complete=None if trial.point is None else _NEVER,
                params=params,
                distributions=distributions if is_whole else {n: distributions[n] for n in params},
                user_attrs={},
                system_attrs={},
                intermediate_values={},
            )
        )
    return told


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Optuna from logging each study that is made, and only here.

    And from warning that what conditional parameters take is experimental: it is bounded by
    version, and tested.
    """
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)


def _distributions(
    kinds: Mapping[str, Parameter], *, finest: int | None = None
) -> dict[str, BaseDistribution]:
    """Return what Optuna draws from; numbers of more than ``finest`` values as real ones."""
    return {
        name: _smooth(kind)
        if finest is not None and _is_finer(kind, finest)
        else _distribution(kind)
        for name, kind in kinds.items()
    }


def _is_finer(kind: Parameter, finest: int) -> bool:
    """Tell whether there are many numbers in an order; real ones and words are not counted."""
    is_number = not isinstance(kind, Choice) or is_ordered(kind)
    return is_number and (num_values(kind) or 0) > finest


def _smooth(kind: Parameter) -> BaseDistribution:
    """Return the real numbers that `clamp` rounds to those of a kind, each as likely."""
    if isinstance(kind, Choice):
        return FloatDistribution(-0.5, len(kind.values) - 0.5)
    half = (kind.step or 1) / 2
    last = grid_value(kind, num_steps(kind))
    return FloatDistribution(kind.low - half, last + half, log=kind.log)


def _distribution(kind: Parameter) -> BaseDistribution:
    """Return what Optuna draws from; the range of a stepped one ends on the grid.

    Optuna's ints are inclusive. It warns of a range that is no multiple of the step. A choice
    between numbers is an int range of places: on a smooth two-head problem with four of them
    among eight parameters TPE had after 48 trials the hypervolume that it has after 100 where
    they are categories (medians of 16 seeds).
    """
    if isinstance(kind, Choice) and is_ordered(kind):
        return IntDistribution(0, len(kind.values) - 1)
    if isinstance(kind, Choice):
        return CategoricalDistribution(tuple(range(len(kind.values))))
    if isinstance(kind, Int):
        last = int(grid_value(kind, num_steps(kind)))
        return IntDistribution(kind.low, last, log=kind.log, step=kind.step or 1)
    if kind.step is None:
        return FloatDistribution(kind.low, kind.high, log=kind.log)
    return FloatDistribution(kind.low, grid_value(kind, num_steps(kind)), step=kind.step)
