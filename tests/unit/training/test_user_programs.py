"""Compiled programs of a user's own model."""

import os
import sys
from functools import partial

import pytest

from tests.support.trials import BOX, CLASSES, figures, fresh, make_data, model_of, same
from trainables.model.state import load_weights
from trainables.model.user_modules import import_folder
from trainables.spec.trial import TrialSpec
from trainables.training import keras_run as training
from trainables.training import program as compiled
from trainables.training.keras_run import KerasRun
from trainables.training.program import program_for

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def fresh_process():
    """Give every test a process that has kept nothing."""
    compiled._kept.clear()
    training._feeds.clear()


NOISY = """
import keras
from keras import layers

class Noise(layers.Layer):
    def call(self, x, training=False):
        return x + keras.random.normal((1, 4)) if {when} else x

def build(*, image_shape, heads):
    inputs = keras.Input(image_shape)
    x = Noise()(layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(inputs)))
    c = layers.Dense(3, activation="softmax", name="c_output")(x)
    return keras.Model(inputs, {"c_output": c, "r_output": layers.Dense(4, name="r_output")(x)})
"""


@pytest.fixture
def noisy(tmp_path, request):
    """Give a spec of a user's model that draws from keras.random without a seed."""
    file = tmp_path / "noisy_models.py"
    file.write_text(NOISY.replace("{when}", request.param))
    with import_folder(str(tmp_path)):
        yield TrialSpec.from_config(
            {}, image_shape=(17, 17, 1), heads=(CLASSES, BOX), model="noisy_models:build"
        )
    sys.modules.pop("noisy_models")


@pytest.mark.parametrize("noisy", ["training", "True"], indirect=True)
def test_unseeded_keras_random_depends_on_the_seed_only_and_is_part_of_the_state(noisy):
    data = make_data(noisy.heads)
    first = fresh(noisy, data)
    expected = figures(first, 1)
    kept = first.state()
    rest, end = figures(first, 1), first.state()

    warm = KerasRun(spec=noisy, dataset=data, seed=3)
    assert (warm._program is first._program, figures(warm, 1)) == (True, expected)
    assert [k for k in kept if k.startswith("random/")] == ["random/0000/seed_generator_state"]
    load_weights(model_of(warm), kept)

    again = fresh(noisy, data)
    assert same(again.state(), KerasRun(spec=noisy, dataset=data, seed=3).state())
    again.load_state(kept, 1)
    assert (figures(again, 1), same(again.state(), end)) == (rest, True)
    assert figures(fresh(noisy, data, seed=4), 1) != expected


@pytest.mark.parametrize("noisy", ["False"], indirect=True)
def test_a_users_graph_is_kept_until_its_file_changes(noisy, tmp_path):
    make = partial(program_for, noisy, seed=0, precision="float32")
    first, again = make(), make()
    file = tmp_path / "noisy_models.py"
    file.write_text(file.read_text().replace("Conv2D(4, 3)", "Conv2D(4, 5)"))
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))

    changed = make()

    assert again is first
    assert changed.state()["model/0000/kernel"].shape == (5, 5, 1, 4)
