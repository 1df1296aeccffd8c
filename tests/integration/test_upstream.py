"""Behaviour of Keras, Optuna and Ray that the code defends against; an upgrade may change it.

A test that fails here after an upgrade is news, not a defect: look at what the defence costs.
"""

import math

import numpy as np
import optuna
import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def keras():
    from trainables.backend import keras

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


def test_optuna_refuses_intermediate_values_of_several_objectives():
    trial = optuna.create_study(directions=["minimize"] * 2).ask()

    with pytest.raises(NotImplementedError, match="multi-objective"):
        trial.report(1.0, step=1)


def test_asha_of_ray_lets_a_trial_go_on_whose_loss_is_nan():
    from ray.tune.schedulers.async_hyperband import _Bracket

    bracket = _Bracket(min_t=1, max_t=9, reduction_factor=2, s=0)
    for trial, loss in enumerate([1.0, 2.0, 3.0]):
        bracket.on_result(FakeTrial(str(trial)), 1, -loss)

    assert bracket.on_result(FakeTrial("worse"), 1, -9.0) == "STOP"
    assert bracket.on_result(FakeTrial("nan"), 1, math.nan) == "CONTINUE"


class FakeTrial:
    """All that a bracket asks of a trial."""

    def __init__(self, trial_id):
        self.trial_id = trial_id
