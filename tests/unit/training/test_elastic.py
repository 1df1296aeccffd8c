"""One graph for all widths holds, names and trains what the Keras model of a config would."""

from dataclasses import replace

import numpy as np
import pytest

from tests.support.trials import BOX, CLASSES, NUMBERS, TWO, make_data, make_spec
from trainables.errors import InputError
from trainables.model.backend import tf
from trainables.model.build import build_model
from trainables.model.state import read_state
from trainables.spec.heads import HeadSpec
from trainables.training.elastic import ElasticNetwork, _layout, elastic_key
from trainables.training.forward import Plain
from trainables.training.heads import training_losses
from trainables.training.keras_run import KerasRun
from trainables.training.optimizers import make_optimizer

pytestmark = pytest.mark.slow

OPTIMIZERS = ["adam", "adamw", "sgd", "rmsprop"]
NAMED_LIKE_LAYERS = tuple(
    HeadSpec(name=name, kind="classification", units=3) for name in ("conv1", "conv1_dense")
)


def with_model(**changes):
    spec = make_spec()
    return replace(spec, model=replace(spec.model, **changes))


SPECS = [
    pytest.param(make_spec(), id="plain"),
    pytest.param(make_spec(dropout=0.3, l2=0.1), id="dropout_and_penalty"),
    pytest.param(with_model(conv_filters=(4, 3, 5)), id="three_blocks"),
    pytest.param(with_model(conv_filters=(6,)), id="one_block"),
    pytest.param(make_spec(shape=(20, 31, 3), kernel_size=5), id="colour"),
    pytest.param(make_spec((BOX,), dropout=0.5), id="one_head"),
    pytest.param(
        make_spec((TWO, NUMBERS, CLASSES, BOX), dropout=0.5, kind_units=3, pose_units=5),
        id="four_heads_in_no_order",
    ),
    pytest.param(make_spec(NAMED_LIKE_LAYERS, dropout=0.5), id="heads_named_like_layers"),
]


def keras_state(spec, seed, precision="float32"):
    model = build_model(spec.model, seed=seed, precision=precision)
    optimizer = make_optimizer(
        spec.optimizer, learning_rate=spec.learning_rate, variables=model.trainable_variables
    )
    return read_state(model, optimizer)


@pytest.mark.parametrize(
    ("spec", "optimizer"),
    [
        pytest.param(*case.values, optimizer, id=f"{optimizer}-{case.id}")
        for case, optimizer in zip(SPECS, OPTIMIZERS * 2, strict=True)
    ],
)
def test_it_starts_as_the_keras_model_and_optimizer_do(spec, optimizer):
    spec = replace(spec, optimizer=optimizer)
    network = ElasticNetwork(spec, "float32")
    network.start(spec, 7)
    network.set_training(spec)

    state, expected = network.state(), keras_state(spec, 7)

    assert list(state) == list(expected)
    for name, array in expected.items():
        assert (state[name].dtype, state[name].shape) == (array.dtype, array.shape), name
        np.testing.assert_array_equal(state[name], array, err_msg=name)
    assert network.num_bytes == sum(a.nbytes for n, a in expected.items() if a.ndim)


@pytest.mark.parametrize("spec", SPECS)
def test_the_layout_counts_what_keras_builds(spec):
    model = build_model(spec.model, seed=0)

    entries = _layout(spec)

    assert [entry.shape for entry in entries] == [tuple(v.shape) for v in model.variables]
    assert [entry.role for entry in entries] == [v.name for v in model.variables]
    trainable = [entry for entry in entries if entry.is_trainable]
    assert len(trainable) == len(model.trainable_variables)
    assert sum(entry.num_bytes for entry in trainable) == 4 * sum(
        int(np.prod(v.shape)) for v in model.trainable_variables
    )


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_it_is_trained_as_the_keras_model_is(optimizer):
    rate = {"sgd": 0.05}.get(optimizer, 2e-3)
    spec = make_spec(dropout=0.3, l2=1e-3, optimizer=optimizer, learning_rate=rate)
    data = make_data((CLASSES, BOX), rows=(48, 16))
    run = KerasRun(spec=spec, dataset=data, seed=3)
    run._program.train(run._train, np.arange(48), 16)

    model = build_model(spec.model, seed=3)
    theirs = make_optimizer(optimizer, learning_rate=rate, variables=model.trainable_variables)
    rows = data.split("train")
    for start in (0, 16, 32):
        part = slice(start, start + 16)

        def loss_of(outputs, part=part):
            losses = [
                tf.reduce_mean(
                    training_losses(head, outputs[head.name], rows.labels[head.name][part])
                )
                for head in spec.heads
            ]
            return tf.add_n(losses)

        _, gradients = Plain(model).gradients(rows.images[part].astype("float32"), loss_of)
        theirs.apply(gradients, model.trainable_variables)

    for name, array in read_state(model, theirs).items():
        np.testing.assert_allclose(run.state()[name], array, rtol=2e-2, atol=2e-4, err_msg=name)


def test_widths_and_rates_share_a_graph_and_what_shapes_it_does_not():
    def key(precision="float32", **config):
        return elastic_key(make_spec(**{"dropout": 0.1} | config), precision)

    same = [{"conv1_filters": 7}, {"c_output_units": 99}, {"dropout": 0.7}, {"batch_size": 3}]
    others = [{"dropout": 0.0}, {"l2": 0.1}, {"pool_size": 3}, {"optimizer": "sgd"}]

    assert {key(**config) for config in same} == {key()}
    assert len({key(), key("bfloat16"), *(key(**config) for config in others)}) == 6


def test_other_heads_have_a_graph_of_their_own():
    spec, other = make_spec(), make_spec(NAMED_LIKE_LAYERS)

    assert elastic_key(spec, "float32") != elastic_key(other, "float32")


def test_a_precision_that_is_none_is_refused():
    with pytest.raises(InputError, match=r"precision needs to be one of .*, got 'float8'"):
        elastic_key(make_spec(), "float8")


def test_xla_compiles_it_for_one_width_after_the_other():
    small, wide = make_spec(), make_spec(conv2_filters=9, r_output_units=5)
    network = ElasticNetwork(small, "float32")
    images = make_data(small.heads).split("train").images[:16].astype("float32")

    def loss_of(outputs):
        return tf.add_n([tf.reduce_sum(tf.square(one)) for one in outputs.values()])

    step = tf.function(
        lambda: network.forward.gradients(images, loss_of), autograph=False, jit_compile=True
    )

    for spec in (small, wide, small):
        network.start(spec, 1)
        loss, gradients = step()
        expected = Plain(build_model(spec.model, seed=1)).gradients(images, loss_of)
        assert float(loss) == pytest.approx(float(expected[0]), rel=1e-3)
        for gradient, wanted in zip(gradients, expected[1], strict=True):
            np.testing.assert_allclose(gradient, wanted, rtol=1e-2, atol=1e-3)
    assert step.experimental_get_tracing_count() == 1
