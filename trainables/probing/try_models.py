"""Whether the models of configs can be built; asked before the first trial."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainables.errors import InputError
from trainables.model.user_modules import add_import_folder
from trainables.spec.parameters import REFERENCE_TRIAL
from trainables.spec.settings import StudySettings
from trainables.spec.trial import UserModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class TriedModels:
    """What became of the models of some configs."""

    reasons: tuple[str, ...]
    """Why some cannot be built, each reason once; trials with such a config will fail."""
    unused: tuple[str, ...]
    """What of the others says how they are trained, such as ``compile``, and is not used."""


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
    unused: dict[str, None] = {}
    for config in configs:
        try:
            unused |= dict.fromkeys(_build(config, settings))
        except InputError as error:
            errors.append(error)
    if reference is not None and len(errors) < len(configs):
        try:
            unused |= dict.fromkeys(_build(reference, settings))
        except InputError as error:
            raise InputError(f"{REFERENCE_TRIAL}: {error}") from error
    if errors and len(errors) == len(configs):
        raise errors[0]
    reasons = dict.fromkeys(str(error) for error in errors)
    return TriedModels(reasons=tuple(reasons), unused=tuple(unused))


def _build(config: Mapping[str, Any], settings: StudySettings) -> tuple[str, ...]:
    """Build the model of a user's function; return what of it is not used."""
    from trainables.model.build import build_user_model

    model = settings.trial_spec(config, is_reference=False).model
    assert isinstance(model, UserModelSpec), "only a function of a user's may not fit"
    return build_user_model(model, seed=0, precision=settings.precision)[1]
