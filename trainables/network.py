"""What a program trains: variables, what follows from them, and a step; one of two kinds."""

from collections.abc import Callable, Hashable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

from numpy.typing import NDArray

from trainables.backend import Tensor
from trainables.elastic import ElasticNetwork, elastic_key
from trainables.forward import Forward
from trainables.isolation import isolated
from trainables.keras_network import KerasNetwork
from trainables.model import PRECISIONS
from trainables.spec import TrialSpec, UserModelSpec
from trainables.state import State
from trainables.user_model import load_function


class Network(Protocol):
    """Variables of one or of many architectures, with outputs and gradients to compile."""

    @property
    def forward(self) -> Forward:
        """Outputs and gradients; its graph follows the variables as they change."""
        ...

    @property
    def num_bytes(self) -> int:
        """What variables, and copies of their first values, take now."""
        ...

    @property
    def resting_bytes(self) -> int:
        """What it takes while it rests."""
        ...

    def rest(self) -> None:
        """Give back what the variables take, where `start` and `write` can bring it again."""
        ...

    def apply(self, gradients: list[Tensor | None]) -> None:
        """Take one step of the optimizer, in a graph."""
        ...

    def tracing(self) -> AbstractContextManager[None]:
        """Return what graphs are traced in."""
        ...

    def start(self, spec: TrialSpec, seed: int) -> None:
        """Set all variables to what a fresh build of an architecture has."""
        ...

    def state(self) -> State:
        """Return all variables; see `trainables.state`."""
        ...

    def write(self, spec: TrialSpec, state: Mapping[str, NDArray[Any]]) -> None:
        """Set all variables to a state of an architecture; raises InputError if it is none."""
        ...

    def set_training(self, spec: TrialSpec) -> None:
        """Set what varies without other variables, such as the learning rate."""
        ...


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


def make_network(spec: TrialSpec, *, seed: int, precision: str) -> Network:
    """Return what trains a spec, and every other one of an equal `network_key`.

    Raises:
        InputError: If the precision is unknown or a user's model does not fit.
    """
    if _is_elastic(spec):
        return ElasticNetwork(spec, precision)
    return KerasNetwork(spec, seed=seed, precision=precision)


def _is_elastic(spec: TrialSpec) -> bool:
    """Tell whether a model is the built-in one, without what turns the order of values around."""
    return not isinstance(spec.model, UserModelSpec) and not spec.model.batch_norm
