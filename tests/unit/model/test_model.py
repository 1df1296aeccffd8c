"""The model that a spec stands for."""

from dataclasses import replace

import numpy as np
import pytest

from trainables.errors import InputError
from trainables.model.backend import keras, tf
from trainables.model.build import build_model
from trainables.spec.heads import HeadSpec
from trainables.spec.trial import REFERENCE, ModelSpec
from trainables.training.heads import training_losses

pytestmark = pytest.mark.slow

CLASSES = HeadSpec(name="c_output", kind="classification", units=3)
BOX = HeadSpec(name="r_output", kind="box", units=4)
SMALL = ModelSpec(
    image_shape=(17, 17, 1), heads=(CLASSES, BOX), head_units=(5, 6), conv_filters=(2, 3)
)


def kernels(model) -> dict[str, np.ndarray]:
    return {v.path: v.numpy() for v in model.variables}


def test_the_reference_has_its_parameters_and_shapes():
    model = build_model(REFERENCE.model, seed=0)

    parameters = {layer.name: layer.count_params() for layer in model.layers}
    shapes = {layer.name: tuple(layer.output.shape[1:]) for layer in model.layers}
    assert model.count_params() == 28_354_123
    assert {k: v for k, v in parameters.items() if v} == {
        "conv1": 1_792,
        "conv2": 36_928,
        "c_output_dense": 36_864 * 256 + 256,
        "r_output_dense": 36_864 * 512 + 512,
        "c_output": 2_570,
        "r_output": 513,
    }
    assert shapes == {
        "image": (224, 224, 3),
        "rescaling": (224, 224, 3),
        "conv1": (222, 222, 64),
        "pool1": (74, 74, 64),
        "conv2": (72, 72, 64),
        "pool2": (24, 24, 64),
        "flatten": (36_864,),
        "c_output_dense": (256,),
        "r_output_dense": (512,),
        "c_output": (10,),
        "r_output": (1,),
    }


def test_the_references_loss_is_that_of_its_own_compile():
    heads = REFERENCE.heads
    model = build_model(replace(REFERENCE.model, image_shape=(20, 20, 3)), seed=0)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (16, 20, 20, 3)).astype("float32")
    labels = {"c_output": rng.integers(0, 10, 16), "r_output": rng.normal(0, 9, (16, 1))}
    outputs = tf.function(model)(images)  # the softmax's logits live inside a graph only

    def losses(x):
        outputs = model(x, training=True)
        return [
            tf.reduce_mean(training_losses(head, outputs[head.name], labels[head.name]))
            for head in heads
        ]

    ours = [float(loss) for loss in tf.function(losses)(images)]

    model.compile("adam", {"c_output": "binary_crossentropy", "r_output": "mse"})
    targets = {**labels, "c_output": np.eye(10)[labels["c_output"]]}
    logs = model.evaluate(images, targets, batch_size=16, verbose=0, return_dict=True)
    trained = model.train_on_batch(images, targets, return_dict=True)
    assert sum(ours) == pytest.approx(logs["loss"], rel=1e-5)
    assert sum(ours) == pytest.approx(trained["loss"], rel=1e-5)
    probabilities = outputs["c_output"].numpy()
    wanted = targets["c_output"]
    from_probabilities = -np.log(np.where(wanted == 1, probabilities, 1 - probabilities)).mean()
    assert abs(ours[0] - from_probabilities) > 0.1


@pytest.mark.parametrize(
    ("change", "present"),
    [
        pytest.param({}, set(), id="plain"),
        pytest.param({"dropout": 0.5}, {"c_output_dropout", "r_output_dropout"}, id="dropout"),
        pytest.param({"batch_norm": True}, {"norm1", "relu1", "norm2", "relu2"}, id="batch_norm"),
    ],
)
def test_optional_layers_are_there_only_when_asked_for(change, present):
    model = build_model(replace(SMALL, **change), seed=0)

    names = {layer.name for layer in model.layers}
    optional = {name for name in names if name.endswith("_dropout") or "norm" in name}
    assert optional | {name for name in names if "relu" in name} == present


def test_l2_is_half_of_no_weight_but_the_kernels_before_the_outputs():
    model = build_model(replace(SMALL, l2=0.5), seed=0)

    penalised = [v for v in model.variables if v.name == "kernel" and "output/" not in v.path]
    expected = 0.5 * sum(float(np.square(v.numpy()).sum()) for v in penalised)
    assert len(penalised) == 4
    assert float(sum(model.losses)) == pytest.approx(expected, rel=1e-5)


def test_bfloat16_computes_inside_and_puts_out_float32():
    model = build_model(SMALL, seed=0, precision="bfloat16")

    computed = {layer.name: layer.compute_dtype for layer in model.layers}
    assert {computed[n] for n in ("conv1", "conv2", "flatten", "c_output_dense")} == {"bfloat16"}
    assert {computed[head.name] for head in SMALL.heads} == {"float32"}
    assert {str(v.dtype) for v in model.variables} == {"float32"}
    assert model.predict(np.zeros((1, 17, 17, 1)), verbose=0)["c_output"].dtype == np.float32


def test_initial_weights_depend_on_the_seed_only():
    first = kernels(build_model(SMALL, seed=1))
    keras.utils.set_random_seed(99)
    np.random.random(5)
    build_model(SMALL, seed=2)

    again, other = kernels(build_model(SMALL, seed=1)), kernels(build_model(SMALL, seed=2))

    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["conv1/kernel"], other["conv1/kernel"])


def test_a_layer_draws_the_same_whatever_stands_around_it():
    plain = kernels(build_model(SMALL, seed=1))
    rich = kernels(build_model(replace(SMALL, dropout=0.5, head_units=(5, 9)), seed=1))

    assert np.array_equal(plain["c_output_dense/kernel"], rich["c_output_dense/kernel"])


@pytest.mark.parametrize("name", ["conv1", "flatten", "image", "c_output_dense"])
def test_a_head_may_have_the_name_of_a_layer(name):
    heads = (CLASSES, HeadSpec(name=name, kind="regression", units=1))

    model = build_model(replace(SMALL, heads=heads), seed=0)

    assert model.get_layer(name).output.shape == (None, 1)
    assert set(model.predict(np.zeros((1, 17, 17, 1)), verbose=0)) == {"c_output", name}


def test_an_unknown_precision_is_refused():
    with pytest.raises(InputError, match=r"one of \['float32', 'bfloat16'\], got 'float16'"):
        build_model(SMALL, seed=0, precision="float16")
