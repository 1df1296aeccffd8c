"""Trials that fail: they say why, the others go on, and none of them is ever the best."""

from dataclasses import replace

import pytest

import search
from tests.support.image_sets import rectangles, save

pytestmark = pytest.mark.slow

MODEL = """
import keras


def build(*, image_shape, heads, filters):
    if filters == 16:
        raise RuntimeError("no room for\\n sixteen")
    images = keras.Input(image_shape)
    x = keras.layers.Flatten()(images)
    outputs = {head.name: keras.layers.Dense(head.units)(x) for head in heads}
    return keras.Model(images, outputs)
"""


SPACE = {
    "filters": {"choice": [8, 16]},
    "learning_rate": {"choice": [1e-8, 1e9]},
    "batch_size": 8,
    "optimizer": "sgd",
}
FIRST = [
    {"filters": 8, "learning_rate": 1e9},
    {"filters": 16, "learning_rate": 1e-8},
    {"filters": 8, "learning_rate": 1e-8},
]


def test_trials_fail_with_their_reason_and_the_others_go_on_but_no_hopeless_study_begins(tmp_path):
    (tmp_path / "failing.py").write_text(MODEL)
    seen = rectangles(40)
    study = search.Study(
        name="failing",
        data=save(tmp_path / "data.parquet", image=seen.encoded, n=seen.fractions[:, 0]),
        heads={"n": {"kind": "regression"}},
        model="failing:build",
        module_folder=str(tmp_path),
        space=SPACE,
        start_with=FIRST,
        budget={"trials": 3, "epochs": 2},
        resources={"concurrent": 1},
        reference=False,
        storage=str(tmp_path / "studies"),
    )
    hopeless = replace(study, space={**SPACE, "filters": 16}, start_with=())

    with pytest.raises(search.InputError, match=r"no room for sixteen \(.*failing.py:7\)"):
        search.run(hopeless)
    result = search.run(study)

    assert [trial.state for trial in result.trials] == ["failed", "failed", "complete"]
    no_number, raised, _ = (trial.reason for trial in result.trials)
    assert "became NaN" in no_number or "infinite" in no_number
    assert "RuntimeError: no room for sixteen" in raised
    assert "failing.py:7)" in raised
    assert result.best().number == 2
