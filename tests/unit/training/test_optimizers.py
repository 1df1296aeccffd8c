"""An optimizer in one operation per variable makes Keras' own steps."""

import numpy as np
import pytest

from trainables.model.backend import keras, tf
from trainables.training.optimizers import make_optimizer

pytestmark = pytest.mark.slow

KERAS = {
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "sgd": keras.optimizers.SGD,
    "rmsprop": keras.optimizers.RMSprop,
}


def stepped(make, gradients, dtype="float32", start=(4, 3)):
    """Return the variable, slots and counter after every gradient has been applied."""
    values = np.random.default_rng(1).normal(size=start).astype("float32")
    variable = keras.Variable(values, dtype=dtype)
    optimizer = make([variable])
    apply = tf.function(lambda g: optimizer.apply([g], [variable]), autograph=False)
    for number, gradient in enumerate(gradients):
        optimizer.learning_rate.assign(0.01 / (1 + number))
        apply(gradient)
    states = [variable, *optimizer.variables]
    return optimizer, [np.asarray(tf.cast(v.value, tf.float64)) for v in states]


def of_keras(name):
    def make(variables):
        optimizer = KERAS[name](learning_rate=0.5)
        optimizer.build(variables)
        return optimizer

    return make


def ours(name):
    return lambda variables: make_optimizer(name, learning_rate=0.5, variables=variables)


@pytest.mark.parametrize("name", list(KERAS))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_steps_and_states_are_those_of_keras(name, dtype):
    rng = np.random.default_rng(0)
    gradients = [tf.constant(rng.normal(size=(4, 3)) * 10.0**-n, dtype) for n in range(8)]

    own, found = stepped(ours(name), gradients, dtype)
    theirs, expected = stepped(of_keras(name), gradients, dtype)

    assert [v.shape for v in own.variables] == [v.shape for v in theirs.variables]
    for array, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(array, wanted, rtol=2e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_a_gradient_of_few_rows_is_applied_as_keras_does(name):
    sliced = tf.IndexedSlices(tf.ones((2, 3)), tf.constant([0, 2]), tf.constant([4, 3]))

    own, theirs = [stepped(make(name), [sliced] * 2)[1] for make in (ours, of_keras)]

    for array, wanted in zip(own, theirs, strict=True):
        np.testing.assert_allclose(array, wanted, rtol=2e-5, atol=1e-7)


def test_a_state_of_keras_adam_continues_in_ours():
    values = np.random.default_rng(1).normal(size=(4, 3)).astype("float32")
    gradients = [tf.constant(values * factor) for factor in (1.0, -2.0, 0.5)]
    variables = [keras.Variable(values) for _ in range(2)]
    theirs, own = of_keras("adam")([variables[0]]), ours("adam")([variables[1]])
    for gradient in gradients[:2]:
        theirs.apply([gradient], [variables[0]])

    kept = [variables[0], *theirs.variables]
    for mine, value in zip([variables[1], *own.variables], kept, strict=True):
        mine.assign(value)
    theirs.apply([gradients[2]], [variables[0]])
    own.apply([gradients[2]], [variables[1]])

    assert int(own.iterations) == 3
    np.testing.assert_allclose(variables[1].numpy(), variables[0].numpy(), rtol=2e-5)
