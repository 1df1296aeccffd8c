"""What the memory of a model grows with."""

from dataclasses import replace

import pytest

from trainables.spec.footprint import footprint
from trainables.spec.trial import REFERENCE, TrialSpec, UserModelSpec


def changed(**config):
    model = REFERENCE.model
    return TrialSpec.from_config(config, image_shape=model.image_shape, heads=model.heads)


def test_without_a_batch_it_is_every_weight_four_times():
    assert footprint(replace(REFERENCE, batch_size=0)) == (4 * 4 * 28_354_123, 0)


@pytest.mark.parametrize(("optimizer", "copies"), [("sgd", 2), ("rmsprop", 3), ("adamw", 4)])
def test_an_optimizer_that_keeps_less_takes_less(optimizer, copies):
    spec = replace(REFERENCE, optimizer=optimizer)

    assert footprint(spec).weights == 4 * copies * 28_354_123


def test_each_image_adds_what_every_layer_makes_of_it():
    one = footprint(replace(REFERENCE, batch_size=1)).activations
    convolved = 222 * 222 * 64 + 72 * 72 * 64
    pooled = 74 * 74 * 64 + 24 * 24 * 64

    assert one == 4 * 2 * (224 * 224 * 3 + convolved + pooled + 256 + 512)
    assert footprint(replace(REFERENCE, batch_size=7)).activations == 7 * one


@pytest.mark.parametrize(
    "config",
    [
        {"conv1_filters": 65},
        {"conv2_filters": 65},
        {"c_output_units": 257},
        {"batch_size": 33},
        {"batch_norm": True},
        {"pool_size": 2},
    ],
)
def test_more_of_anything_takes_more(config):
    assert footprint(changed(**config)).total > footprint(REFERENCE).total


def test_of_a_users_own_model_nothing_is_known_before_it_is_built():
    heads = REFERENCE.heads
    own = UserModelSpec(target="m:f", image_shape=(8, 8, 1), heads=heads, arguments=())

    with pytest.raises(TypeError, match="needs the built-in model, got 'm:f'"):
        footprint(replace(REFERENCE, model=own))
