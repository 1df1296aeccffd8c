"""A model's outputs and gradients, for the built-in model in the order that is fastest.

Of a compiled step on 64x64 images most time went into passes over the first convolution's
output, which is as large as the image and many channels deep. For the built-in model:

* The way back skips that output: relu and bias commute with a maximum (both are monotone and
  the same for every pixel), so their gradients are taken behind the pooling, on a quarter or
  a ninth of the values. The way there keeps them in the convolution, where they are free.
* A block whose convolution gives more than `CHUNK_BYTES` takes the batch in slices: what one
  slice gives is still in the cache when the pooling reads it, and on the way back likewise.
* The factor 1/255 is folded into the first kernel, and the image cast once: its values are
  whole numbers up to 255, exact in bfloat16, which 1/255 of them are not.

A batch normalisation may turn the order of values around, so models with one, and users'
own, are called as they are.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainables.model.backend import Model, Tensor, keras, tf, visible_gpus
from trainables.model.build import policy_of
from trainables.spec.heads import HeadSpec
from trainables.spec.trial import ModelSpec

CHUNK_BYTES = 4 * 2**20
"""What a convolution may give at once: several times a core's L2, a share of a common L3. A
constant, not a measurement: how sums are split must not depend on the machine."""

TYPICAL_BATCH = 64
NUMS_CHUNKS = (1, 4, 16)
"""Into how many slices a batch is taken; few, as each number is another graph, and powers of
two, which divide most batch sizes."""

Outputs = dict[str, Tensor]
LossOf = Callable[[Outputs], Tensor]


class Plain:
    """A Keras model called as it is, following its variables as they change."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def __call__(self, images: Tensor) -> Outputs:
        """Return the outputs by head for images ``(batch, height, width, channels)`` uint8."""
        outputs: Outputs = self._model(images, training=False)
        return outputs

    def gradients(self, images: Tensor, loss_of: LossOf) -> tuple[Tensor, list[Tensor | None]]:
        """Return the loss in training, penalties included, and its gradient by each variable."""
        with tf.GradientTape() as tape:
            loss = loss_of(self._model(images, training=True))
            loss += sum(tf.cast(extra, tf.float32) for extra in self._model.losses)
        return loss, tape.gradient(loss, self._model.trainable_variables)


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """What shapes the graph of the built-in model besides its variables."""

    image_shape: tuple[int, int, int]
    heads: tuple[HeadSpec, ...]
    kernel_size: int
    pool_size: int
    paddings: tuple[str, ...]
    """Of each block's convolution."""
    num_chunks: tuple[int, ...]
    """Of each block."""
    has_dropout: bool
    has_penalty: bool
    dtype: str
    """Of the inner layers' arithmetic."""


def topology_of(spec: ModelSpec, precision: str) -> Topology:
    """Return the topology of a model without batch normalisation."""
    policy_of(precision)  # refuses an unknown one
    size = tf.as_dtype(precision).size
    blocks = range(len(spec.blocks))
    return Topology(
        image_shape=spec.image_shape,
        heads=spec.heads,
        kernel_size=spec.kernel_size,
        pool_size=spec.pool_size,
        paddings=tuple(block.padding for block in spec.blocks),
        num_chunks=tuple(_num_chunks(spec, place, size) for place in blocks),
        has_dropout=spec.dropout > 0,
        has_penalty=spec.l2 > 0,
        dtype=precision,
    )


def _num_chunks(spec: ModelSpec, place: int, value_size: int) -> int:
    if visible_gpus():
        return 1
    block = spec.blocks[place]
    before = spec.blocks[place - 1] if place else None
    height, width = (before.height, before.width) if before else spec.image_shape[:2]
    shrink = spec.kernel_size - 1 if block.padding == "valid" else 0
    values = TYPICAL_BATCH * (height - shrink) * (width - shrink) * block.filters
    enough = (num for num in NUMS_CHUNKS if num * CHUNK_BYTES >= values * value_size)
    return next(enough, NUMS_CHUNKS[-1])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reordered:
    """The built-in model without batch normalisation; called as `Plain` is."""

    topology: Topology
    variables: Mapping[str, Any]
    """By `Entry.name` of `trainables.training.elastic`."""
    trainable: Sequence[str]
    """The names of those with a gradient, in its order."""
    penalised: Sequence[Any]
    """The variables that the L2 penalty counts."""
    dropout: Any
    l2: Any

    def __call__(self, images: Tensor) -> Outputs:
        """Return the outputs by head, without dropout."""
        return self._branches(self._trunk(images)[0], training=False)

    def gradients(self, images: Tensor, loss_of: LossOf) -> tuple[Tensor, list[Tensor | None]]:
        """Return the loss in training and its gradient by each of the ``trainable``."""
        # Not a custom gradient: TensorFlow keeps each one it has seen, and its graph, for ever.
        features, ways_back = self._trunk(images)
        variables = [self.variables[name] for name in self.trainable]
        with tf.GradientTape() as tape:
            tape.watch([features, *variables])
            loss = loss_of(self._branches(features, training=True)) + self._penalty()
        gradient, *found = tape.gradient(loss, [features, *variables])
        by_name = dict(zip(self.trainable, found, strict=True))
        for way_back in reversed(ways_back):
            gradient, own = way_back(gradient)
            for name, part in own.items():
                penalty = by_name[name]
                by_name[name] = part if penalty is None else part + penalty
        return loss, list(by_name.values())

    def _penalty(self) -> Tensor | float:
        if not self.topology.has_penalty:
            return 0.0
        return self.l2 * tf.add_n([tf.reduce_sum(tf.square(one)) for one in self.penalised])

    def _trunk(self, images: Tensor) -> tuple[Tensor, list["_WayBack"]]:
        features, ways_back = tf.cast(images, self.topology.dtype), []
        for place in range(len(self.topology.paddings)):
            features, way_back = self._block(features, place)
            ways_back.append(way_back)
        return features, ways_back

    def _block(self, inputs: Tensor, place: int) -> tuple[Tensor, "_WayBack"]:
        names = [f"conv/conv{place + 1}/{role}" for role in ("kernel", "bias")]
        factor = 1.0 if place else 1 / 255
        kernel = tf.cast(self.variables[names[0]] * factor, self.topology.dtype)
        bias = tf.cast(self.variables[names[1]], self.topology.dtype)
        pool = self.topology.pool_size
        step = {"strides": [1] * 4, "padding": self.topology.paddings[place].upper()}
        window = {"ksize": [1, pool, pool, 1], "strides": [1, pool, pool, 1], "padding": "VALID"}

        def there(part: Tensor) -> tuple[Tensor, Tensor]:
            outputs = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(part, kernel, **step), bias))
            return outputs, tf.raw_ops.MaxPool(input=outputs, **window)

        parts = _split(inputs, self.topology.num_chunks[place])
        outputs = [there(part) for part in parts]

        def back(gradient: Tensor) -> tuple[Tensor | None, dict[str, Tensor]]:
            by_inputs, by_kernel, by_bias = [], [], []
            gradients = _split(gradient, len(parts))
            for part, (full, pooled), upper in zip(parts, outputs, gradients, strict=True):
                upper = tf.raw_ops.ReluGrad(gradients=upper, features=pooled)
                by_bias.append(tf.reduce_sum(upper, axis=[0, 1, 2]))
                upper = tf.raw_ops.MaxPoolGrad(
                    orig_input=full, orig_output=pooled, grad=upper, **window
                )
                by_kernel.append(
                    tf.raw_ops.Conv2DBackpropFilter(
                        input=part, filter_sizes=tf.shape(kernel), out_backprop=upper, **step
                    )
                )
                if place:
                    by_inputs.append(
                        tf.raw_ops.Conv2DBackpropInput(
                            input_sizes=tf.shape(part), filter=kernel, out_backprop=upper, **step
                        )
                    )
            own = dict(zip(names, (_total(by_kernel) * factor, _total(by_bias)), strict=True))
            return _join(by_inputs, inputs) if by_inputs else None, own

        return _join([pooled for _, pooled in outputs], inputs), back

    def _branches(self, features: Tensor, *, training: bool) -> Outputs:
        shape = tf.shape(features)
        flat = tf.reshape(features, [shape[0], tf.reduce_prod(shape[1:])])
        return {head.name: self._branch(flat, head, training) for head in self.topology.heads}

    def _branch(self, flat: Tensor, head: HeadSpec, training: bool) -> Tensor:
        hidden = tf.nn.relu(self._dense(flat, f"dense/{head.name}_dense", self.topology.dtype))
        # In float32 from here: a share has no good bfloat16 neighbour, and the layers are small.
        hidden = tf.cast(hidden, tf.float32)
        if training and self.topology.has_dropout:
            hidden = self._drop(hidden, f"dropout/{head.name}_dropout/seed_generator_state")
        logits = self._dense(hidden, f"output/{head.name}", tf.float32)
        return keras.activations.get(head.activation)(logits)

    def _dense(self, inputs: Tensor, name: str, dtype: Any) -> Tensor:
        kernel, bias = (tf.cast(self.variables[f"{name}/{r}"], dtype) for r in ("kernel", "bias"))
        return tf.nn.bias_add(tf.matmul(inputs, kernel), bias)

    def _drop(self, inputs: Tensor, name: str) -> Tensor:
        """Drop what Keras' layer would drop with a generator in this state, and count it on."""
        state = self.variables[name]
        seed = state.read_value()
        state.assign(seed + tf.constant([0, 1], seed.dtype))
        # As Keras does: TensorFlow wants the seed in 32 bits (keras 3.15).
        seed = tf.cast(tf.math.floormod(seed, tf.int32.max - 1), tf.int32)
        return tf.nn.experimental.stateless_dropout(inputs, self.dropout.read_value(), seed)


Forward = Plain | Reordered

_WayBack = Callable[[Tensor], tuple[Tensor | None, dict[str, Tensor]]]
"""From the gradient by a block's outputs to those by its inputs and, by path, its variables."""


def _split(images: Tensor, num_parts: int) -> list[Tensor]:
    """Return the images in so many equal parts, filled up with images of zeros.

    An empty part would do as well, but not with oneDNN: its convolution of no images has the
    shape of its input (tensorflow 2.21).
    """
    if num_parts == 1:
        return [images]
    missing = -tf.shape(images)[0] % num_parts
    full = tf.pad(images, [[0, missing], [0, 0], [0, 0], [0, 0]])
    return list(tf.split(full, num_parts))


def _join(parts: list[Tensor], like: Tensor) -> Tensor:
    """Return the parts as one, as long as what they were split from."""
    if len(parts) == 1:
        return parts[0]
    return tf.concat(parts, axis=0)[: tf.shape(like)[0]]


def _total(parts: list[Tensor]) -> Tensor:
    """Return the sum in float32, whatever the parts are."""
    return tf.add_n([tf.cast(part, tf.float32) for part in parts])
