"""Run code of others under a seed and a dtype policy, and leave the process as it was."""

import importlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from trainables.model.backend import keras, tf
from trainables.spec.rules import LARGEST_SEED

# Neither library has a public reader of its seed (tensorflow 2.21, keras 3.15).
_context = importlib.import_module("tensorflow.python.eager.context")
_global_state = keras.src.backend.common.global_state
_KERAS_STATE = ("global_random_seed", "global_seed_generator")


@contextmanager
def our_keras(dtype_policy: str = "float32") -> Iterator[None]:
    """Let Keras have a dtype policy and its own defaults, then what the process had before.

    Image data format, float type and epsilon are global, and ``keras.json`` sets them: what a
    study trains depends on none of that.
    """
    config = keras.config
    policy = config.dtype_policy()  # first: it is made of the float type when it is first read
    former = config.image_data_format(), config.floatx(), config.epsilon()
    try:
        _set_keras(dtype_policy, "channels_last", "float32", 1e-7)
        yield
    finally:
        _set_keras(policy, *former)


def _set_keras(policy: Any, image_data_format: str, floatx: str, epsilon: float) -> None:
    keras.config.set_dtype_policy(policy)
    keras.config.set_image_data_format(image_data_format)
    keras.config.set_floatx(floatx)
    keras.config.set_epsilon(epsilon)


@contextmanager
def isolated(*, seed: int, dtype_policy: str) -> Iterator[None]:
    """Seed Python, NumPy, Keras and TensorFlow and set the dtype policy, then restore all.

    Unseeded layers of a user's function draw their seeds from these generators, so what it
    builds depends on ``seed`` and not on what ran before; and what runs after is not
    disturbed by it. The seed is taken modulo the largest that NumPy's global generator takes.
    """
    tensorflow_seed = _context.global_seed()
    python, numpy = random.getstate(), np.random.get_state()
    shared = {name: _global_state.get_global_attribute(name) for name in _KERAS_STATE}
    try:
        keras.utils.set_random_seed(seed % LARGEST_SEED)
        with our_keras(dtype_policy):
            yield
    finally:
        for name, value in shared.items():
            _global_state.set_global_attribute(name, value)
        tf.random.set_seed(tensorflow_seed)
        np.random.set_state(numpy)
        random.setstate(python)


class GlobalGenerator(keras.random.SeedGenerator):  # type: ignore[misc]
    """Becomes what ``keras.random`` draws from where it is given no seed, until `isolated` ends.

    Made inside `isolated`, it starts at a value that depends on the seed. Its variable is none
    of a model's, although a graph that is traced meanwhile keeps drawing from it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.is_used = False
        _global_state.set_global_attribute("global_seed_generator", self)

    def next(self, ordered: bool = True) -> Any:
        """Return the next seed and note that one was drawn."""
        self.is_used = True
        return super().next(ordered)
