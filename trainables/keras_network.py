"""A Keras model with Keras' optimizer, called as it is: users' own, or with batch norm."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from numpy.typing import NDArray

from trainables.backend import Tensor
from trainables.forward import Plain
from trainables.initial import InitialState
from trainables.isolation import GlobalGenerator, isolated
from trainables.model import PRECISIONS, build_model
from trainables.optimizers import make_optimizer
from trainables.spec import TrialSpec
from trainables.state import State, read_state, write_state


class KerasNetwork:
    """Implements `trainables.network.Network` for one architecture, optimizer and seed."""

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
        """What variables, and copies of their first values, take."""
        return sum(array.nbytes for array in self.state().values()) + self._initial.num_bytes

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
        self._initial = InitialState(
            self.state(), self._spec, seed=self._seed, precision=self._precision
        )

    def start(self, spec: TrialSpec, seed: int) -> None:
        """Set all variables to what they were when it was built."""
        if not self._is_fresh:
            self.write(spec, self._initial.read())
        self._is_fresh = False

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
