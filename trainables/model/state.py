"""All variables of a model and its optimizer as arrays by name, and back, checked."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.errors import InputError
from trainables.model.backend import Model

State = dict[str, NDArray[Any]]
"""Arrays by name, such as ``model/0003/bias``: the number is the variable's place in
``model.variables`` (which has seed generators and BatchNorm's averages, too), because the
names of a user's unnamed layers depend on what was built before in the process."""


def read_state(model: Model, optimizer: Any | None = None, random: Sequence[Any] = ()) -> State:
    """Return all variables of the model, the optimizer and what else draws, as they are now.

    On a CPU the arrays are the variables' own memory, read-only: nothing is copied. A variable
    that changes moves away from an array that is still held (tensorflow 2.21). ``random`` are
    variables of random generators that the model uses but does not have.
    """
    return {name: _read(variable) for name, variable in _named(model, optimizer, random)}


def write_state(
    model: Model,
    optimizer: Any,
    state: Mapping[str, NDArray[Any]],
    random: Sequence[Any] = (),
) -> None:
    """Assign a whole state; raises InputError, and changes nothing, unless all of it fits."""
    _assign(_named(model, optimizer, random), state)


def load_weights(model: Model, state: Mapping[str, NDArray[Any]]) -> None:
    """Assign the model's part of a state; raises InputError unless all of it fits."""
    own = {name: array for name, array in state.items() if name.startswith("model/")}
    _assign(_named(model, None), own)


def _named(
    model: Model, optimizer: Any | None, random: Sequence[Any] = ()
) -> list[tuple[str, Any]]:
    groups = {
        "model": model.variables,
        "optimizer": optimizer.variables if optimizer else [],
        "random": random,
    }
    return [
        # An optimizer's slot is named after its variable's path, which is not stable.
        (state_name(group, i, "variable" if group == "optimizer" else str(one.name)), one)
        for group, variables in groups.items()
        for i, one in enumerate(variables)
    ]


def state_name(group: str, index: int, role: str) -> str:
    """Return the name of a variable in a state; its place counts within its group."""
    return f"{group}/{index:04d}/{role}"


def _read(variable: Any) -> NDArray[Any]:
    # A Keras variable's own numpy() makes two copies (keras 3.15).
    array = np.asarray(variable.value.read_value())
    return array if array.dtype.isbuiltin == 1 else array.astype(np.float32)


def _assign(variables: Sequence[tuple[str, Any]], state: Mapping[str, NDArray[Any]]) -> None:
    arrays = {name: _read(variable) for name, variable in variables}
    check_state(state, {name: (array.dtype, array.shape) for name, array in arrays.items()})
    for name, variable in variables:
        variable.assign(state[name])


def check_state(
    state: Mapping[str, NDArray[Any]], wanted: Mapping[str, tuple[Any, tuple[int, ...]]]
) -> None:
    """Raise InputError unless a state has just these names, each with its type and shape."""
    expected = {name: _description(*one) for name, one in wanted.items()}
    received = {name: _description(array.dtype, array.shape) for name, array in state.items()}
    if expected != received:
        names = sorted({*expected, *received})
        first = next(name for name in names if expected.get(name) != received.get(name))
        raise InputError(
            f"state needs {expected.get(first, 'nothing')} as {first!r}, "
            f"got {received.get(first, 'nothing')}"
        )


def _description(dtype: Any, shape: tuple[int, ...]) -> str:
    return f"{np.dtype(dtype)}{list(shape)}"
