"""The built-in model with variables whose shapes may change: one graph for all its widths.

Tracing and optimising the graphs of an architecture takes half a second of a processor, and no
two of 48 random configs of the default space have an architecture in common. Filters and units
only shape the variables, though, and TensorFlow needs no shape before it runs: so the graph is
traced for shapes that are not known, and a trial sets the variables to its own first values.
Dropout and L2 penalty are variables, too. On 64x64 images a step takes the same time (0.97 to
1.00 of that with fixed shapes, tensorflow 2.21).
"""

from collections.abc import Hashable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from trainables.model.backend import Tensor, keras, tf
from trainables.model.build import layer_seed
from trainables.model.state import State, check_state, state_name
from trainables.spec.trial import ModelSpec, TrialSpec
from trainables.training.forward import Reordered, topology_of
from trainables.training.optimizers import RULES


def elastic_key(spec: TrialSpec, precision: str) -> Hashable:
    """Return what shapes the graph of the built-in model: not the widths, nor the seed."""
    return topology_of(_model_of(spec), precision), spec.optimizer


Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One variable of the model that `build_model` makes of the same spec."""

    layer: str
    """``conv1``, ..., ``<head>_dense``, ``<head>_dropout`` or, of an output, ``<head>``."""

    role: Literal["kernel", "bias", "seed_generator_state"]
    """As Keras names it."""

    shape: Shape

    kind: Literal["conv", "dense", "dropout", "output"]

    @property
    def name(self) -> str:
        """Of all entries of a model another one, even if a head is called ``conv1``."""
        return f"{self.kind}/{self.layer}/{self.role}"

    @property
    def dtype(self) -> str:
        """Of the variable."""
        return "int64" if self.kind == "dropout" else "float32"

    @property
    def is_trainable(self) -> bool:
        """Whether it has a gradient."""
        return self.kind != "dropout"

    @property
    def is_penalised(self) -> bool:
        """Whether the L2 penalty counts it."""
        return self.role == "kernel" and self.kind != "output"

    @property
    def is_large(self) -> bool:
        """Whether it may take much: one row for each pixel that the convolutions leave."""
        return self.kind == "dense" and self.role == "kernel"

    @property
    def num_bytes(self) -> int:
        """What its values take."""
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize

    @property
    def loose_shape(self) -> tuple[int | None, ...]:
        """The shape without what a config may change: with widths, and what they multiply."""
        if self.kind == "conv":
            return (*self.shape[:2], None, None) if self.role == "kernel" else (None,)
        if self.kind == "dense":
            return (None,) * len(self.shape)
        return (None, self.shape[1]) if self.role == "kernel" else self.shape

    def initial(self, seed: int) -> Tensor:
        """Return the first value, bit for bit that of `build_model` with this seed."""
        if self.kind == "dropout":
            return tf.constant([layer_seed(seed, self.layer), 0], self.dtype)
        if self.role == "bias":
            return tf.zeros(self.shape)
        draw = keras.initializers.GlorotUniform(seed=layer_seed(seed, self.layer))
        return draw(self.shape, dtype="float32")


class ElasticNetwork:
    """Variables, forward pass and optimizer of all specs of an equal `elastic_key`."""

    def __init__(self, spec: TrialSpec, precision: str) -> None:
        entries = _layout(spec)
        self._rule = RULES[spec.optimizer]
        self._variables = {entry.name: _loose(entry) for entry in entries}
        self._trainable = [entry.name for entry in entries if entry.is_trainable]
        self._slots = {
            entry.name: tuple(_loose(entry) for _ in range(self._num_slots(entry)))
            for entry in entries
        }
        self._iterations = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._learning_rate = tf.Variable(0.0, trainable=False)
        self._dropout = tf.Variable(0.0, trainable=False)
        self._l2 = tf.Variable(0.0, trainable=False)
        self._large = [entry.name for entry in entries if entry.is_large]
        self.num_bytes = 0
        """What the variables take now."""
        self.resting_bytes = 0
        """What they take while they rest."""
        self.forward = Reordered(
            topology=topology_of(_model_of(spec), precision),
            variables=self._variables,
            trainable=self._trainable,
            penalised=[self._variables[entry.name] for entry in entries if entry.is_penalised],
            dropout=self._dropout,
            l2=self._l2,
        )

    def rest(self) -> None:
        """Empty the variables that are large; to empty all would take as long as to fill them."""
        for name in self._large:
            for variable in (self._variables[name], *self._slots[name]):
                variable.assign(_nothing(variable.shape, variable.dtype.as_numpy_dtype))
        self.num_bytes = self.resting_bytes

    def apply(self, gradients: list[Tensor | None]) -> None:
        """Take one step of the optimizer, in a graph."""
        rate, iterations = self._learning_rate.read_value(), self._iterations.read_value()
        for name, gradient in zip(self._trainable, gradients, strict=True):
            self._rule.step(self._variables[name], self._slots[name], gradient, rate, iterations)
        self._iterations.assign_add(1)

    def tracing(self) -> AbstractContextManager[None]:
        """Return what graphs are traced in: nothing here draws from what others share."""
        return nullcontext()

    def start(self, spec: TrialSpec, seed: int) -> None:
        """Set all variables to what `build_model` and a new optimizer have."""
        entries = _layout(spec)
        self._hold(entries)
        for entry in entries:
            self._variables[entry.name].assign(entry.initial(seed))
            for slot in self._slots[entry.name]:
                slot.assign(tf.zeros(entry.shape))
        self._iterations.assign(0)

    def state(self) -> State:
        """Return all variables, named and ordered as those of a Keras model and optimizer."""
        return {name: np.asarray(variable.read_value()) for name, variable in self._named()}

    def write(self, spec: TrialSpec, state: Mapping[str, NDArray[Any]]) -> None:
        """Set all variables; raises InputError, and changes nothing, if they do not fit."""
        entries = _layout(spec)
        check_state(state, self._wanted(entries))
        self._hold(entries)
        for name, variable in self._named():
            variable.assign(state[name])

    def set_training(self, spec: TrialSpec) -> None:
        """Set learning rate, dropout and L2 penalty."""
        model = _model_of(spec)
        self._learning_rate.assign(spec.learning_rate)
        self._dropout.assign(model.dropout)
        self._l2.assign(model.l2)

    def _hold(self, entries: list[Entry]) -> None:
        taken = {entry: entry.num_bytes * (1 + self._num_slots(entry)) for entry in entries}
        self.num_bytes = sum(taken.values())
        self.resting_bytes = sum(taken[entry] for entry in entries if not entry.is_large)

    def _num_slots(self, entry: Entry) -> int:
        return self._rule.num_slots if entry.is_trainable else 0

    def _named(self) -> list[tuple[str, Any]]:
        roles = [(name.rpartition("/")[2], one) for name, one in self._variables.items()]
        slots = [slot for name in self._trainable for slot in self._slots[name]]
        optimizer = [self._iterations, self._learning_rate, *slots]
        return [
            *((state_name("model", i, role), one) for i, (role, one) in enumerate(roles)),
            *((state_name("optimizer", i, "variable"), one) for i, one in enumerate(optimizer)),
        ]

    def _wanted(self, entries: list[Entry]) -> dict[str, tuple[str, tuple[int, ...]]]:
        slots = [entry for entry in entries for _ in range(self._num_slots(entry))]
        shapes: list[tuple[str, tuple[int, ...]]] = [
            *((entry.dtype, entry.shape) for entry in entries),
            ("int64", ()),
            ("float32", ()),
            *((entry.dtype, entry.shape) for entry in slots),
        ]
        return {name: one for (name, _), one in zip(self._named(), shapes, strict=True)}


def _loose(entry: Entry) -> Any:
    """Return a variable for values of the entry's kind and of any width; at first of none."""
    return tf.Variable(
        _nothing(entry.loose_shape, entry.dtype),
        shape=tf.TensorShape(entry.loose_shape),
        trainable=False,
    )


def _nothing(loose_shape: Iterable[int | None], dtype: Any) -> NDArray[Any]:
    return np.zeros([side or 0 for side in loose_shape], dtype)


def _model_of(spec: TrialSpec) -> ModelSpec:
    assert isinstance(spec.model, ModelSpec)
    return spec.model


def _layout(spec: TrialSpec) -> list[Entry]:
    """Return the variables of a model without batch normalisation, in Keras' order."""
    model = _model_of(spec)
    entries: list[Entry] = []
    size, channels = model.kernel_size, model.image_shape[2]
    for number, block in enumerate(model.blocks, 1):
        entries += _pair(f"conv{number}", "conv", (size, size, channels, block.filters))
        channels = block.filters
    flat = model.blocks[-1].height * model.blocks[-1].width * channels
    widths = zip(model.heads, model.head_units, strict=True)
    heads = sorted(widths, key=lambda one: one[0].name)  # as Keras walks a dict of outputs
    for head, units in heads:
        entries += _pair(f"{head.name}_dense", "dense", (flat, units))
    for head, _ in heads if model.dropout else ():
        name = f"{head.name}_dropout"
        entries.append(Entry(layer=name, role="seed_generator_state", shape=(2,), kind="dropout"))
    for head, units in heads:
        entries += _pair(head.name, "output", (units, head.units))
    return entries


def _pair(layer: str, kind: Literal["conv", "dense", "output"], shape: Shape) -> list[Entry]:
    kernel = Entry(layer=layer, role="kernel", shape=shape, kind=kind)
    return [kernel, replace(kernel, role="bias", shape=shape[-1:])]
