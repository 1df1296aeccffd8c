"""A user's own model function: found, read and called; imports no TensorFlow of its own."""

import inspect
import os
import traceback
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, Final

from trainables.errors import InputError
from trainables.model.user_modules import add_import_folder, import_user_module, note_user_modules

GIVEN: Final = ("image_shape", "heads")
"""The keyword arguments that every model function is given besides its own parameters."""


REQUIRED: Final = inspect.Parameter.empty
"""Stands where a parameter has no default."""

NOT_CALLED: Final = (
    *("train_step", "test_step", "compute_loss", "compute_metrics", "train_on_batch"),
    *("test_on_batch", "make_train_function", "make_test_function", "fit", "evaluate"),
)
"""Methods of a Keras model by which Keras trains and measures it, and nothing here."""


class UserModelError(InputError):
    """A user's own code raised; the message ends with its file and line."""


def load_function(target: str) -> Callable[..., Any]:
    """Import the function that ``package.module:function`` names, as its file is now.

    See `import_user_module`; while nothing has changed, it is the same function object. Raises
    InputError if there is no such module or function in it, UserModelError if the module raises.
    """
    module_name, _, name = target.partition(":")
    if module_name == "__main__":
        raise InputError(
            f"model {target!r} needs a module that other processes can import, got the script "
            "that is running: put the function into a file of its own"
        )
    module = _import(target, module_name)
    function = getattr(module, name, None)
    if not inspect.isfunction(function):
        known = [key for key, value in vars(module).items() if inspect.isfunction(value)]
        raise InputError(
            f"model {target!r} needs a function {name!r} in {module.__file__}, "
            f"got {'nothing' if function is None else type(function).__name__} of that name; "
            f"its functions are {sorted(known)}"
        )
    return function


def user_parameters(target: str, folder: str | None = None) -> dict[str, Any]:
    """Return the parameters of a user's function, maybe in a ``folder``, with their defaults.

    A parameter without a default has the value ``REQUIRED``. ``image_shape`` and ``heads``,
    which every function is given, are left out.

    Raises:
        InputError: If the function cannot be found, does not take ``image_shape`` and
            ``heads``, or has a parameter that cannot be passed by name.
    """
    add_import_folder(folder)
    return _parameters_of(target, load_function(target))


def _parameters_of(target: str, function: Callable[..., Any]) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters
    kinds = inspect.Parameter
    unnamed = [
        str(p)
        for p in parameters.values()
        if p.kind in (kinds.POSITIONAL_ONLY, kinds.VAR_POSITIONAL)
    ]
    takes_any = any(p.kind is kinds.VAR_KEYWORD for p in parameters.values())
    absent = [] if takes_any else [name for name in GIVEN if name not in parameters]
    if unnamed or absent:
        raise InputError(
            f"model {target!r} needs the form 'def {target.partition(':')[2]}(*, image_shape, "
            f"heads, ...)', got parameters {[str(p) for p in parameters.values()]}"
        )
    return {
        name: p.default
        for name, p in parameters.items()
        if name not in GIVEN and p.kind is not kinds.VAR_KEYWORD
    }


def call_function(target: str, given: Mapping[str, Any], arguments: Mapping[str, Any]) -> Any:
    """Call a user's function with what all are given and its own arguments."""
    function = load_function(target)
    parameters = _parameters_of(target, function)
    unknown = sorted(set(arguments) - set(parameters))
    required = {name for name, default in parameters.items() if default is REQUIRED}
    missing = sorted(required - set(arguments))
    if unknown or missing:
        raise InputError(
            f"model {target!r} needs arguments among {sorted(parameters)}, of which "
            f"{sorted(required)} have no default, got {sorted(arguments)}"
        )
    try:
        return function(**given, **arguments)
    except (Exception, SystemExit) as error:
        raise _user_error(target, error, inspect.getfile(function)) from error
    finally:
        note_user_modules(target.partition(":")[0])


def unused_training(model: Any) -> tuple[str, ...]:
    """Return what of a user's Keras model says how it is trained or measured: it is not used."""
    compiled = ("compile",) if getattr(model, "compiled", False) else ()
    return (*compiled, *(name for name in NOT_CALLED if _is_users(model, name)))


def _is_users(model: Any, method: str) -> bool:
    """Tell whether a method is not the one of Keras."""
    owners = (kind for kind in type(model).__mro__ if method in vars(kind))
    owner = next(owners, None)
    is_kerass = owner is None or owner.__module__.partition(".")[0] == "keras"
    return method in vars(model) or not is_kerass


def _import(target: str, module_name: str) -> ModuleType:
    try:
        return import_user_module(module_name)
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        absent = error.name if isinstance(error, ModuleNotFoundError) else None
        if absent is not None and f"{module_name}.".startswith(f"{absent}."):
            raise InputError(
                f"model {target!r} needs an importable module, got no module named {absent!r}"
            ) from error
        raise _user_error(target, error, module_name.rpartition(".")[2] + ".py") from error


def _user_error(target: str, error: BaseException, file: str) -> UserModelError:
    what = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return UserModelError(f"model {target!r} failed with {what} ({_place(error, file)})")


def _place(error: BaseException, file: str) -> str:
    """Return ``file:line`` of the deepest frame in the user's own file, else in any."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if os.path.basename(frame.filename) == os.path.basename(file)]
    frame = (own or frames)[-1]
    return f"{frame.filename}:{frame.lineno}"
