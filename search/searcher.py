"""Which config to try next: Optuna's samplers as a pure function of what is recorded."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState

from search.coding import (
    Key,
    clamp,
    decode,
    grid_value,
    is_ordered,
    key_of,
    num_steps,
    untried_neighbour,
)
from search.space import Choice, Int, Parameter, SearchSpace
from trainables.errors import InputError

State = Literal["running", "complete", "stopped", "failed", "interrupted"]

SAMPLERS = ("tpe", "random", "nsga2")
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


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedTrial:
    """What the study knows of a trial, as far as it matters for the next suggestion."""

    number: int
    """Place in the order of asking, from 0."""

    config: Mapping[str, Any]
    """Value of every parameter; it may name more than the space does."""

    state: State
    """What became of it."""

    log_skills: tuple[float, ...] | None = None
    """``log(loss / baseline)`` of each head at the trial's point, or None without a point."""

    epoch: int = 0
    """Finished epochs at that point."""

    system_attrs: Mapping[str, Any] = field(default_factory=dict)
    """What the suggestion of this trial carried in ``Suggestion.system_attrs``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """A config to try, and what the sampler wants to be told again about it."""

    config: dict[str, Any]
    """Parameter -> plain Python value; constants included."""

    system_attrs: dict[str, Any]
    """To be recorded with the trial; JSON values."""


def suggest(
    *,
    name: str,
    space: SearchSpace,
    seed: int,
    number: int,
    recorded: Sequence[RecordedTrial],
    num_heads: int,
) -> Suggestion:
    """Suggest the config of one trial, on all heads at once.

    The answer depends on nothing but the arguments, and not on the order of ``recorded``: a
    fresh study in memory is filled for each call. The sampler sees complete trials, stopped
    ones and interrupted ones at the point they reached; trials without a finite point as
    failed; running ones (and interrupted ones without a point) as running. Trials that do not
    lie in the space, as the reference trial often does not, it does not see.

    A config that another trial has is drawn again, up to ``REDRAWS`` times, and then moved to
    an untried one in as few parameters as possible. So configs repeat only when every config
    of a finite space has been tried. Configs of interrupted trials may be suggested again.

    Args:
        name: One of ``SAMPLERS``. ``tpe``: multivariate multi-objective TPE (Ozaki et al.
            2022, doi:10.1613/jair.1.13188). ``nsga2``: Deb et al. 2002, doi:10.1109/4235.996017.
        space: What is searched and what is constant.
        seed: Seed of the study, at least 0.
        number: Number of the trial to suggest for; what is recorded of it is not looked at.
        recorded: The other trials so far.
        num_heads: Length of each ``log_skills``.

    Raises:
        InputError: If the sampler is unknown.
        ValueError: If a point has another length than ``num_heads``.
    """
    if name not in SAMPLERS:
        raise InputError(f"sampler needs one of {list(SAMPLERS)}, got {name!r}")
    # In order of the names, so that their order in a file is no matter.
    kinds = dict(sorted(space.searched))
    if not kinds:
        return Suggestion(config=_config(space, {}), system_attrs={})
    known = _known(space, kinds, [trial for trial in recorded if trial.number != number])
    tried = {key for trial, key in known if trial.state != "interrupted"}
    with _quiet():
        study = optuna.create_study(directions=["minimize"] * num_heads)
        if name != "random":  # which would look at none of them
            study.add_trials(_shown(name, kinds, known, num_heads))
        key, attributes = _draw(study, name, kinds, tried, seed=seed, number=number)
    values = {
        parameter: decode(kind, coded)
        for (parameter, kind), coded in zip(kinds.items(), key, strict=True)
    }
    return Suggestion(config=_config(space, values), system_attrs=attributes)


def _known(
    space: SearchSpace, kinds: Mapping[str, Parameter], recorded: Sequence[RecordedTrial]
) -> list[tuple[RecordedTrial, Key]]:
    """Return the trials that lie in the space, in the order of their numbers."""
    constants = dict(space.constants)
    keyed = [(trial, key_of(kinds, constants, trial.config)) for trial in recorded]
    inside = [(trial, key) for trial, key in keyed if key is not None]
    return sorted(inside, key=lambda pair: pair[0].number)


def _config(space: SearchSpace, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a whole config in the order of the space."""
    constants = dict(space.constants)
    return {
        name: values[name] if name in values else constants[name] for name, _ in space.parameters
    }


def _draw(
    study: optuna.Study,
    name: str,
    kinds: Mapping[str, Parameter],
    tried: set[Key],
    *,
    seed: int,
    number: int,
) -> tuple[Key, dict[str, Any]]:
    """Draw until a config is new; a repeated one stays in the study as a running trial."""
    distributions = {parameter: _distribution(kind) for parameter, kind in kinds.items()}
    for redraw in range(1 + REDRAWS):
        study.sampler = _sampler(name, _sub_seed(seed, number, redraw))
        asked = study.ask(distributions)
        drawn = study.get_trials(deepcopy=False)[asked.number]
        key = tuple(clamp(kind, drawn.params[name]) for name, kind in kinds.items())
        if key not in tried:
            break
    else:
        rng = np.random.default_rng(_sub_seed(seed, number, 1 + REDRAWS))
        key = untried_neighbour(key, list(kinds.values()), tried, rng)
    attributes = drawn.system_attrs.items()
    return key, {k: value for k, value in attributes if not k.startswith(RACE_ATTRIBUTE)}


def _sub_seed(seed: int, number: int, redraw: int) -> int:
    """Return the seed of one draw, 32 bits, unrelated to that of any other draw."""
    return int(np.random.SeedSequence(seed, spawn_key=(number, redraw)).generate_state(1)[0])


def _sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    if name == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    if name == "nsga2":
        return optuna.samplers.NSGAIISampler(population_size=POPULATION, seed=seed)
    # Optuna 5 takes the parameters one by one where there are several objectives, unless told.
    return optuna.samplers.TPESampler(
        n_startup_trials=STARTUP_TRIALS, multivariate=True, constant_liar=True, seed=seed
    )


def _shown(
    name: str,
    kinds: Mapping[str, Parameter],
    known: Sequence[tuple[RecordedTrial, Key]],
    num_heads: int,
) -> list[FrozenTrial]:
    """Return the recorded trials as Optuna is to see them."""
    distributions = {parameter: _distribution(kind) for parameter, kind in kinds.items()}
    origin = {GENERATION: 0} if name == "nsga2" else {}
    shown = []
    for trial, key in known:
        state = _state(trial, num_heads)
        shown.append(
            optuna.trial.create_trial(
                state=state,
                values=trial.log_skills if state == TrialState.COMPLETE else None,
                params=dict(zip(kinds, key, strict=True)),
                distributions=distributions,
                system_attrs={**origin, **trial.system_attrs},
            )
        )
    return shown


def _state(trial: RecordedTrial, num_heads: int) -> TrialState:
    point = trial.log_skills
    if point is not None and len(point) != num_heads:
        raise ValueError(f"trial {trial.number} needs {num_heads} log skills, got {len(point)}")
    if trial.state == "running" or (trial.state == "interrupted" and point is None):
        return TrialState.RUNNING
    if trial.state == "failed" or point is None or not all(map(math.isfinite, point)):
        return TrialState.FAIL
    return TrialState.COMPLETE


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Optuna from logging each study that is made, and only here."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(verbosity)


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
