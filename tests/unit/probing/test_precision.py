import math
from types import SimpleNamespace

import numpy as np
import pytest

from search.cluster.child_process import apart
from search.cluster.nodes import Failed
from search.errors import ClusterLost, InputError, SearchError
from search.running import prepare as precision
from trainables.probing.precision import _are_within_noise, blocks, fast_precision
from trainables.spec.heads import HeadSpec
from trainables.spec.parameters import reference_config
from trainables.spec.settings import StudySettings
from trainables.spec.trial import TrialSpec

HEADS = (
    HeadSpec(name="c_output", kind="classification", units=5),
    HeadSpec(name="r_output", kind="box", units=4),
    HeadSpec(name="sizes", kind="regression", units=6),
)
SETTINGS = StudySettings(study="s", storage="s", image_shape=(16, 16, 1), heads=HEADS)


@pytest.mark.parametrize(
    ("found", "others", "expected"),
    [
        pytest.param((1.05, 2.1), (1.0, 2.0), True, id="a_little_off"),
        pytest.param((1.0, 2.5), (1.0, 2.0), False, id="one_head_far_off"),
        pytest.param((1.0, 2.5), (1.0, 1.4), True, id="no_further_off_than_another_seed"),
        pytest.param((0.5, 2.0), (1.0, 2.0), False, id="much_better_is_as_suspicious"),
        pytest.param((math.nan, 2.0), (9.0, 2.0), False, id="not_a_number"),
        pytest.param((math.inf, 2.0), (math.inf, 2.0), False, id="infinite"),
    ],
)
def test_losses_are_as_good_if_they_differ_no_more_than_seeds_do(found, others, expected):
    def by_head(losses):
        return dict(zip(("c_output", "r_output"), losses, strict=True))

    assert _are_within_noise(by_head((1.0, 2.0)), by_head(found), by_head(others)) is expected


def test_what_is_trained_to_find_out_can_be_learnt_by_every_kind_of_head():
    spec = TrialSpec.from_config(reference_config(HEADS), image_shape=(16, 16, 1), heads=HEADS)

    rows = blocks(spec, {"train": 40}).split("train")

    assert (rows.images.dtype, len(rows.images)) == (np.uint8, 40)
    shapes = {name: labels.shape for name, labels in rows.labels.items()}
    num = len(rows.images)
    assert shapes == {"c_output": (num,), "r_output": (num, 4), "sizes": (num, 6)}
    assert set(np.unique(rows.labels["c_output"])) <= set(range(5))
    for image, (top, left, *_) in zip(rows.images, rows.labels["r_output"], strict=True):
        bright = np.argwhere(image[..., 0] >= 192)
        assert tuple(bright.min(axis=0)) == (int(top * 16), int(left * 16))


@pytest.mark.slow
def test_a_machine_gets_an_answer():
    with apart(fast_precision, reference_config(HEADS), SETTINGS, 1) as answer:
        assert answer() in {"float32", "bfloat16"}


def test_a_study_that_names_its_precision_tries_nothing(monkeypatch):
    monkeypatch.setattr(precision, "run_task", None)
    study = SimpleNamespace(precision="bfloat16")

    assert precision._precision_of(study, {}, {}, print) == "bfloat16"


@pytest.mark.parametrize("cpu", [2, "auto"])
def test_where_it_is_left_open_a_task_tries_it_with_a_trials_threads(monkeypatch, cpu):
    asked = []
    monkeypatch.setattr(precision, "run_task", lambda *task: asked.append(task) or "bfloat16")
    resources = SimpleNamespace(cpu=cpu, gpu=0)
    study = SimpleNamespace(precision="auto", resources=resources)
    said = []

    found = precision._precision_of(study, {"dropout": 0.1}, SETTINGS, said.append)

    assert found == "bfloat16"
    assert asked == [(fast_precision, {"dropout": 0.1}, SETTINGS, 2 if cpu == 2 else 1)]
    assert said == ["trying bfloat16 against float32", "training in bfloat16"]


def failing(error):
    def fail(*task):
        raise error

    return fail


CPU_STUDY = SimpleNamespace(precision="auto", resources=SimpleNamespace(cpu=1, gpu=0))


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        pytest.param(MemoryError("30 GB"), "out of memory: 30 GB", id="no_memory"),
        pytest.param(SearchError("its process was lost"), "its process was lost", id="killed"),
        pytest.param(InputError("n needs to be odd"), "n needs to be odd", id="cannot_be_built"),
    ],
)
def test_where_it_cannot_be_tried_a_study_trains_in_float32_and_says_why(
    monkeypatch, error, reason
):
    monkeypatch.setattr(precision, "run_task", failing(error))
    said = []

    assert precision._precision_of(CPU_STUDY, {}, SETTINGS, said.append) == "float32"
    assert said[1:] == [f"training in float32: bfloat16 could not be tried ({reason})"]


def test_a_ray_that_goes_away_meanwhile_ends_the_study(monkeypatch):
    monkeypatch.setattr(precision, "run_task", failing(ClusterLost("gone")))

    with pytest.raises(ClusterLost, match="gone"):
        precision._precision_of(CPU_STUDY, {}, SETTINGS, str)


@pytest.mark.slow
def test_what_cannot_be_trained_is_refused_by_name():
    config = {**reference_config(HEADS), "conv1_filters": 0}
    with (
        apart(fast_precision, config, SETTINGS, 1) as answer,
        pytest.raises(InputError, match="conv1_filters"),
    ):
        answer()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [("bfloat16", "bfloat16"), (Failed(reason="died"), "float32"), (None, "float32")],
    ids=["a_node_answers", "a_node_fails", "no_node_has_one"],
)
def test_where_trials_take_a_gpu_a_node_with_one_tries(monkeypatch, answer, expected):
    nodes = [SimpleNamespace(resources={"CPU": 4.0}), SimpleNamespace(resources={"GPU": 1.0})]
    there = nodes if answer is not None else nodes[:1]
    monkeypatch.setattr(precision, "living_nodes", lambda: there)
    monkeypatch.setattr(
        precision,
        "on_each_node",
        lambda *_, nodes, seconds: {id(node): answer for node in nodes},
    )
    study = SimpleNamespace(precision="auto", resources=SimpleNamespace(cpu=1, gpu=0.5))

    assert precision._precision_of(study, {}, SETTINGS, str) == expected


@pytest.mark.parametrize(
    ("is_ours", "resources", "expected"),
    [
        pytest.param(True, {"CPU": 4.0}, "bfloat16", id="trials_train_on_the_cpu"),
        pytest.param(True, {"CPU": 4.0, "GPU": 1.0}, "float32", id="trials_take_the_gpu"),
        pytest.param(False, {"CPU": 4.0}, "float32", id="nodes_with_a_gpu_may_come"),
    ],
)
def test_where_the_gpu_is_left_open_it_is_tried_where_trials_will_run(
    monkeypatch, is_ours, resources, expected
):
    node = SimpleNamespace(resources=resources)
    monkeypatch.setattr(precision, "living_nodes", lambda: [node])
    monkeypatch.setattr(precision, "is_on_ours", lambda: is_ours)
    monkeypatch.setattr(precision, "run_task", lambda *task: "bfloat16")
    monkeypatch.setattr(
        precision, "on_each_node", lambda *_, nodes, seconds: {id(one): "float32" for one in nodes}
    )
    study = SimpleNamespace(precision="auto", resources=SimpleNamespace(cpu=1, gpu="auto"))

    assert precision._precision_of(study, {}, SETTINGS, str) == expected
