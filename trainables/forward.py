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

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from trainables.backend import Model, Tensor, tf, visible_gpus
from trainables.model import layer_name
from trainables.spec import ModelSpec, UserModelSpec

CHUNK_BYTES = 4 * 2**20
"""What a convolution may give at once: several times a core's L2, a share of a common L3. A
constant, not a measurement: how sums are split must not depend on the machine."""

TYPICAL_BATCH = 64
MOST_CHUNKS = 16

Outputs = dict[str, Tensor]
LossOf = Callable[[Outputs], Tensor]


class Forward(Protocol):
    """The function of a model, following its variables as they change."""

    def __call__(self, images: Tensor) -> Outputs:
        """Return the outputs by head for images ``(batch, height, width, channels)`` uint8."""
        ...

    def gradients(
        self, images: Tensor, loss_of: LossOf, variables: Sequence[Any]
    ) -> tuple[Tensor, list[Tensor | None]]:
        """Return the loss of the outputs in training and its gradient by every variable."""
        ...


def forward_of(spec: ModelSpec | UserModelSpec, model: Model) -> Forward:
    """Return the function of a model that `build_model` made of the spec."""
    if isinstance(spec, UserModelSpec) or spec.batch_norm:
        return Plain(model)
    return _Reordered(spec, model)


class Plain:
    """A model called as it is."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def __call__(self, images: Tensor) -> Outputs:
        """Return the outputs by head."""
        outputs: Outputs = self._model(images, training=False)
        return outputs

    def gradients(
        self, images: Tensor, loss_of: LossOf, variables: Sequence[Any]
    ) -> tuple[Tensor, list[Tensor | None]]:
        """Return the loss of the outputs in training and its gradient by every variable."""
        with tf.GradientTape() as tape:
            loss = loss_of(self._model(images, training=True))
        return loss, tape.gradient(loss, variables)


class _Reordered:
    """The built-in model without batch normalisation."""

    def __init__(self, spec: ModelSpec, model: Model) -> None:
        self._spec = spec
        self._layers = {layer.name: layer for layer in model.layers}
        self._dtype = tf.as_dtype(self._layer("conv1").compute_dtype)

    def __call__(self, images: Tensor) -> Outputs:
        return self._branches(self._trunk(images)[0], training=False)

    def gradients(
        self, images: Tensor, loss_of: LossOf, variables: Sequence[Any]
    ) -> tuple[Tensor, list[Tensor | None]]:
        # Not a custom gradient: TensorFlow keeps each one it has seen, and its graph, for ever.
        features, ways_back = self._trunk(images)
        with tf.GradientTape() as tape:
            tape.watch(features)
            loss = loss_of(self._branches(features, training=True))
        gradient, *found = tape.gradient(loss, [features, *variables])
        found_by_path = {v.path: g for v, g in zip(variables, found, strict=True)}
        for way_back in reversed(ways_back):
            gradient, own = way_back(gradient)
            for path, part in own.items():
                penalty = found_by_path[path]
                found_by_path[path] = part if penalty is None else part + penalty
        return loss, list(found_by_path.values())

    def _trunk(self, images: Tensor) -> tuple[Tensor, list["_WayBack"]]:
        features, ways_back = tf.cast(images, self._dtype), []
        for number in range(1, len(self._spec.blocks) + 1):
            features, way_back = self._block(features, number)
            ways_back.append(way_back)
        return features, ways_back

    def _block(self, inputs: Tensor, number: int) -> tuple[Tensor, "_WayBack"]:
        layer, pool = self._layer(f"conv{number}"), self._spec.pool_size
        factor = 1 / 255 if number == 1 else 1.0
        kernel = tf.cast(layer.kernel * factor, self._dtype)
        bias = tf.cast(layer.bias, self._dtype)
        step = {"strides": [1] * 4, "padding": self._spec.blocks[number - 1].padding.upper()}
        window = {"ksize": [1, pool, pool, 1], "strides": [1, pool, pool, 1], "padding": "VALID"}

        def there(part: Tensor) -> tuple[Tensor, Tensor]:
            outputs = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(part, kernel, **step), bias))
            return outputs, tf.raw_ops.MaxPool(input=outputs, **window)

        parts = _split(inputs, self._num_chunks(inputs, number))
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
                        input=part, filter_sizes=kernel.shape, out_backprop=upper, **step
                    )
                )
                if number > 1:
                    by_inputs.append(
                        tf.raw_ops.Conv2DBackpropInput(
                            input_sizes=tf.shape(part), filter=kernel, out_backprop=upper, **step
                        )
                    )
            own = {layer.kernel.path: _total(by_kernel) * factor, layer.bias.path: _total(by_bias)}
            return _join(by_inputs, inputs) if by_inputs else None, own

        return _join([pooled for _, pooled in outputs], inputs), back

    def _num_chunks(self, inputs: Tensor, number: int) -> int:
        if visible_gpus():
            return 1
        block = self._spec.blocks[number - 1]
        shrink = self._spec.kernel_size - 1 if block.padding == "valid" else 0
        height, width = (side - shrink for side in inputs.shape[1:3])
        num_bytes = TYPICAL_BATCH * height * width * block.filters * self._dtype.size
        num_chunks = 1  # a power of two: it divides most batch sizes
        while num_chunks < MOST_CHUNKS and num_chunks * CHUNK_BYTES < num_bytes:
            num_chunks *= 2
        return num_chunks

    def _branches(self, features: Tensor, *, training: bool) -> Outputs:
        flat = self._layer("flatten")(features)
        return {head.name: self._branch(flat, head.name, training) for head in self._spec.heads}

    def _branch(self, flat: Tensor, head: str, training: bool) -> Tensor:
        hidden = self._layer(f"{head}_dense")(flat)
        if self._spec.dropout:
            hidden = self._layer(f"{head}_dropout")(hidden, training=training)
        return self._layers[head](hidden)

    def _layer(self, name: str) -> Any:
        return self._layers[layer_name(name, self._spec.heads)]


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
