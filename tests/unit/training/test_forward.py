"""The reordered forward pass is the Keras model: outputs, gradients, dropout, any batch."""

import numpy as np
import pytest

from trainables.model.backend import tf
from trainables.model.build import build_model
from trainables.spec.heads import HeadSpec
from trainables.spec.trial import ModelSpec, TrialSpec
from trainables.training import forward
from trainables.training.elastic import ElasticNetwork
from trainables.training.forward import Plain, topology_of

pytestmark = pytest.mark.slow

CLASSES = HeadSpec(name="c_output", kind="classification", units=3)
BOX = HeadSpec(name="r_output", kind="box", units=4)


def spec_of(**changes):
    small = {"image_shape": (17, 19, 1), "head_units": (5, 6), "conv_filters": (4, 3)}
    return ModelSpec(**{"heads": (CLASSES, BOX), "pool_size": 2} | small | changes)


def images_of(spec, num, seed=0):
    values = np.random.default_rng(seed).integers(0, 256, (num, *spec.image_shape))
    return tf.constant(values.astype(np.uint8))


def loss_of(outputs):
    return tf.add_n(
        [tf.reduce_sum(tf.square(value - 0.3), axis=None) for value in outputs.values()]
    )


def reset_dropout(model):
    for layer in model.layers:
        if getattr(layer, "seed_generator", None) is not None:
            layer.seed_generator.state.assign([3, 0])


def of_keras(model):
    return Plain(model), model.variables


def of_ours(spec, model, precision="float32"):
    """Return our function of the model's present values, and its variables."""
    trial = TrialSpec(model=spec, loss_weights=(1.0,) * len(spec.heads))
    network = ElasticNetwork(trial, precision)
    network.set_training(trial)
    variables = list(network._variables.values())
    for variable, value in zip(variables, model.variables, strict=True):
        variable.assign(value)
    return network.forward, variables


def worked_out(function, variables, images, loss=loss_of):
    """Return outputs, loss, gradients, and what dropout's generators hold afterwards."""

    @tf.function(autograph=False)
    def run():
        outputs = function(images)
        return outputs, *function.gradients(images, loss)

    outputs, value, gradients = run()
    seeds = [np.asarray(v) for v in variables if v.dtype == "int64"]
    arrays = [np.asarray(tf.cast(gradient, tf.float32)) for gradient in gradients]
    return {k: np.asarray(v) for k, v in outputs.items()}, float(value), arrays, seeds


def assert_same(spec, images, loss=loss_of, model=None):
    model = model or build_model(spec, seed=1)
    reset_dropout(model)
    ours = worked_out(*of_ours(spec, model), images, loss)
    theirs = worked_out(*of_keras(model), images, loss)
    for head, expected in theirs[0].items():
        np.testing.assert_allclose(ours[0][head], expected, rtol=1e-4, atol=1e-6)
    assert ours[1] == pytest.approx(theirs[1], rel=1e-4)
    for array, expected in zip(ours[2], theirs[2], strict=True):
        np.testing.assert_allclose(array, expected, rtol=1e-3, atol=1e-4 * abs(expected).max())
    assert len(ours[3]) == len(theirs[3]) == (len(spec.heads) if spec.dropout else 0)
    for state, expected in zip(ours[3], theirs[3], strict=True):
        np.testing.assert_array_equal(state, expected)


COLOUR = {"pool_size": 3, "image_shape": (20, 17, 3)}
NO_POOLING = {"pool_size": 1, "image_shape": (9, 9, 1)}


@pytest.mark.parametrize(
    ("changes", "num_slices"),
    [
        pytest.param({}, 16, id="two_blocks"),
        pytest.param(COLOUR, 1, id="pool_3_colour_whole"),
        pytest.param(COLOUR, 16, id="pool_3_colour"),
        pytest.param(NO_POOLING, 1, id="no_pooling_whole"),
        pytest.param(NO_POOLING, 16, id="no_pooling"),
        pytest.param({"kernel_size": 1}, 16, id="kernel_1"),
        pytest.param({"kernel_size": 2}, 1, id="kernel_2_whole"),
        pytest.param({"kernel_size": 5}, 16, id="kernel_5"),
        pytest.param({"conv_filters": (3,)}, 16, id="one_block"),
        pytest.param({"conv_filters": (3, 2, 4)}, 1, id="padded_blocks_whole"),
        pytest.param({"dropout": 0.4}, 16, id="dropout"),
    ],
)
def test_outputs_and_gradients_are_those_of_the_keras_model(changes, num_slices, monkeypatch):
    monkeypatch.setattr(forward, "CHUNK_BYTES", 2**40 if num_slices == 1 else 1)
    spec = spec_of(**changes)

    assert_same(spec, images_of(spec, 16))


@pytest.mark.parametrize("rows", [1, 15, 17, 33])
def test_a_batch_of_any_length_can_be_sliced(rows, monkeypatch):
    monkeypatch.setattr(forward, "CHUNK_BYTES", 1)
    spec = spec_of()

    assert_same(spec, images_of(spec, rows))


def test_equal_pixels_of_a_window_share_a_gradient_as_in_keras():
    spec = spec_of()

    assert_same(spec, tf.zeros((8, *spec.image_shape), tf.uint8))


def test_a_negative_bias_silences_the_same_pixels_as_in_keras():
    spec = spec_of()
    model = build_model(spec, seed=1)
    for layer in model.layers:
        if layer.name.startswith("conv"):
            layer.bias.assign(np.linspace(-0.5, 0.2, layer.filters))

    assert_same(spec, images_of(spec, 8), model=model)


def test_penalties_on_kernels_are_added_to_their_gradients():
    spec = spec_of(l2=0.3)

    assert_same(spec, images_of(spec, 8))


def test_heads_may_be_named_like_our_own_layers():
    heads = (HeadSpec(name="conv1", kind="classification", units=3), BOX)
    spec = spec_of(heads=heads)

    assert_same(spec, images_of(spec, 8))


@pytest.mark.parametrize("chunk_bytes", [2**40, 1], ids=["whole", "in_16_slices"])
def test_bfloat16_is_as_near_to_float32_as_the_keras_model_is(chunk_bytes, monkeypatch):
    monkeypatch.setattr(forward, "CHUNK_BYTES", chunk_bytes)
    spec = spec_of(image_shape=(32, 32, 1), conv_filters=(8, 8))
    images = images_of(spec, 64)
    exact, model = build_model(spec, seed=1), build_model(spec, seed=1, precision="bfloat16")
    truth = worked_out(*of_keras(exact), images)[2]

    def error(function, variables):
        found = worked_out(function, variables, images)[2]
        return [
            np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in zip(found, truth, strict=True)
        ]

    ours, theirs = error(*of_ours(spec, model, "bfloat16")), error(*of_keras(model))
    assert np.mean(ours) <= 1.1 * np.mean(theirs)
    assert max(ours) < 0.1


def test_large_outputs_are_sliced_by_their_bytes_and_small_ones_not():
    large = spec_of(image_shape=(64, 64, 1), conv_filters=(64, 8))
    medium = spec_of(image_shape=(64, 64, 1), conv_filters=(16, 8))

    assert topology_of(large, "float32").num_chunks == (16, 1)
    assert topology_of(large, "bfloat16").num_chunks == (16, 1)
    assert topology_of(medium, "float32").num_chunks == (4, 1)
    assert topology_of(spec_of(), "float32").num_chunks == (1, 1)
