"""From a spec to an uncompiled functional Keras model with one named output per head."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from trainables.errors import InputError
from trainables.model.backend import Model, keras, tf
from trainables.model.isolation import isolated, our_keras
from trainables.model.user_model import UserModelError, call_function, unused_training
from trainables.spec.heads import HeadSpec
from trainables.spec.trial import ModelSpec, UserModelSpec

layers = keras.layers

PRECISIONS = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
"""The dtype policy of the layers, by precision; weights and outputs stay float32."""

BATCH_NORM_MOMENTUM = 0.9
"""Keras' 0.99 needs hundreds of steps to forget its start; a first epoch may have fifty."""


def build_model(
    spec: ModelSpec | UserModelSpec, *, seed: int, precision: str = "float32"
) -> Model:
    """Build the model of a spec.

    It takes images ``(batch, height, width, channels)`` with values 0..255 and returns a dict
    by head name, each ``(batch, units)`` float32. The initial weights and the dropout depend
    on ``seed`` only, whatever ran before in the process, and no global state is changed.

    Our own layers are named ``conv1, pool1, ..., flatten, <head>_dense`` and, for an output,
    exactly as its head. A batch normalisation stands between a convolution (which then has no
    bias) and its relu.

    The seed is any integer; a layer's draw also depends on its name, not on the other layers.
    The precision is ``float32``, or ``bfloat16`` for the inner layers' arithmetic. `InputError` if
    it is unknown or a user's function does not fit, `UserModelError` if that raises.

    Example:
        >>> from trainables.spec.trial import REFERENCE
        >>> build_model(REFERENCE.model, seed=0).count_params()
        28354123
    """
    if isinstance(spec, UserModelSpec):
        return build_user_model(spec, seed=seed, precision=precision)[0]
    with our_keras():
        return _Builder(spec, seed, policy_of(precision)).build()


def build_user_model(
    spec: UserModelSpec, *, seed: int, precision: str = "float32"
) -> tuple[Model, tuple[str, ...]]:
    """Return the model of a user's function as `build_model` does, and what of it is not used.

    That is what Keras would train and measure it by: ``compile``, and methods such as
    ``train_step`` that are the user's own.
    """
    given = {"image_shape": spec.image_shape, "heads": spec.heads}
    with isolated(seed=seed, dtype_policy=policy_of(precision)):
        model = call_function(spec.target, given, dict(spec.arguments))
        who = f"model {spec.target!r}"
        if not isinstance(model, keras.Model):
            raise InputError(f"{who} needs to return a keras.Model, got {type(model).__name__}")
        unused = unused_training(model)
        model = _with_named_outputs(who, model, spec)
        _check_outputs(who, model, spec)
    return model, unused


def policy_of(precision: str) -> str:
    """Return the dtype policy of a precision; raises InputError if there is none."""
    if precision not in PRECISIONS:
        raise InputError(f"precision needs to be one of {list(PRECISIONS)}, got {precision!r}")
    return PRECISIONS[precision]


@dataclass(frozen=True)
class _Builder:
    """Makes the layers of one spec; each with explicit dtype, seed and data format."""

    spec: ModelSpec
    seed: int
    policy: str

    def build(self) -> Model:
        inputs = keras.Input(self.spec.image_shape, name=self._name("image"), dtype="float32")
        # In float32: 1/255 has no good bfloat16 neighbour and the cast comes for free after it.
        features = layers.Rescaling(1 / 255, name=self._name("rescaling"), dtype="float32")(inputs)
        for number, block in enumerate(self.spec.blocks, 1):
            features = self._convolve(features, number, block.filters, block.padding)
            pool = {"padding": "valid", "data_format": "channels_last"}
            features = layers.MaxPooling2D(
                self.spec.pool_size, **pool, **self._common(f"pool{number}")
            )(features)
        flat = layers.Flatten(data_format="channels_last", **self._common("flatten"))(features)
        widths = zip(self.spec.heads, self.spec.head_units, strict=True)
        outputs = {head.name: self._branch(flat, head, units) for head, units in widths}
        return keras.Model(inputs, outputs, name="multi_head")

    def _convolve(self, inputs: Any, number: int, filters: int, padding: str) -> Any:
        has_norm = self.spec.batch_norm
        name = f"conv{number}"
        outputs = layers.Conv2D(
            filters,
            self.spec.kernel_size,
            padding=padding,
            data_format="channels_last",
            activation=None if has_norm else "relu",
            use_bias=not has_norm,
            **self._kernel(name),
            **self._common(name),
        )(inputs)
        if not has_norm:
            return outputs
        norm = self._common(f"norm{number}")
        outputs = layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM, **norm)(outputs)
        return layers.ReLU(**self._common(f"relu{number}"))(outputs)

    def _branch(self, inputs: Any, head: HeadSpec, units: int) -> Any:
        dense = f"{head.name}_dense"
        hidden = layers.Dense(
            units, activation="relu", **self._kernel(dense), **self._common(dense)
        )(inputs)
        if self.spec.dropout:
            name = f"{head.name}_dropout"
            seed = layer_seed(self.seed, name)
            hidden = layers.Dropout(self.spec.dropout, seed=seed, **self._common(name))(hidden)
        return layers.Dense(
            head.units,
            activation=head.activation,
            kernel_initializer=self._initializer(head.name),
            name=head.name,
            dtype="float32",
        )(hidden)

    def _kernel(self, name: str) -> dict[str, Any]:
        penalty = keras.regularizers.L2(self.spec.l2) if self.spec.l2 else None
        return {"kernel_initializer": self._initializer(name), "kernel_regularizer": penalty}

    def _initializer(self, name: str) -> Any:
        return keras.initializers.GlorotUniform(seed=layer_seed(self.seed, name))

    def _common(self, name: str) -> dict[str, Any]:
        return {"name": self._name(name), "dtype": self.policy}

    def _name(self, name: str) -> str:
        """Return the name of one of our own layers, made different from every head's."""
        while name in {head.name for head in self.spec.heads}:
            name += "_layer"
        return name


def layer_seed(seed: int, name: str) -> int:
    """Return what a layer draws with: by the seed and its name, not by the other layers."""
    sequence = np.random.SeedSequence(seed % 2**64, spawn_key=tuple(name.encode()))
    return int(sequence.generate_state(1)[0] >> 1)


def _with_named_outputs(who: str, model: Model, spec: UserModelSpec) -> Model:
    """Return the model with a dict of outputs by head name; itself if it has one."""
    _check_input(who, model, spec)
    is_functional = isinstance(model, keras.src.models.Functional)
    inputs = model.inputs[0] if is_functional else keras.Input(spec.image_shape, dtype="float32")
    try:
        outputs = model(inputs)
    except Exception as error:
        raise UserModelError(
            f"{who} needs to take images of shape {(None, *spec.image_shape)}, "
            f"got {type(error).__name__}: {error}"
        ) from error
    heads = [head.name for head in spec.heads]
    pairs = [*outputs.items()] if isinstance(outputs, dict) else _by_layer(model, outputs)
    names = sorted(str(name) for name, _ in pairs)
    if names != sorted(heads):
        is_graph = is_functional or isinstance(model, keras.Sequential)
        how = _how_to_name(heads, is_graph=is_graph)
        raise InputError(f"{who} needs outputs named {sorted(heads)}, got {names}: {how}")
    if is_functional and isinstance(outputs, dict):
        return model
    return keras.Model(inputs, {name: dict(pairs)[name] for name in heads})


def _how_to_name(heads: list[str], *, is_graph: bool) -> str:
    """Return how a model, of layers or with a ``call``, says which output is which head's."""
    named = ", ".join(f"{name!r}: ..." for name in heads)
    way = f"keras.Model(inputs, {{{named}}})" if is_graph else f"{{{named}}} from call"
    return f"return a dict by head, {way}"


def _check_input(who: str, model: Model, spec: UserModelSpec) -> None:
    wanted = (None, *spec.image_shape)
    shapes = [tuple(tensor.shape) for tensor in getattr(model, "inputs", None) or ()]
    if shapes and (len(shapes) > 1 or not fits(shapes[0], wanted)):
        raise InputError(f"{who} needs one input of shape {wanted}, got {shapes}")


def _by_layer(model: Model, outputs: Any) -> list[tuple[str, Any]]:
    """Return the outputs of a model without a dict with the names of the layers they leave.

    Outputs of a model that is a layer of another leave one layer, and have one name.
    """
    tensors = keras.tree.flatten(outputs)
    if isinstance(model, keras.Sequential):
        return [(model.layers[-1].name, tensor) for tensor in tensors]
    names = getattr(model, "output_names", None) or [f"output {i}" for i in range(len(tensors))]
    return list(zip(names, tensors, strict=True))


def fits(shape: tuple[int | None, ...], wanted: tuple[int | None, ...]) -> bool:
    """Tell whether a shape, of which some sides may be open, is or can be the wanted one."""
    pairs = zip(shape, wanted, strict=False)
    return len(shape) == len(wanted) and all(a is None or a == b for a, b in pairs)


def _check_outputs(who: str, model: Model, spec: UserModelSpec) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, *spec.image_shape)).astype("float32")
    outputs = model(tf.constant(images), training=False)
    problems = [_output_problem(head, outputs[head.name]) for head in spec.heads]
    if any(problems):
        raise InputError.of([problem for problem in problems if problem], where=who)


def _output_problem(head: HeadSpec, output: Any) -> str:
    if not hasattr(output, "shape"):
        return f"output {head.name!r} needs to be one tensor, got {type(output).__name__}"
    shape = tuple(output.shape)
    if shape != (3, head.units):
        return f"output {head.name!r} needs shape (None, {head.units}), got {(None, *shape[1:])}"
    if head.kind != "classification":
        return ""
    values = tf.cast(output, tf.float32).numpy()
    sums = values.sum(axis=1)
    # A bfloat16 softmax is off by up to its 8 bits per class.
    if values.min() >= 0 and np.allclose(sums, 1.0, atol=0.02):
        return ""
    return (
        f"output {head.name!r} needs probabilities that sum to 1, got rows that sum to "
        f"{[round(float(total), 3) for total in sums]}: end it with a softmax"
    )
