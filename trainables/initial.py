"""What a fresh build's variables hold: kept, or made again where that would take much memory."""

import numpy as np

from trainables.model import build_model
from trainables.spec import TrialSpec, UserModelSpec
from trainables.state import State, read_state

KEPT_BYTES = 32 * 2**20
"""Weights up to this size are kept: that is faster than to build the model again."""


class InitialState:
    """The state of a model and its optimizer before the first step.

    Large weights of a built-in model are not kept: a layer's draw depends on the seed and its
    name only, so another build has the same. A user's function may not build the same twice.

    Args:
        state: Of a fresh build; arrays of zeros (optimizer slots) are kept without memory.
        spec: What was built.
        seed: Of the build.
        precision: Of the build.
    """

    def __init__(self, state: State, spec: TrialSpec, *, seed: int, precision: str) -> None:
        self._spec = spec
        self._seed = seed
        self._precision = precision
        self._names = list(state)
        self._kept = {
            name: array if array.any() else np.broadcast_to(np.zeros((), array.dtype), array.shape)
            for name, array in state.items()
        }
        weights = [name for name in state if name.startswith("model/")]
        is_large = sum(state[name].nbytes for name in weights) > KEPT_BYTES
        if is_large and not isinstance(spec.model, UserModelSpec):
            for name in weights:
                del self._kept[name]

    @property
    def num_bytes(self) -> int:
        """What the kept arrays take; a view of one zero takes nothing."""
        return sum(array.nbytes for array in self._kept.values() if 0 not in array.strides)

    def read(self) -> State:
        """Return all of it; what it takes to make it again is given back with it."""
        if len(self._kept) == len(self._names):
            return self._kept
        model = build_model(self._spec.model, seed=self._seed, precision=self._precision)
        whole = {**read_state(model), **self._kept}
        return {name: whole[name] for name in self._names}
