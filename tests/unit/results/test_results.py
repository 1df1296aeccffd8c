"""What a finished study answers: points, front, best, table."""

import math
import re
import sys
import types
from types import SimpleNamespace

import pytest

import search
from search.errors import InputError, NoCandidate
from search.results.load import list_studies, load
from search.results.result import _study_table
from search.study.study import Study
from tests.support.finished_study import SPACE, Script, make_study, write_study
from trainables.model.signature import BoxForm


@pytest.fixture
def result(tmp_path):
    return load(write_study(tmp_path).folder)


def of(result, number):
    return {point.epoch: point for point in result.points() if point.number == number}


def test_points_are_those_whose_weights_are_kept_and_none_of_a_failed_trial(tmp_path):
    trials = (
        Script(
            "complete", ((1.0, 0.01), (0.5, 0.02), (0.6, 0.03))
        ),  # the last beaten by the second
        Script("failed", ((0.1, 0.001),), "val_c_output_loss became NaN in epoch 2"),
        Script("stopped", ((0.9, 0.02),)),
    )
    result = load(write_study(tmp_path, trials, tested=()).folder)

    assert [(p.number, p.epoch) for p in result.points()] == [(0, 1), (0, 2), (2, 1)]


def test_the_front_holds_what_no_other_point_beats_by_the_first_head(result):
    front = [(p.number, p.epoch) for p in result.pareto()]

    assert front == [(1, 3), (4, 3)]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param({}, (4, 3), id="default"),
        pytest.param({"head": "c_output"}, (1, 3), id="one_head"),
        pytest.param({"policy": "head", "head": "r_output"}, (4, 3), id="head_by_name"),
        pytest.param({"exponents": {"c_output": 9.0}}, (1, 3), id="exponents"),
    ],
)
def test_best_is_what_the_policy_picks_from_the_front(result, options, expected):
    best = result.best(**options)

    assert (best.number, best.epoch) == expected


def test_best_tells_policy_losses_metrics_and_what_others_would_choose(result):
    best = result.best()

    assert best.policy == "geometric_mean"
    assert best.losses == {"c_output": 0.402, "r_output": 0.00312}
    assert best.metrics["val_r_output_iou"] == pytest.approx(0.844)
    assert best.test.losses["c_output"] == pytest.approx(0.47)
    assert {name: (other.number, other.epoch) for name, other in best.others.items()} == {
        "ideal_point": (4, 3),
        "lexicographic": (1, 3),
        "head:c_output": (1, 3),
        "head:r_output": (4, 3),
    }
    assert best.others["lexicographic"].losses == {"c_output": 0.3121, "r_output": 0.00402}
    assert (best.state, best.is_reference) == ("complete", False)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        pytest.param(
            {},
            "smallest geometric mean of skills, 0.137: c_output 0.175, r_output 0.107 of",
            id="geometric_mean",
        ),
        pytest.param(
            {"exponents": {"c_output": 3}},
            "smallest geometric mean of skills with exponents c_output 3, r_output 1, 0.136: ",
            id="exponents",
        ),
        pytest.param(
            {"policy": "ideal_point"},
            "nearest in log skill to the best of every head at once: c_output 0.175, ",
            id="ideal_point",
        ),
        pytest.param(
            {"policy": "lexicographic"},
            "smallest r_output loss within 5 % of the best c_output: c_output 0.136, ",
            id="lexicographic",
        ),
        pytest.param({"head": "r_output"}, "smallest r_output loss: c_output 0.175, ", id="head"),
    ],
)
def test_best_says_in_words_why_this_point(result, options, why):
    assert result.best(**options).why.startswith(why)


def test_asked_with_exponents_it_also_tells_what_the_default_would_have_chosen(result):
    best = result.best(exponents={"c_output": 9.0})

    assert best.number == 1
    assert best.others["geometric_mean"].number == 4


def test_of_points_that_all_lose_to_a_constant_it_says_so(tmp_path):
    result = load(write_study(tmp_path, (Script("complete", ((3.0, 0.01),)),), tested=()).folder)

    assert result.best().why == (
        "at least as good as any other point on every head: c_output 1.3, r_output 0.344 "
        "of the baseline's loss; no point beats the best constant prediction on every head"
    )


def test_what_any_policy_chooses_is_worth_testing_once_and_so_is_the_reference(result):
    wanted = [(point.number, point.epoch) for point in result.points_to_test()]

    assert wanted == [(4, 3), (1, 3), (0, 3)]


def test_a_point_without_test_figures_is_measured_on_demand(result, monkeypatch):
    given = []
    measured = [({"c_output": 0.4, "r_output": 0.004}, {"c_output_accuracy": 0.9})]
    factory = types.SimpleNamespace(
        evaluate_points=lambda *arguments: given.append(arguments) or measured
    )
    monkeypatch.setitem(sys.modules, "trainables.trial.keras_factory", factory)
    monkeypatch.setattr("trainables.data.decode.is_decoded", lambda *_: True)
    point = result.best(head="c_output")

    tested = result.tested(point)

    assert point.test is None
    assert tested.test.losses == {"c_output": 0.4, "r_output": 0.004}
    [(folder, settings, points, split)] = given
    assert (folder, settings.cpu, split) == (result.folder, 1, "test")
    assert points == [result.to_restore(point)]
    assert result.tested(tested) is tested


@pytest.mark.parametrize("ask", ["to_restore", "tested"])
def test_a_model_is_asked_for_with_a_point(result, ask):
    with pytest.raises(InputError, match=r"needs a point, such as result.best\(\), got int"):
        getattr(result, ask)(4)


def test_the_signature_holds_classes_and_how_boxes_are_declared(tmp_path):
    pixels = {"kind": "box", "format": "cxcywh", "scale": "pixel"}
    heads = {"c_output": {"kind": "classification"}, "r_output": pixels}

    signature = load(write_study(tmp_path, heads=heads).folder).signature

    assert signature.image_shape == (32, 32, 1)
    assert [(head.name, head.units) for head in signature.heads] == [
        ("c_output", 10),
        ("r_output", 4),
    ]
    assert signature.box_form("r_output") == BoxForm(format="cxcywh", scale="pixel")


OBJECTIVES = Script(
    "complete",
    ((0.9, 0.0290), (0.7, 0.0020), (0.5, 0.0280)),
)
CONSTANT = {**SPACE, "c_output_loss_weight": 1.0, "r_output_loss_weight": 10.0}


@pytest.mark.parametrize(
    ("objective", "expected", "front"),
    [
        pytest.param("heads", (0, 2), [(0, 3), (0, 2)], id="heads"),
        pytest.param(["c_output"], (0, 3), [(0, 3)], id="one_head"),
        pytest.param(["r_output", "c_output"], (0, 2), [(0, 2), (0, 3)], id="in_another_order"),
        # 0.9 + 0.29, 0.7 + 0.02, 0.5 + 0.28
        pytest.param("total", (0, 2), [(0, 2)], id="total"),
    ],
)
def test_front_and_best_are_by_the_objective(objective, expected, front, tmp_path):
    study = write_study(tmp_path, (OBJECTIVES,), tested=(), space=CONSTANT, objective=objective)
    result = load(study.folder)

    best = result.best()

    assert (best.number, best.epoch) == expected
    assert [(point.number, point.epoch) for point in result.pareto()] == front
    assert set(best.losses) == {"c_output", "r_output"}


@pytest.mark.parametrize(
    ("objective", "head", "epoch"),
    [
        pytest.param(["c_output"], "r_output", 2, id="left_out"),
        pytest.param("total", "c_output", 3, id="of_a_total"),
    ],
)
def test_the_best_of_any_head_can_be_asked_for_whatever_the_objective(
    objective, head, epoch, tmp_path
):
    study = write_study(tmp_path, (OBJECTIVES,), tested=(), space=CONSTANT, objective=objective)
    result = load(study.folder)

    assert result.best(head=head).epoch == epoch
    assert result.best().others[f"head:{head}"].epoch == epoch


def test_of_a_total_it_says_that_it_is_the_smallest(tmp_path):
    study = write_study(tmp_path, (OBJECTIVES,), tested=(), space=CONSTANT, objective="total")

    # (0.7 + 10 * 0.002) / (2.302 + 10 * 0.0291)
    assert load(study.folder).best().why == "smallest total loss: 0.278 of the baseline's loss"


def test_a_study_recorded_before_there_were_objectives_minimises_every_head(tmp_path):
    study = make_study(tmp_path)
    recorded = study.to_dict()
    del recorded["objective"]

    before = Study.from_dict(recorded)

    assert before.objective == "heads"
    assert study.differences(before) == []


def test_the_reference_is_best_only_if_nothing_beats_it(tmp_path):
    trials = (
        Script("complete", ((0.5, 0.005),)),
        Script("complete", ((0.5, 0.005),)),
        Script("stopped", ((0.6, 0.006),)),
    )
    tied = load(write_study(tmp_path / "tied", trials, tested=()).folder)
    ahead = load(write_study(tmp_path / "ahead", (trials[0], trials[2]), tested=()).folder)

    assert tied.best().number == 1
    assert ahead.best().is_reference


def test_an_unknown_policy_or_head_is_refused_with_what_there_is(result):
    with pytest.raises(InputError, match=r"policy needs to be one of .*, got \['head'\]"):
        result.best(["head"])
    with pytest.raises(InputError, match=r"policy needs to be one of .*'geometric_mean'.*'sum'"):
        result.best("sum")
    with pytest.raises(InputError, match=r"heads among \['c_output', 'r_output'\], got \['x'\]"):
        result.best(head="x")


def test_without_a_candidate_the_message_counts_what_became_of_the_trials(tmp_path):
    trials = (
        Script("failed", (), "training loss became NaN in epoch 1"),
        Script("failed", ((math.nan, 0.1),), "val_c_output_loss became NaN in epoch 1"),
    )
    result = load(write_study(tmp_path, trials, tested=()).folder)

    message = "2 failed (first: trial 0, training loss became NaN in epoch 1)"
    with pytest.raises(NoCandidate, match=re.escape(message)):
        result.best()


def test_a_study_without_trials_has_nothing_to_choose(tmp_path):
    result = load(write_study(tmp_path, (), tested=()).folder)

    assert result.pareto() == ()
    with pytest.raises(NoCandidate, match="no trials yet"):
        result.best()


def test_the_table_has_a_row_per_trial_and_epoch_and_a_column_per_parameter(result):
    table = result.table()

    assert table.num_rows == sum(trial.num_epochs for trial in result.trials) == 13
    assert table.column_names[:4] == ["number", "epoch", "state", "is_reference"]
    assert {"learning_rate", "val_c_output_loss", "val_r_output_loss", "loss"} <= set(
        table.column_names
    )
    assert table["val_c_output_loss"].to_pylist()[:3] == [1.2, 0.8, 0.5034]
    assert table["seconds"].to_pylist()[0] == pytest.approx(2.17)


def test_trials_tell_state_reason_and_origin(result):
    states = [trial.state for trial in result.trials]

    assert states == ["complete", "complete", "stopped", "failed", "complete", "stopped"]
    assert result.trials[3].reason == "val_c_output_loss became NaN in epoch 2"
    assert [t.origin for t in result.trials[:2]] == ["reference", "sampler"]


def test_what_ran_for_nobody_was_interrupted(tmp_path):
    trials = (Script("complete", ((1.0, 0.01),)), Script("running", ((0.9, 0.009),)))
    result = load(write_study(tmp_path, trials, tested=(), closed="interrupted").folder)

    assert result.trials[1].state == "interrupted"
    assert not result.is_finished
    assert result.best().number == 1


def test_a_study_is_finished_when_every_number_of_its_budget_has_ended(tmp_path):
    short = load(write_study(tmp_path / "a", closed="", test_rows=0).folder)
    longer = write_study(tmp_path / "b", closed="", budget={"trials": 7, "epochs": 3})
    deeper = write_study(tmp_path / "c", closed="", budget={"trials": 6, "epochs": 4})

    assert short.is_finished
    assert not load(longer.folder).is_finished
    assert not load(deeper.folder).is_finished


@pytest.mark.parametrize(
    ("closed", "test_rows", "expected"),
    [
        pytest.param("interrupted", 500, False, id="interrupted"),
        pytest.param("", 500, False, id="killed"),
        pytest.param("", 0, True, id="no_test_split"),
        pytest.param("done", 500, True, id="ended_without_figures"),
    ],
)
def test_a_study_that_was_interrupted_while_the_test_split_was_measured_is_not_finished(
    tmp_path, closed, test_rows, expected
):
    study = write_study(tmp_path, tested=(0,), closed=closed, test_rows=test_rows)

    assert load(study.folder).is_finished == expected


def test_a_study_that_was_moved_is_read_where_it_lies(tmp_path):
    folder = write_study(tmp_path / "old").folder
    (tmp_path / "new").mkdir()
    moved = tmp_path / "new" / "renamed"
    (tmp_path / "old" / "digits").rename(moved)

    result = load(str(moved))

    assert not (tmp_path / "old" / "digits").exists()
    assert folder != result.study.folder == str(moved)


def test_a_folder_without_a_study_is_refused(tmp_path):
    with pytest.raises(search.InputError, match="no study"):
        load(str(tmp_path / "nothing"))


def test_studies_of_a_storage_are_listed_by_name(tmp_path):
    for name in ("b", "a"):
        write_study(tmp_path, name=name)

    assert [folder.rsplit("/", 1)[1] for folder in list_studies(str(tmp_path))] == ["a", "b"]


def trial_of(number, **config):
    measured = SimpleNamespace(
        epoch=1, losses={"n": 0.5}, metrics={}, loss=0.5, seconds={"train": 1.0}
    )
    return SimpleNamespace(
        number=number, state="complete", is_reference=False, config=config, measurements=[measured]
    )


def test_the_filters_of_a_block_that_a_config_does_not_have_are_null_beside_the_others():
    shallow = trial_of(0, num_conv_blocks=1, conv1_filters=8)
    deep = trial_of(1, num_conv_blocks=2, conv1_filters=8, conv2_filters=16)

    table = _study_table([shallow, deep], ["n"])

    assert table.column_names == [
        *("number", "epoch", "state", "is_reference"),
        *("num_conv_blocks", "conv1_filters", "conv2_filters"),
        *("val_n_loss", "loss", "seconds", "seconds_train"),
    ]
    assert table["conv2_filters"].to_pylist() == [None, 16]


def test_a_study_without_a_measurement_has_an_empty_table():
    assert _study_table([], ["n"]).num_columns == 0
