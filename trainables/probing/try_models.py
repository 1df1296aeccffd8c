"""Whether the models of configs can be built, and how large they are; asked before a study."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

from trainables.errors import InputError
from trainables.model.user_modules import add_import_folder
from trainables.spec.footprint import FLOAT_BYTES, Saved, saved_beside
from trainables.spec.parameters import REFERENCE_TRIAL
from trainables.spec.settings import StudySettings
from trainables.spec.trial import UserModelSpec


class TriedModels(NamedTuple):
    """What building some models has shown."""

    reasons: tuple[str, ...]
    """Why some cannot be built, each reason once; trials with such a config will fail."""
    unused: tuple[str, ...]
    """What of the others says how they are trained, such as ``compile``, and is not used."""
    largest: Saved
    """The bytes of the largest checkpoint of the others."""


def try_models(
    configs: Sequence[Mapping[str, Any]],
    settings: StudySettings,
    reference: Mapping[str, Any] | None = None,
) -> TriedModels:
    """Build the model of each config once, and that of the reference trial, if it has one.

    Raises:
        InputError: If none can be built, or the reference cannot; the message says what the
            function was given.
    """
    add_import_folder(settings.module_folder)
    errors: list[InputError] = []
    built: list[tuple[tuple[str, ...], Saved]] = []
    for config in configs:
        try:
            built.append(_build(config, settings))
        except InputError as error:
            errors.append(error)
    if errors and not built:
        raise errors[0]
    if reference is not None:
        try:
            built.append(_build(reference, settings))
        except InputError as error:
            raise InputError(f"{REFERENCE_TRIAL}: {error}") from error
    return TriedModels(
        reasons=tuple(dict.fromkeys(str(error) for error in errors)),
        unused=tuple(dict.fromkeys(name for names, _ in built for name in names)),
        largest=max((saved for _, saved in built), key=lambda one: one.total, default=Saved()),
    )


def _build(config: Mapping[str, Any], settings: StudySettings) -> tuple[tuple[str, ...], Saved]:
    """Build the model of a user's function; return what of it is not used, and its bytes."""
    from trainables.model.build import build_user_model

    spec = settings.trial_spec(config, is_reference=False)
    assert isinstance(spec.model, UserModelSpec), "only a function of a user's may not fit"
    model, unused = build_user_model(spec.model, seed=0, precision=settings.precision)
    weights = FLOAT_BYTES * sum(prod(variable.shape) for variable in model.variables)
    return unused, saved_beside(weights, spec.optimizer)
