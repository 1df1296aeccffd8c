"""The samplers by name or class: their options, which spaces each fits, what each needs."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import Any

from search.errors import InputError
from search.space.parameters import to_plain
from search.space.space import SearchSpace
from trainables.spec.parameters import DEPTH
from trainables.spec.problems import Problems, check_mapping, shown, unknown_keys
from trainables.spec.rules import FLAG, TARGET, Rule, number, one_of, whole

SamplerSetting = str | Mapping[str, Any]
"""A sampler as a study has it: its name, or ``name`` and its options."""

MOST_OPTION = 1_000_000
MOST_STARTUP, MOST_POPULATION = 150, 100
"""Of 250 trials that a sampler is shown at most, 100 may run and have no point; a generation is
seen beside the one before it. More would be waited for without end."""
_MOST = {"n_startup_trials": MOST_STARTUP, "population_size": MOST_POPULATION}
_EXAMPLE = "{name: tpe, n_startup_trials: 20}"
_STUDYS = ("seed", "context")
"""What a study itself tells its sampler."""
_SHARE = number("a number from 0 to 1", lambda value: 0 <= value <= 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedSampler:
    """What must be known of a way to choose the next config, before it is used."""

    target: str
    """The class, as ``package.module:Class``."""

    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Of options; of those that are not here the class's own hold."""

    options: Mapping[str, Rule] = field(default_factory=dict)
    """What may be said of it."""

    misfit: Callable[[SearchSpace], str | None] = lambda space: None
    """Why it cannot draw from a space, or None; goes on after ``sampler``."""

    extra: tuple[str, str] | None = None
    """A module that it needs and that not every installation has, and the extra that brings it."""


def _infinite(space: SearchSpace) -> str | None:
    for name, kind in space.searched:
        if kind.size is None:
            what = f"needs finitely many configs for 'grid', but {name} is {to_plain(kind)}"
            return f"{what}: give it a step or a choice, or use 'qmc'"
    return None


def _conditional(space: SearchSpace) -> str | None:
    if not space.gates:
        return None
    what = "needs a space in which every config has the same parameters for 'gp'"
    varying = f"but {next(iter(space.gates))} depends on {DEPTH}"
    return f"{what}, {varying}: make {DEPTH} a constant, or use 'tpe'"


SAMPLERS: Mapping[str, NamedSampler] = {
    "ehvi": NamedSampler(
        target="search.sampling.ehvi:EHVISampler",
        options={"n_startup_trials": whole(1, 100), "explore": _SHARE},
    ),
    "tpe": NamedSampler(
        target="search.sampling.optuna:UntriedTPESampler",
        # Trials with a point before anything is modelled; drawn at random until then.
        defaults={"n_startup_trials": 10},
        options={
            "n_startup_trials": whole(0, MOST_STARTUP),
            "n_ei_candidates": whole(1, MOST_OPTION),
            "multivariate": FLAG,
            "constant_liar": FLAG,
        },
    ),
    "random": NamedSampler(target="optuna.samplers:RandomSampler"),
    "nsga2": NamedSampler(
        target="optuna.samplers:NSGAIISampler",
        # Trials of a generation: Optuna's own 50 exceed many a whole study.
        defaults={"population_size": 8},
        options={
            "population_size": whole(2, MOST_POPULATION),
            "mutation_prob": _SHARE,
            "crossover_prob": _SHARE,
            "swapping_prob": _SHARE,
        },
    ),
    "qmc": NamedSampler(target="search.sampling.exhaustive:SobolSampler"),
    "grid": NamedSampler(
        target="search.sampling.exhaustive:ShuffledGridSampler", misfit=_infinite
    ),
    "gp": NamedSampler(
        target="optuna.samplers:GPSampler",
        defaults={"n_startup_trials": 10},
        options={"n_startup_trials": whole(0, 60), "deterministic_objective": FLAG},
        misfit=_conditional,
        extra=("torch", "gp"),
    ),
}

_FUNCTIONS = {
    *(f"optuna.samplers:{name}Sampler" for name in ("TPE", "Random", "NSGAII", "NSGAIII", "GP")),
    *(named.target for named in SAMPLERS.values()),
}
"""Classes that know nothing but their options, their seed and the trials that they are shown."""


_NAME = replace(
    one_of(tuple(SAMPLERS)),
    test=lambda value: isinstance(value, str) and (value in SAMPLERS or TARGET.test(value)),
)


def read_sampler(value: Any) -> SamplerSetting:
    """Return a study's sampler, checked without Optuna; the name alone without options."""
    if not isinstance(value, Mapping):
        return str(_NAME(value))
    check_mapping(value, ("sampler",), _EXAMPLE)
    if "name" not in value:
        raise InputError(f"needs a name, such as {_EXAMPLE}, got {shown(dict(value))}")
    problems, options = Problems(), {}
    with problems.at("sampler", "name"):
        _NAME(value["name"])
    problems.refuse_any()
    name = str(value["name"])
    given = {str(key): one for key, one in value.items() if key != "name"}
    if name in SAMPLERS:
        allowed = SAMPLERS[name].options
        problems.extend(unknown_keys(given, ["name", *allowed], at=("sampler",)))
        given = {key: one for key, one in given.items() if key in allowed}
    for key, one in given.items():
        with problems.at("sampler", key):
            options[key] = SAMPLERS[name].options[key](one) if name in SAMPLERS else _any(key, one)
    problems.refuse_any()
    return {"name": name, **options} if options else name


def _any(key: str, value: Any) -> Any:
    """Return an option of a class, of which only the class knows more."""
    if key in _STUDYS:
        raise InputError("needs to be left out: the study says it")
    if not key.isidentifier():
        raise InputError(f"needs the name of an option, got {shown(key)}")
    if (most := _MOST.get(key)) and isinstance(value, int) and value > most:
        raise InputError(f"needs at most {most}: it is shown so few trials, got {value}")
    try:
        return json.loads(json.dumps(value, allow_nan=False))  # as the record will hold it
    except (TypeError, ValueError):
        rule = "needs text, a finite number, true, false, null, or a list or mapping of these"
        raise InputError(f"{rule}, got {shown(value)}") from None


def name_of(sampler: SamplerSetting) -> str:
    """Return the name or class of a study's sampler."""
    return sampler if isinstance(sampler, str) else str(sampler["name"])


def class_of(sampler: SamplerSetting) -> tuple[str, dict[str, Any]]:
    """Return a sampler's class, as ``package.module:Class``, and its options with defaults."""
    name = name_of(sampler)
    given = {} if isinstance(sampler, str) else {k: v for k, v in sampler.items() if k != "name"}
    named = SAMPLERS.get(name)
    return (name, given) if named is None else (named.target, {**named.defaults, **given})


def words_of(sampler: SamplerSetting) -> str:
    """Return a study's sampler in words: ``tpe (n_startup_trials 20)``."""
    if isinstance(sampler, str):
        return sampler
    options = (f"{name} {value}" for name, value in sampler.items() if name != "name")
    return f"{sampler['name']} ({', '.join(options)})"


def keeps_state(sampler: SamplerSetting) -> bool:
    """Tell whether a sampler may know more than its options, its seed and what it is shown.

    Then it is one object for a whole run, and a run that is resumed begins with another one.
    """
    return class_of(sampler)[0] not in _FUNCTIONS


def state_note(sampler: SamplerSetting) -> str:
    """Return what a user must know of a sampler that keeps a state; empty for others."""
    if not keeps_state(sampler):
        return ""
    what = f"sampler {name_of(sampler)} keeps a state of its own"
    return f"{what}: a resumed run may draw other configs than one that was never interrupted"


def _named(sampler: SamplerSetting) -> NamedSampler | None:
    """Return what is known of a sampler, whether by its name or by its class."""
    target, _ = class_of(sampler)
    return next((named for named in SAMPLERS.values() if named.target == target), None)


def misfit(sampler: SamplerSetting, space: SearchSpace) -> str | None:
    """Return why a sampler does not fit a space, or None; goes on after ``sampler``."""
    named = _named(sampler)
    return None if named is None else named.misfit(space)


def check_installed(sampler: SamplerSetting) -> None:
    """Raise an `InputError`, with the cure, if a sampler needs a module that is not installed."""
    named = _named(sampler)
    module, extra = (named and named.extra) or ("", "")
    if module and find_spec(module) is None:
        raise InputError(
            f"sampler {name_of(sampler)!r} needs the module {module!r}, which is not installed: "
            f"pip install 'twohead-search[{extra}]'"
        )
