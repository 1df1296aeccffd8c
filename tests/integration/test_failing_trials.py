"""Trials that fail: they say why, the others go on, and none of them is ever the best."""

import pytest
import ray

import search
from search.cluster.session import prepare_environment
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

TRYING = """

def trying():
    import traceback
    return any("try_models" in frame.filename for frame in traceback.extract_stack())
"""


@pytest.fixture(scope="module", autouse=True)
def one_ray():
    prepare_environment()
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture
def study(tmp_path):
    seen = rectangles(40)
    data = save(tmp_path / "data.parquet", image=seen.encoded, n=seen.fractions[:, 0])

    def make(**changes):
        settings = {"reference": False, "budget": {"trials": 3, "epochs": 2}}
        return search.Study(
            name="failing",
            data=data,
            heads={"n": {"kind": "regression"}},
            storage=str(tmp_path / "studies"),
            **{**settings, **changes},
        )

    return make


SMALL = {"conv1_filters": 4, "conv2_filters": 4, "n_units": 8, "batch_size": 8, "optimizer": "sgd"}


def test_a_trial_whose_loss_is_no_number_fails_and_the_others_go_on(study):
    rates = {"learning_rate": {"choice": [1e-3, 2e-3, 1e9]}}
    first = [{"learning_rate": 1e9}, {"learning_rate": 1e-3}]

    result = search.run(study(space={**SMALL, **rates}, start_with=first))

    assert [trial.state for trial in result.trials[:2]] == ["failed", "complete"]
    assert "became NaN" in result.trials[0].reason or "infinite" in result.trials[0].reason
    assert result.best().number > 0
    assert len(result.trials) == 3


def test_a_trial_whose_model_raises_fails_with_file_and_line(study, tmp_path):
    (tmp_path / "raising.py").write_text(MODEL)
    first = [{"filters": 16}, {"filters": 8}]

    result = search.run(
        study(
            model="raising:build",
            module_folder=str(tmp_path),
            space={"filters": {"choice": [8, 16]}},
            start_with=first,
        )
    )

    assert [trial.state for trial in result.trials[:2]] == ["failed", "complete"]
    assert "RuntimeError: no room for sixteen" in result.trials[0].reason
    assert "raising.py:7)" in result.trials[0].reason
    assert result.best().config["filters"] != 16


def test_a_study_of_failed_trials_has_no_best_and_says_why(study):
    result = search.run(study(space={**SMALL, "learning_rate": {"choice": [1e9, 2e9, 3e9]}}))

    assert {trial.state for trial in result.trials} == {"failed"}
    with pytest.raises(search.NoCandidate, match=r"3 failed \(first: trial 0, .* in epoch 1\)"):
        result.best()


def test_a_study_whose_trials_all_fail_alike_is_paused_and_goes_on_when_it_is_mended(
    study, tmp_path
):
    own = tmp_path / "own.py"
    own.write_text(MODEL.replace("if filters == 16:", "if not trying():") + TRYING)
    filters = {"filters": {"int": [2, 12]}}
    failing = study(
        model="own:build",
        module_folder=str(tmp_path),
        space=filters,
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


def test_a_model_that_can_never_be_built_is_refused_before_the_first_trial(study, tmp_path):
    (tmp_path / "never.py").write_text(MODEL)
    never = {"model": "never:build", "module_folder": str(tmp_path)}

    with pytest.raises(search.InputError, match=r"no room for sixteen \(.*never.py:7\)"):
        search.run(study(**never, space={"filters": 16}))

    mended = search.run(study(**never, space={"filters": 8}, budget={"trials": 1, "epochs": 1}))
    assert mended.trials[0].state == "complete"
