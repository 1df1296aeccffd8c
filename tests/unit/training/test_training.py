"""One epoch: what is trained and what is recorded."""

import numpy as np
import pytest

from tests.support.trials import (
    BOX,
    CIOU,
    CLASSES,
    GIOU,
    NUMBER,
    NUMBERS,
    RICH,
    TWO,
    alone,
    figures,
    fresh,
    make_data,
    make_spec,
    model_of,
)
from trainables.model.backend import keras
from trainables.model.build import build_model
from trainables.model.state import load_weights
from trainables.spec.losses import iou, sample_losses
from trainables.training import keras_run as training
from trainables.training import program as compiled
from trainables.training.evaluation import evaluate_model
from trainables.training.keras_run import permutation

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def fresh_process():
    """Give every test a process that has kept nothing."""
    compiled._kept.clear()
    training._feeds.clear()


@pytest.mark.parametrize(
    ("heads", "shape", "rows"),
    [
        pytest.param((CLASSES, BOX), (17, 17, 1), (48, 32), id="grey_divides"),
        pytest.param((CLASSES, BOX), (17, 17, 1), (50, 37), id="grey"),
        pytest.param((TWO, GIOU), (12, 20, 3), (50, 37), id="colour_not_square"),
        pytest.param((CLASSES, CIOU, NUMBER), (17, 17, 1), (50, 37), id="three_heads"),
        pytest.param((NUMBERS,), (17, 17, 1), (48, 32), id="one_head_divides"),
    ],
)
def test_recorded_losses_are_what_numpy_computes_from_predict(heads, shape, rows, monkeypatch):
    monkeypatch.setattr("trainables.training.evaluation.LARGEST_BATCH", 16)
    data = make_data(heads, shape=shape, rows=rows)
    run = fresh(make_spec(heads, shape), data)

    result = run.run_epoch()

    split = data.split("validation")
    outputs = model_of(run).predict(split.images, verbose=0)
    expected = {
        h.name: sample_losses(h, outputs[h.name], split.labels[h.name]).mean() for h in heads
    }
    assert result.losses == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_metrics_are_what_numpy_computes_from_predict():
    heads = (CLASSES, BOX, NUMBERS)
    data = make_data(heads)
    data.split("validation").labels["c_output"][:] %= 2  # class 2 has no row
    run = fresh(make_spec(heads), data)

    result = run.run_epoch()

    split = data.split("validation")
    outputs = model_of(run).predict(split.images, verbose=0)
    right = outputs["c_output"].argmax(axis=1) == split.labels["c_output"]
    recalls = [right[split.labels["c_output"] == label].mean() for label in (0, 1)]
    assert result.metrics == pytest.approx(
        {
            "val_c_output_accuracy": right.mean(),
            "val_c_output_balanced_accuracy": np.mean(recalls),
            "val_r_output_iou": iou(outputs["r_output"], split.labels["r_output"]).mean(),
            "val_pose_mae": np.abs(outputs["pose"] - split.labels["pose"]).mean(),
        },
        rel=1e-5,
    )


def test_bfloat16_records_float32_losses_of_its_own_outputs():
    data = make_data((CLASSES, BOX))
    run = fresh(make_spec(), data, precision="bfloat16")

    result = run.run_epoch()

    split = data.split("validation")
    outputs = model_of(run).predict(split.images, verbose=0)
    expected = {
        h.name: sample_losses(h, outputs[h.name], split.labels[h.name]).mean()
        for h in (CLASSES, BOX)
    }
    assert result.losses == pytest.approx(expected, rel=2e-2)


def test_an_epoch_is_what_keras_own_fit_does_with_the_same_batches():
    spec = make_spec(r_output_loss_weight=3.0, l2=1e-2)
    data = make_data(spec.heads, rows=(48, 16))
    run = fresh(spec, data)
    model = build_model(spec.model, seed=3)
    model.compile(
        keras.optimizers.Adam(spec.learning_rate),
        {"c_output": "sparse_categorical_crossentropy", "r_output": "mse"},
        loss_weights={"c_output": 1.0, "r_output": 3.0},
    )

    result = run.run_epoch()

    rows, order = data.split("train"), permutation(48, seed=3, epoch=0)
    targets = {name: labels[order] for name, labels in rows.labels.items()}
    history = model.fit(
        rows.images[order].astype("float32"), targets, batch_size=16, shuffle=False, verbose=0
    )
    assert result.training_loss == pytest.approx(history.history["loss"][0], rel=1e-5)
    for ours, theirs in zip(model_of(run).variables, model.variables, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=2e-5)


def test_the_training_loss_weighs_a_partial_batch_by_its_rows():
    spec = make_spec(learning_rate=1e-30, batch_size=32, c_output_loss_weight=2.0)
    data = make_data(spec.heads, rows=(33, 4))
    run = fresh(spec, data)

    result = run.run_epoch()

    split = data.split("train")
    losses, _ = evaluate_model(model_of(run), spec.heads, split)
    assert result.training_loss == pytest.approx(
        2.0 * losses["c_output"] + losses["r_output"], rel=1e-5
    )


def test_partial_last_batches_are_trained_on():
    spec = make_spec(batch_size=32)
    run = fresh(spec, make_data(spec.heads, rows=(33, 4)))

    run.run_epoch()

    assert int(run.state()["optimizer/0000/variable"]) == 2


def test_regularisation_dropout_and_batch_norm_take_part():
    data = make_data((CLASSES, BOX))
    plain = fresh(make_spec(), data).run_epoch()
    losses = {plain.training_loss}

    for name, value in RICH.items():
        run = fresh(make_spec(**{name: value}), data)
        before = run.state()
        losses.add(run.run_epoch().training_loss)
        moved = {
            n.split("/")[-1] for n, a in run.state().items() if not np.array_equal(a, before[n])
        }
        expected = {"dropout": "seed_generator_state", "batch_norm": "moving_mean"}
        assert expected.get(name, "kernel") in moved

    assert len(losses) == 4


def test_a_loss_that_is_not_finite_is_returned():
    spec = make_spec(learning_rate=1e30, optimizer="sgd")

    run = fresh(spec, make_data(spec.heads))
    results = [run.run_epoch() for _ in range(2)]

    assert not np.isfinite(results[-1].training_loss)
    assert not np.isfinite(results[-1].losses["c_output"])


def test_weights_of_a_state_make_the_same_model():
    spec = make_spec(**RICH)
    data = make_data(spec.heads)
    run = fresh(spec, data)
    result = run.run_epoch()
    model = build_model(spec.model, seed=77)

    load_weights(model, run.state())
    losses, metrics = evaluate_model(model, spec.heads, data.split("validation"))

    assert losses == pytest.approx(result.losses, rel=1e-6)
    assert {f"val_{name}" for name in metrics} == set(result.metrics)


def test_the_order_of_rows_depends_on_seed_and_epoch_only():
    orders = [permutation(100, seed=seed, epoch=epoch) for seed, epoch in ((0, 0), (0, 1), (1, 0))]

    assert all(sorted(order) == list(range(100)) for order in orders)
    assert len({order.tobytes() for order in orders}) == 3
    assert permutation(6, seed=0, epoch=0).tolist() == [0, 5, 1, 2, 4, 3]


def test_compiled_steps_also_run_under_xla(monkeypatch):
    data = make_data((CLASSES, BOX))
    spec = make_spec(**RICH)
    plain = alone(spec, 2)[0]
    monkeypatch.setattr(compiled, "visible_gpus", lambda: 1)

    jitted = figures(fresh(spec, data), 1)

    assert jitted[0][0] == pytest.approx(plain[0][0], rel=0.02)
