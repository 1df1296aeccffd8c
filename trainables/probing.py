"""What a task finds out before the first trial where it takes TensorFlow or a user's module."""

from collections.abc import Mapping, Sequence
from typing import Any

from trainables.errors import InputError
from trainables.imports import add_import_folder
from trainables.user_model import user_parameters


def user_parameters_of(model: str, folder: str | None) -> dict[str, Any]:
    """Return the parameters of a user's model function; see `user_parameters`."""
    add_import_folder(folder)
    return user_parameters(model)


def try_models(configs: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> list[str]:
    """Build the model of each config once.

    Returns:
        Why some cannot be built, each reason once; trials with such a config will fail.

    Raises:
        InputError: If none can be built; the message says what the function was given.
    """
    from trainables.keras_factory import trial_spec
    from trainables.model import build_model

    add_import_folder(settings["module_folder"])
    errors: list[InputError] = []
    for config in configs:
        try:
            spec = trial_spec(config, settings, is_reference=False)
            build_model(spec.model, seed=0, precision=settings["precision"])
        except InputError as error:
            errors.append(error)
    if errors and len(errors) == len(configs):
        raise errors[0]
    return list(dict.fromkeys(str(error) for error in errors))
