"""What a program trains: variables, what follows from them, and a step; one of two kinds."""

from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.model.backend import Tensor
from trainables.model.build import PRECISIONS, build_model
from trainables.model.isolation import GlobalGenerator, isolated
from trainables.model.state import State, read_state, write_state
from trainables.model.user_model import load_function
from trainables.spec.trial import TrialSpec, UserModelSpec
from trainables.training.elastic import ElasticNetwork, elastic_key
from trainables.training.forward import Plain
from trainables.training.optimizers import make_optimizer


def network_key(spec: TrialSpec, *, seed: int, precision: str) -> Hashable:
    """Return what shapes the graph of a spec: equal keys can share one.

    A user's function is another once its module has been imported anew.
    """
    if _is_elastic(spec):
        return elastic_key(spec, precision)
    function: Callable[..., Any] | None = None
    if isinstance(spec.model, UserModelSpec):
        with isolated(seed=seed, dtype_policy=PRECISIONS.get(precision, "float32")):
            function = load_function(spec.model.target)
    return spec.architecture_key(), function, seed, precision


def _is_elastic(spec: TrialSpec) -> bool:
    """Tell whether a model is the built-in one, without what turns the order of values around."""
    return not isinstance(spec.model, UserModelSpec) and not spec.model.batch_norm


class _KerasNetwork:
    """The same as `ElasticNetwork` of one architecture, optimizer and seed."""

    def __init__(self, spec: TrialSpec, *, seed: int, precision: str) -> None:
        self._spec = spec
        self._seed = seed
        self._precision = precision
        self._model = build_model(spec.model, seed=seed, precision=precision)
        self._variables = self._model.trainable_variables
        self._optimizer = make_optimizer(
            spec.optimizer, learning_rate=spec.learning_rate, variables=self._variables
        )
        self._random: list[Any] = []
        self._is_fresh = True
        self.forward = Plain(self._model)

    @property
    def num_bytes(self) -> int:
        """What variables, and copies of their first values, take; a view of one zero nothing."""
        copies = (array for array in self._initial.values() if 0 not in array.strides)
        return sum(array.nbytes for array in (*self.state().values(), *copies))

    @property
    def resting_bytes(self) -> int:
        """The same: a Keras variable has one shape."""
        return self.num_bytes

    def rest(self) -> None:
        """Give back nothing."""

    def apply(self, gradients: list[Tensor | None]) -> None:
        """Take one step of the optimizer."""
        self._optimizer.apply(gradients, self._variables)

    @contextmanager
    def tracing(self) -> Iterator[None]:
        """Trace under the model's own seed and dtype policy; only then all variables are known."""
        with isolated(seed=self._seed, dtype_policy=PRECISIONS[self._precision]):
            generator = GlobalGenerator()
            yield
        if generator.is_used:
            self._random = [generator.state]
        self._initial = _worth_keeping(self.state(), self._spec)

    def start(self, spec: TrialSpec, seed: int) -> None:
        """Set all variables to what they were when it was built."""
        if not self._is_fresh:
            self.write(spec, self._first_state())
        self._is_fresh = False

    def _first_state(self) -> State:
        if len(self._initial) == len(self.state()):
            return self._initial
        model = build_model(self._spec.model, seed=self._seed, precision=self._precision)
        return {**read_state(model), **self._initial}

    def state(self) -> State:
        """Return all variables of model, optimizer and random generators."""
        return read_state(self._model, self._optimizer, self._random)

    def write(self, spec: TrialSpec, state: Mapping[str, NDArray[Any]]) -> None:
        """Set all variables; raises InputError, and changes nothing, if they do not fit."""
        write_state(self._model, self._optimizer, state, self._random)
        self._is_fresh = False

    def set_training(self, spec: TrialSpec) -> None:
        """Set the learning rate."""
        self._optimizer.learning_rate.assign(spec.learning_rate)


KEPT_BYTES = 32 * 2**20
"""Weights up to this size are kept: that is faster than to build the model again."""


def _worth_keeping(state: State, spec: TrialSpec) -> State:
    """Return what is kept of the state of a model and its optimizer before the first step.

    Large weights of a built-in model are not: a layer's draw depends on the seed and its name
    only, so another build has the same. A user's function may not build the same twice.
    """
    weights = {name for name in state if name.startswith("model/")}
    is_large = sum(state[name].nbytes for name in weights) > KEPT_BYTES
    left_out = weights if is_large and not isinstance(spec.model, UserModelSpec) else set()
    return {
        name: array if array.any() else np.broadcast_to(np.zeros((), array.dtype), array.shape)
        for name, array in state.items()
        if name not in left_out
    }


Network = ElasticNetwork | _KerasNetwork


def make_network(spec: TrialSpec, *, seed: int, precision: str) -> Network:
    """Return what trains a spec, and every other one of an equal `network_key`."""
    if _is_elastic(spec):
        return ElasticNetwork(spec, precision)
    return _KerasNetwork(spec, seed=seed, precision=precision)
