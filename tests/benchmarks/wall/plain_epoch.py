"""A whole epoch as one compiled loop, as a user writes it who knows TensorFlow."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tests.benchmarks.wall.plain_keras import build_model
from tests.benchmarks.wall.task import HEADS, Task, whole_batch


class PlainEpoch:
    """Model, optimizer, and compiled functions for an epoch and for the validation."""

    def __init__(self, task: Task, config: Mapping[str, Any], data: Mapping[str, Any]) -> None:
        self._images, labels = data["train"]
        self._labels = [labels[head] for head in HEADS]
        self._held_out = data["validation"]
        self._batch = config["batch_size"]
        self._weights = [config[f"{head}_loss_weight"] for head in HEADS]
        self._model = build_model(task, config, self._images.shape[1:])
        self._optimizer = keras.optimizers.Adam(config["learning_rate"])
        self._optimizer.build(self._model.trainable_variables)
        order = tf.TensorSpec((None,), tf.int64)
        self._train = tf.function(self._epoch, input_signature=[order], autograph=False)
        self._validate = tf.function(self._validation, input_signature=[], autograph=False)

    def trace(self) -> None:
        """Trace and optimise the epoch by running it on no rows; trace the validation."""
        self.train(np.zeros(0, np.int64))
        self._validate.get_concrete_function()

    def train(self, order: Any) -> None:
        """Train on the rows in this order."""
        self._train(tf.constant(order, tf.int64)).numpy()

    def validate(self) -> list[float]:
        """Return the mean loss of each head on the validation rows."""
        return [float(loss) for loss in self._validate().numpy()]

    def _epoch(self, order: Any) -> Any:
        images = tf.constant(self._images)
        labels = [tf.constant(column) for column in self._labels]
        rows = tf.size(order, out_type=tf.int64)

        def step(start: Any) -> tuple[Any]:
            chosen = order[start : start + self._batch]
            with tf.GradientTape() as tape:
                outputs = self._model(tf.gather(images, chosen), training=True)
                batch = [tf.gather(column, chosen) for column in labels]
                losses = [tf.reduce_mean(loss) for loss in _losses(outputs, batch)]
                loss = sum(w * loss for w, loss in zip(self._weights, losses, strict=True))
            variables = self._model.trainable_variables
            self._optimizer.apply(tape.gradient(loss, variables), variables)
            return (start + self._batch,)

        start = tf.constant(0, tf.int64)
        return tf.while_loop(lambda start: start < rows, step, (start,), parallel_iterations=1)[0]

    def _validation(self) -> Any:
        images, labels = self._held_out
        size, rows = whole_batch(len(images)), len(images)
        images = tf.constant(images)
        labels = [tf.constant(labels[head]) for head in HEADS]

        def add(start: Any, totals: Any) -> tuple[Any, Any]:
            outputs = self._model(images[start : start + size], training=False)
            losses = _losses(outputs, [column[start : start + size] for column in labels])
            return start + size, totals + tf.stack([tf.reduce_sum(loss) for loss in losses])

        start = (tf.constant(0), tf.zeros(len(HEADS)))
        _, totals = tf.while_loop(lambda start, _: start < rows, add, start)
        return totals / rows


def _losses(outputs: Mapping[str, Any], labels: list[Any]) -> list[Any]:
    """Return the loss of every sample by head."""
    classes, boxes = (outputs[head] for head in HEADS)
    return [
        keras.losses.sparse_categorical_crossentropy(labels[0], classes),
        keras.losses.mean_squared_error(labels[1], boxes),
    ]
