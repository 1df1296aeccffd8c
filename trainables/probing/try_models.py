"""Whether the models of configs can be built; asked before the first trial."""

from collections.abc import Mapping, Sequence
from typing import Any

from trainables.errors import InputError
from trainables.model.user_modules import add_import_folder
from trainables.spec.parameters import REFERENCE_TRIAL
from trainables.spec.settings import StudySettings


def try_models(
    configs: Sequence[Mapping[str, Any]],
    settings: StudySettings,
    reference: Mapping[str, Any] | None = None,
) -> list[str]:
    """Build the model of each config once, and that of the reference trial, if it has one.

    Returns:
        Why some cannot be built, each reason once; trials with such a config will fail.

    Raises:
        InputError: If none can be built, or the reference cannot; the message says what the
            function was given.
    """
    add_import_folder(settings.module_folder)
    errors: list[InputError] = []
    for config in configs:
        try:
            _build(config, settings)
        except InputError as error:
            errors.append(error)
    if reference is not None and len(errors) < len(configs):
        try:
            _build(reference, settings)
        except InputError as error:
            raise InputError(f"{REFERENCE_TRIAL}: {error}") from error
    if errors and len(errors) == len(configs):
        raise errors[0]
    return list(dict.fromkeys(str(error) for error in errors))


def _build(config: Mapping[str, Any], settings: StudySettings) -> None:
    from trainables.model.build import build_model

    spec = settings.trial_spec(config, is_reference=False)
    build_model(spec.model, seed=0, precision=settings.precision)
