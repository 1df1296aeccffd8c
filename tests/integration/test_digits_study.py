"""One small real study from data to model: the figures that were recorded are true."""

import json
import subprocess
import sys

import numpy as np
import pytest

import search
from trainables.data.dataset import open_dataset
from trainables.data.digits import write_digits
from trainables.spec.losses import sample_losses

pytestmark = pytest.mark.slow

HEADS = {"c_output": {"kind": "classification"}, "r_output": {"kind": "box"}}
SPACE = {
    "conv1_filters": {"choice": [4, 8]},
    "conv2_filters": 8,
    "c_output_units": {"int": [16, 32]},
    "r_output_units": 16,
    "r_output_loss_weight": {"float": [0.5, 2.0]},
    "learning_rate": {"float": [1e-3, 5e-3], "log": True},
    "dropout": {"float": [0.0, 0.3]},
    "batch_size": {"choice": [33, 50]},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return str(write_digits(tmp_path_factory.mktemp("data"), num=500, image_size=24, seed=3))


def small_study(data, storage, **changes):
    settings = {"reference": False, "budget": {"trials": 3, "epochs": 4}, "space": SPACE}
    settings["resources"] = {"concurrent": 1}
    return search.Study(
        name="small", data=data, heads=HEADS, storage=str(storage), **{**settings, **changes}
    )


@pytest.fixture(scope="module")
def result(data, tmp_path_factory):
    return search.run(small_study(data, tmp_path_factory.mktemp("studies")))


def rows_of(result, split):
    storage = result.study.storage
    return open_dataset(storage, result.prepared.data.fingerprint).split(split)


def test_every_point_has_the_losses_that_its_model_gives_on_the_validation_rows(result):
    rows = rows_of(result, "validation")

    for point in result.points():
        outputs = result.model(point).predict(rows.images, verbose=0)
        for head in result.prepared.data.heads:
            true = sample_losses(head, outputs[head.name], rows.labels[head.name]).mean()
            assert point.losses[head.name] == pytest.approx(true, rel=1e-4, abs=1e-6)


def test_the_best_point_has_its_figures_on_the_test_split(result):
    best = result.best()
    rows = rows_of(result, "test")
    outputs = result.model(best).predict(rows.images, verbose=0)

    for head in result.prepared.data.heads:
        true = sample_losses(head, outputs[head.name], rows.labels[head.name]).mean()
        assert best.test.losses[head.name] == pytest.approx(true, rel=1e-4, abs=1e-6)


def test_all_trials_ended_and_the_table_has_a_row_for_each_epoch(result):
    table = result.table()

    assert [trial.state in {"complete", "stopped"} for trial in result.trials] == [True] * 3
    assert table.num_rows == sum(trial.num_epochs for trial in result.trials)
    assert {"number", "epoch", "val_c_output_loss", "val_r_output_loss"} <= set(table.column_names)
    assert np.isfinite(table["val_r_output_loss"].to_numpy()).all()


def test_the_same_study_elsewhere_gives_the_same_configs_and_losses(data, tmp_path, result):
    first = result.table()
    second = search.run(small_study(data, tmp_path / "elsewhere")).table()

    timeless = [name for name in first.column_names if not name.startswith("seconds")]
    assert first.select(timeless).equals(second.select(timeless))


def test_best_from_the_command_is_the_best_from_python(result):
    command = [sys.executable, "-m", "search.cli.main", "best", result.folder, "--json"]
    answer = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)

    best = result.best()
    assert answer["config"] == best.config
    assert answer["losses"] == pytest.approx(best.losses)
    assert {"number", "epoch", "config", "losses", "metrics", "policy", "checkpoint"} <= set(
        answer
    )


def test_a_larger_budget_goes_on_where_the_study_ended(data, result):
    storage = result.study.storage
    longer = search.run(small_study(data, storage, budget={"trials": 4, "epochs": 5}))

    assert len(longer.trials) == 4
    assert {t.num_epochs for t in longer.trials if t.state == "complete"} == {5}
    assert longer.table().num_rows > result.table().num_rows


def test_other_settings_under_the_same_name_are_refused_with_the_keys(data, result):
    other = small_study(data, result.study.storage, seed=7)

    with pytest.raises(search.InputError, match=r"seed: 0 there, 7 now"):
        search.run(other)
