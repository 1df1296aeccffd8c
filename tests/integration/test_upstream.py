"""Behaviour of Keras that the code defends against; an upgrade may change it.

A test that fails here after an upgrade is news, not a defect: look at what the defence costs.
"""

import numpy as np
import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def keras():
    from trainables.model.backend import keras

    return keras


def two_outputs(keras):
    image = keras.Input((1,))
    outputs = {
        name: keras.layers.Dense(1, use_bias=False, kernel_initializer="ones", name=name)(image)
        for name in ("second", "first")
    }
    model = keras.Model(image, outputs)
    model.compile(loss={"first": "mse", "second": "mse"})
    return model


def test_keras_counts_every_batch_alike_in_the_loss_of_an_output(keras):
    model = two_outputs(keras)
    rows = np.array([[0.0], [0.0], [0.0], [0.0], [3.0]])
    labels = np.zeros((5, 1))

    logs = model.evaluate(
        rows, {"first": labels, "second": labels}, batch_size=4, verbose=0, return_dict=True
    )

    assert logs["first_loss"] == pytest.approx(4.5)  # the mean of 0 and 9; of the samples: 1.8
    assert logs["loss"] == pytest.approx(2 * 1.8)


def test_keras_sorts_the_names_of_dict_outputs(keras):
    assert two_outputs(keras).output_names == ["first", "second"]


def test_keras_ties_a_softmax_to_its_logits(keras):
    logits = keras.ops.convert_to_tensor([[1.0, 2.0]])

    assert keras.activations.softmax(logits)._keras_logits is logits
