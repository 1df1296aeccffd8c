"""The configs that a study fixes itself: first, at the corners of its space, and how many."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from search.errors import InputError
from search.record.decisions import Origin
from search.space.completion import complete
from search.space.encoding import most_trials
from search.space.parameters import ends
from search.space.space import SearchSpace, depths_of
from search.study.prepared import Prepared
from search.study.study import Study
from trainables.data.request import RULES, DataInfo, DataRequest
from trainables.spec.parameters import (
    DEPTH,
    REFERENCE_TRIAL,
    config_depth,
    reference_config,
    reference_training,
)
from trainables.spec.trial import TrialSpec

SHAPING = ("pool_size", "kernel_size")
"""Parameters that decide, besides the depth, whether an image is large enough."""


def data_request(study: Study, rules: int = RULES) -> DataRequest:
    """Return how the study's data set is to be read, by the rules that the study began with."""
    return DataRequest(
        uri=study.data,
        heads=study.heads,
        image_size=study.image_size,
        validation_share=study.validation.share,
        validation_seed=study.validation.seed,
        channels=study.channels,
        is_strict=study.strict,
        skips_bad_rows=study.on_bad_rows == "skip",
        rules=rules,
    )


def whole_space(study: Study, model_parameters: Mapping[str, Any] | None) -> SearchSpace:
    """Return the study's space with what it does not name, also of a user's own function."""
    if study.model is None:
        return study.whole_space
    return complete(study.whole_space, study.heads, model_parameters=model_parameters)


def check_space(study: Study, prepared: Prepared) -> None:
    """Refuse what the data has no room for: batches, and blocks of the built-in model.

    That ``start_with`` lies in the space the study has checked itself.
    """
    problems = list(_batch_problems(study, prepared.data))
    if study.model is None:
        for name, config in trial_configs(study, prepared):
            try:
                parse(study, config, prepared.data)
            except InputError as error:
                problems.append(f"{name}: {error}")
    if problems:
        raise InputError.of(list(dict.fromkeys(problems)))


def parse(study: Study, config: Mapping[str, Any], data: DataInfo) -> TrialSpec:
    """Parse a config as a trial of this study will."""
    return TrialSpec.from_config(
        config, image_shape=data.image_shape, heads=data.heads, model=study.model
    )


def first_configs(study: Study, prepared: Prepared) -> tuple[tuple[dict[str, Any], Origin], ...]:
    """Return the configs to try before any suggestion, each with where it comes from.

    A config that is there already is not tried again: all trials of a study share its seed.
    """
    first: list[tuple[dict[str, Any], Origin]] = []
    if study.reference:
        first.append((dict(prepared.reference or reference_config(study.heads)), "reference"))
    is_foreign = study.model is not None and prepared.reference is None
    tried = [] if is_foreign else [config for config, _ in first]
    for config in study.start_with:
        whole = _whole_config(study, prepared, config)
        if whole not in tried:
            tried.append(whole)
            first.append((whole, "start_with"))
    return tuple(first)


def num_trials(study: Study, prepared: Prepared) -> int:
    """Return how many trials a study makes: its budget, or as many as there are configs to try.

    All trials share the study's seed: a config tried twice would only be the same again.
    """
    first = first_configs(study, prepared)
    most = most_trials(prepared.space, [config for config, _ in first])
    return study.budget.trials if most is None else min(study.budget.trials, most)


def _whole_config(study: Study, prepared: Prepared, config: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in what a config leaves out: as in the space where constant, else the reference's.

    Of a searched depth the reference's two blocks, or as many as it names, if the space has them.
    A user's own function beside the built-in reference has its own defaults for what is searched.
    """
    parameters, constants = dict(prepared.space.parameters), dict(prepared.space.constants)
    depths = depths_of(parameters.get(DEPTH))
    if depths and study.model is None:
        wanted = config_depth(list(config), None)
        nearest = min((depth for depth in depths if depth >= wanted), default=depths[-1])
        config = {DEPTH: nearest, **config}
    if study.model is None:
        told: Any = {**constants, **config}.get(DEPTH)
        known = reference_config(study.heads, config_depth([*parameters, *config], told))
    else:
        known = dict(prepared.reference or reference_training(study.heads))
    whole = prepared.space.counting({**known, **constants, **config})
    return {name: whole[name] for name in dict.fromkeys([*parameters, *whole]) if name in whole}


def trial_configs(study: Study, prepared: Prepared) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the configs that decide whether all others can be built, each with its name.

    The reference of a user's own function is not among them: it is always built.
    """
    if study.reference and study.model is None:
        yield REFERENCE_TRIAL, reference_config(study.heads)
    for index, config in enumerate(study.start_with):
        yield f"start_with[{index}]", _whole_config(study, prepared, config)
    space, known = prepared.space, dict(prepared.space.parameters)
    shaping: dict[str, Sequence[Any]] = {n: ends(known[n]) for n in SHAPING if n in known}
    if space.gates:
        # The built-in model of fewer blocks is the beginning of the deepest.
        depths = depths_of(known[DEPTH])
        shaping[DEPTH] = depths[-1:] if study.model is None else (depths[0], depths[-1])
    lowest = {name: ends(parameter)[0] for name, parameter in space.parameters}
    for config in space.crossed(lowest, shaping):
        yield "space", config
    yield "space", space.corners[-1]


def _batch_problems(study: Study, data: DataInfo) -> Iterator[str]:
    rows = data.rows["train"]
    named: dict[str, Any] = {}
    if study.space is not None and "batch_size" in dict(study.space.parameters):
        named["space.batch_size"] = ends(dict(study.space.parameters)["batch_size"])[1]
    for index, config in enumerate(study.start_with):
        if "batch_size" in config:
            named[f"start_with[{index}].batch_size"] = config["batch_size"]
    for name, size in named.items():
        if size > rows:
            yield f"{name} needs at most {rows}, the number of training rows, got {size}"
