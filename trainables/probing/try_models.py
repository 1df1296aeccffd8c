"""Whether the models of configs can be built, and how large they are; asked before a study."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

from trainables.errors import InputError
from trainables.model.user_modules import add_import_folder
from trainables.spec.footprint import FLOAT_BYTES, Saved, saved_beside
from trainables.spec.parameters import REFERENCE_TRIAL
from trainables.spec.settings import StudySettings


class Tried(NamedTuple):
    """What building some models has shown."""

    reasons: list[str]
    """Why some cannot be built, each reason once; trials with such a config will fail."""
    largest: Saved
    """The bytes of the largest checkpoint of the others."""


def try_models(
    configs: Sequence[Mapping[str, Any]],
    settings: StudySettings,
    reference: Mapping[str, Any] | None = None,
) -> Tried:
    """Build the model of each config once, and that of the reference trial, if it has one.

    Raises:
        InputError: If none can be built, or the reference cannot; the message says what the
            function was given.
    """
    add_import_folder(settings.module_folder)
    errors: list[InputError] = []
    sizes: list[Saved] = []
    for config in configs:
        try:
            sizes.append(_build(config, settings))
        except InputError as error:
            errors.append(error)
    if errors and not sizes:
        raise errors[0]
    if reference is not None:
        try:
            sizes.append(_build(reference, settings))
        except InputError as error:
            raise InputError(f"{REFERENCE_TRIAL}: {error}") from error
    reasons = list(dict.fromkeys(str(error) for error in errors))
    return Tried(reasons, max(sizes, key=lambda saved: saved.total, default=Saved()))


def _build(config: Mapping[str, Any], settings: StudySettings) -> Saved:
    """Build a model, and return the bytes of its checkpoint."""
    from trainables.model.build import build_model

    spec = settings.trial_spec(config, is_reference=False)
    model = build_model(spec.model, seed=0, precision=settings.precision)
    weights = FLOAT_BYTES * sum(prod(variable.shape) for variable in model.variables)
    return saved_beside(weights, spec.optimizer)
