"""Optuna's samplers as pure functions: a study in memory is filled for each question."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState

from search.asking import RecordedTrial, Request
from search.coding import Key, clamp, grid_value, is_ordered, num_steps
from search.space import Choice, Int, Parameter

STARTUP_TRIALS = 10
"""Trials with a point before TPE models anything; drawn at random until then."""
POPULATION = 8
"""Trials of a generation of NSGA-II; Optuna's own 50 exceed many a whole study."""
REDRAWS = 20
"""How often a config that has been tried is drawn again."""
GENERATION = "NSGAIISampler:generation"
"""Where Optuna 5 notes a trial's generation; trials of other origin are of generation 0."""
RACE_ATTRIBUTE = "tpe:relative_params"
"""Prefix of TPE's copy of a running trial's params, for processes that share a database."""

Answer = tuple[Key, dict[str, Any]]
Seeded = Callable[[int], optuna.samplers.BaseSampler]
"""From a seed to a fresh sampler."""


def random(request: Request) -> Answer:
    """Draw each parameter by itself; looks at no other trial."""
    return _draw(request, _study(request), lambda seed: optuna.samplers.RandomSampler(seed=seed))


def tpe(request: Request) -> Answer:
    """Draw by multivariate multi-objective TPE (Ozaki et al. 2022, doi:10.1613/jair.1.13188).

    Running trials count among the bad ones, so that the next is not drawn beside them.
    """

    # Optuna 5 takes the parameters one by one where there are several objectives, unless told.
    def sampler(seed: int) -> optuna.samplers.BaseSampler:
        return optuna.samplers.TPESampler(
            n_startup_trials=STARTUP_TRIALS, multivariate=True, constant_liar=True, seed=seed
        )

    study = _study(request)
    with _quiet():
        study.add_trials([_shown(request, trial, key, {}) for trial, key in request.known])
    return _draw(request, study, sampler)


def nsga2(request: Request) -> Answer:
    """Breed by NSGA-II (Deb et al. 2002, doi:10.1109/4235.996017).

    Running trials it does not look at.
    """

    def sampler(seed: int) -> optuna.samplers.BaseSampler:
        return optuna.samplers.NSGAIISampler(population_size=POPULATION, seed=seed)

    study = _study(request)
    origin = {GENERATION: 0}
    study.add_trials([_shown(request, trial, key, origin) for trial, key in request.known])
    return _draw(request, study, sampler)


def _study(request: Request) -> optuna.Study:
    with _quiet():
        return optuna.create_study(directions=["minimize"] * request.num_heads)


def _draw(request: Request, study: optuna.Study, sampler: Seeded) -> Answer:
    """Draw until a config is new; a repeated one stays in the study as a running trial."""
    distributions = _distributions(request.kinds)
    with _quiet():
        for redraw in range(1 + REDRAWS):
            study.sampler = sampler(request.sub_seed(redraw))
            asked = study.ask(distributions)
            drawn = study.get_trials(deepcopy=False)[asked.number]
            key = tuple(clamp(kind, drawn.params[name]) for name, kind in request.kinds.items())
            if key not in request.tried:
                break
    attributes = drawn.system_attrs.items()
    return key, {k: value for k, value in attributes if not k.startswith(RACE_ATTRIBUTE)}


def _shown(
    request: Request, trial: RecordedTrial, key: Key, origin: Mapping[str, Any]
) -> FrozenTrial:
    """Return a recorded trial as Optuna is to see it."""
    point = trial.point
    state = TrialState.FAIL if point is None else TrialState.COMPLETE
    return optuna.trial.create_trial(
        state=TrialState.RUNNING if trial.is_pending else state,
        values=point,
        params=dict(zip(request.kinds, key, strict=True)),
        distributions=_distributions(request.kinds),
        system_attrs={**origin, **trial.system_attrs},
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Optuna from logging each study that is made, and only here."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(verbosity)


def _distributions(kinds: Mapping[str, Parameter]) -> dict[str, BaseDistribution]:
    return {name: _distribution(kind) for name, kind in kinds.items()}


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
