"""The model and its training as a user writes them in plain Keras; imports TensorFlow."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tests.benchmarks.wall.stamps import part, stamp_part, stamp_result
from tests.benchmarks.wall.task import HEADS, Task, load_split, whole_batch

CLASSES = 10


def bind_threads(task: Task) -> None:
    """Take the share of the machine that is this process' own."""
    tf.config.threading.set_intra_op_parallelism_threads(task.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def build_model(task: Task, config: Mapping[str, Any], image_shape: Sequence[int]) -> Any:
    """Return the model of a config: rescaling, blocks of convolution and pool, two branches."""
    policy = "mixed_bfloat16" if task.precision == "bfloat16" else "float32"
    keras.config.set_dtype_policy(policy)
    keras.utils.set_random_seed(task.seed)
    layers = keras.layers
    inputs = keras.Input(tuple(image_shape))
    features = layers.Rescaling(1 / 255, dtype="float32")(inputs)
    for block in range(1, sum(name.endswith("_padding") for name in config) + 1):
        features = layers.Conv2D(
            config[f"conv{block}_filters"],
            config["kernel_size"],
            padding=config[f"conv{block}_padding"],
            activation="relu",
        )(features)
        features = layers.MaxPooling2D(config["pool_size"])(features)
    flat = layers.Flatten()(features)
    outputs = {}
    for head, units in zip(HEADS, (CLASSES, 4), strict=True):
        hidden = layers.Dense(config[f"{head}_units"], activation="relu")(flat)
        hidden = layers.Dropout(config["dropout"])(hidden)
        activation = task.head_activations[head]
        outputs[head] = layers.Dense(units, activation=activation, name=head, dtype="float32")(
            hidden
        )
    return keras.Model(inputs, outputs)


def compiled_model(task: Task, config: Mapping[str, Any], image_shape: Sequence[int]) -> Any:
    """Return the model of a config, ready for ``fit``."""
    model = build_model(task, config, image_shape)
    model.compile(
        optimizer=keras.optimizers.Adam(config["learning_rate"]),
        loss={"c_output": "sparse_categorical_crossentropy", "r_output": "mse"},
        loss_weights={head: config[f"{head}_loss_weight"] for head in HEADS},
    )
    return model


class Stamping(keras.callbacks.Callback):
    """Tells seconds and losses of every epoch; costs two lines of a file."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number = number
        self._began = time.time()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Begin the clock, but of the first epoch, to which what ``fit`` prepares belongs."""
        if epoch:
            self._began = time.time()

    def on_test_begin(self, logs: Any = None) -> None:
        """End the training of an epoch."""
        stamp_part("train", self._began, time.time(), self._number)
        self._began = time.time()

    def on_test_end(self, logs: Any = None) -> None:
        """End its validation."""
        stamp_part("validate", self._began, time.time(), self._number)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Tell its losses."""
        losses = {head: logs[f"val_{head}_loss"] for head in HEADS}
        stamp_result(self._number, epoch + 1, losses)


class PlainTraining:
    """Loads the data once and trains configs by ``fit``, one after the other."""

    def __init__(self, task: Task) -> None:
        self._task = task
        with part("load"):
            self._train = load_split(task, "train")
            self._validation = load_split(task, "validation")
        self.image_shape = self._train[0].shape[1:]

    def build(self, number: int) -> Any:
        """Return the compiled model of a config."""
        with part("build", number):
            return compiled_model(self._task, self._task.configs[str(number)], self.image_shape)

    def fit(
        self,
        number: int,
        model: Any,
        callbacks: Sequence[Any] = (),
        epochs: range | None = None,
    ) -> Any:
        """Train a model for some of its epochs (all of them); return Keras' history."""
        epochs = range(self._task.epochs) if epochs is None else epochs
        images, labels = self._train
        return model.fit(
            images,
            labels,
            batch_size=self._task.configs[str(number)]["batch_size"],
            initial_epoch=epochs.start,
            epochs=epochs.stop,
            validation_data=self._validation,
            validation_batch_size=whole_batch(len(self._validation[0])),
            verbose=0,
            callbacks=[Stamping(number), *callbacks],
        )
