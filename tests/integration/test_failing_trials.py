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


TRYING = """

def trying():
    import traceback
    return any("try_models" in frame.filename for frame in traceback.extract_stack())
"""


def failing_study(tmp_path, model, **changes):
    seen = rectangles(40)
    options = {"resources": {"concurrent": 1}, "budget": {"trials": 3, "epochs": 2}}
    return search.Study(
        name="failing",
        data=save(tmp_path / "data.parquet", image=seen.encoded, n=seen.fractions[:, 0]),
        heads={"n": {"kind": "regression"}},
        model=model,
        module_folder=str(tmp_path),
        reference=False,
        storage=str(tmp_path / "studies"),
        **{**options, **changes},
    )


def test_trials_fail_with_their_reason_and_the_others_go_on_but_no_hopeless_study_begins(tmp_path):
    (tmp_path / "failing.py").write_text(MODEL)
    study = failing_study(tmp_path, "failing:build", space=SPACE, start_with=FIRST)
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


def test_a_study_whose_trials_all_fail_alike_is_paused_and_goes_on_when_it_is_mended(tmp_path):
    own = tmp_path / "own.py"
    own.write_text(MODEL.replace("if filters == 16:", "if not trying():") + TRYING)
    failing = failing_study(
        tmp_path,
        "own:build",
        space={"filters": {"int": [2, 12]}},
        budget={"trials": 5, "epochs": 2},
        resources={"concurrent": 2},
    )

    with pytest.raises(search.SearchError, match=r"3 trials .* failed in the same way") as told:
        search.run(failing)
    paused = search.load(failing.folder)
    assert paused.state == "interrupted"
    assert [trial.state for trial in paused.trials].count("failed") == 3
    assert {trial.num_epochs for trial in paused.trials} == {0}
    assert f"the whole traceback is in {failing.folder}/failures/" in str(told.value)

    own.write_text(MODEL)
    mended = search.run(failing, retry_failed=True)
    assert [trial.state for trial in mended.trials] == ["complete"] * 5
