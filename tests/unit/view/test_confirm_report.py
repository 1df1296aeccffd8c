"""What is printed of a confirmation, and what `best` says of one."""

import json
import os
import shutil

import pytest

import search.view.confirmation as report
from search.cli.main import main
from search.errors import StudyWarning
from search.results.load import list_studies, load
from search.results.retrained import (
    confirmed_point,
    is_done,
    leading_points,
    read_confirmation,
    trainings_of,
)
from search.view.best import print_best
from search.view.json_form import best_to_dict, confirmation_to_dict
from tests.support.confirmed_study import confirmed, write_confirmation
from tests.support.finished_study import BASELINES, SPACE, write_study
from tests.support.printed import shown, squeezed

AGAIN = {
    (4, 1): (0.40, 0.0030),
    (1, 1): (0.30, 0.0040),
    (0, 1): (0.50, 0.0050),
    (4, 2): (0.42, 0.0032),
    (1, 2): "val_c_output_loss became NaN in epoch 2",
    (0, 2): (0.52, 0.0052),
}


@pytest.fixture(name="result", scope="module")
def confirmed_study(tmp_path_factory):
    result = load(write_study(tmp_path_factory.mktemp("finished")).folder)
    write_confirmation(result, points_of(result), AGAIN, tested=True)
    return result


def points_of(result, top=2):
    return leading_points(result, top=top, policy="geometric_mean", options={})


def read(result, seeds=(1, 2), top=2):
    return read_confirmation(
        result, points_of(result, top), seeds=seeds, policy="geometric_mean", options={}
    )


def test_the_table_shows_the_studys_figure_apart_from_those_of_the_fresh_seeds(result):
    lines = squeezed(shown(report.print_confirmation, read(result)))

    assert (
        lines[0]
        == "trial 4 keeps its lead: 30 % ahead of the reference trial (spread 1.2 %, 2 seeds)"
    )
    assert "rank was trial validation in the study again least .. most test, again" in lines
    assert "1 1 trial 4 @3 c_output accuracy 0.899 0.897 ± 0.0035 0.895 .. 0.900 -" in lines
    assert "c_output loss 0.402 0.41 ± 0.014 0.4 .. 0.42 0.42 ± 0.014" in lines
    assert "r_output IoU 0.844 0.845 ± 0.0071 0.840 .. 0.850 -" in lines
    assert "r_output loss 0.00312 0.0031 ± 0.00014 0.003 .. 0.0032 0.0031 ± 0.00014" in lines


def test_a_total_has_a_row_of_its_own_where_it_is_minimised(tmp_path):
    space = {**SPACE, "r_output_loss_weight": 10.0}
    result = load(write_study(tmp_path, space=space, objective="total").folder)
    write_confirmation(result, points_of(result), AGAIN, tested=True)

    found = read(result)
    lines = squeezed(shown(report.print_confirmation, found))

    assert lines[0] == "trial 4 leads after confirmation: trial 1 failed with 1 of 2 seeds"
    assert lines[1].startswith("trial 4 is 21 % ahead of the reference trial in the loss total")
    assert any("by geometric_mean of total (1 x c_output + 10 x r_output)" in x for x in lines)
    assert "total 0.4332 0.441 ± 0.016 0.43 .. 0.452 0.451 ± 0.016" in lines
    assert confirmation_to_dict(found)["objective"] == ["total"]


def test_a_failed_training_is_said_with_its_reason(result):
    lines = squeezed(shown(report.print_confirmation, read(result)))

    assert lines[-1] == "trial 1 with seed 2 failed: val_c_output_loss became NaN in epoch 2"


def test_the_parameters_that_differ_stand_side_by_side(result):
    lines = squeezed(shown(report.print_confirmation, read(result)))

    assert "config trial 4 reference trial 1" in lines
    assert "c_output_units 108 256 57" in lines
    assert not any(line.startswith("kernel_size") for line in lines)


@pytest.mark.parametrize("width", [80, 120])
def test_no_line_of_the_tables_is_wider_than_the_terminal(result, width):
    text = shown(report.print_confirmation, read(result), width=width).split("\n\n", 1)[1]

    lines = squeezed(text)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    assert any("c_output accuracy 0.899 0.897 ± 0.0035" in line for line in lines)
    assert any("reference @3" in line for line in lines)


def test_a_candidate_whose_trainings_all_failed_has_no_figures():
    found = confirmed((4, (0.1, 0.1), [None]), (1, (0.2, 0.2), [(0.2, 0.2)]))

    lines = squeezed(shown(report.print_confirmation, found))

    assert "2 1 trial 4 @3 c loss 0.1 failed" in lines


def test_best_mentions_the_confirmed_figures_in_one_line(result):
    lines = squeezed(shown(print_best, result, result.best()))
    values = best_to_dict(result, result.best())

    again = " ".join(lines[lines.index(next(x for x in lines if x.startswith("again"))) :][:2])
    assert again.startswith(
        "again c_output accuracy 0.897 ± 0.0035 (loss 0.41 ± 0.014), "
        "r_output IoU 0.845 ± 0.0071 (loss 0.0031 ± 0.00014) (2 fresh seeds)"
    )
    assert values["confirmed"]["losses"]["c_output"]["num"] == 2


def test_best_says_nothing_of_a_point_that_was_not_confirmed(result):
    other = next(point for point in result.points() if point.number == 5)

    assert "again" not in shown(print_best, result, other)
    assert best_to_dict(result, other)["confirmed"] is None


def test_best_is_there_whatever_became_of_the_record_of_its_confirmation(tmp_path):
    result = load(write_study(tmp_path).folder)
    write_confirmation(result, points_of(result), AGAIN)
    result.store.confirmation.put("study.json", b"garbled")

    with pytest.warns(StudyWarning, match="what confirms the point is left out"):
        assert confirmed_point(result, result.best()) is None
    with pytest.warns(StudyWarning, match="is damaged"):
        assert shown(print_best, result, result.best()).startswith("best: trial 4")


def test_a_confirmation_that_lost_what_it_is_of_is_said(tmp_path):
    result = load(write_study(tmp_path).folder)
    write_confirmation(result, points_of(result), AGAIN)
    result.store.confirmation.delete("study.json")

    with pytest.warns(StudyWarning, match=r"confirm/study.json is missing"):
        assert confirmed_point(result, result.best()) is None


def test_a_confirmation_is_no_study_of_its_own(result):
    storage = os.path.dirname(result.folder)

    assert list(list_studies(storage)) == [result.folder]


def test_what_is_recorded_is_found_again_after_the_study_has_moved(result, tmp_path):
    shutil.copytree(result.folder, tmp_path / "elsewhere" / "renamed")

    moved = load(str(tmp_path / "elsewhere" / "renamed"))

    assert read(moved).verdict == read(result).verdict
    assert is_done(moved.store.confirmation, trainings_of(points_of(moved), (1, 2)))


@pytest.mark.parametrize(
    ("seeds", "top", "closed"),
    [
        pytest.param((1, 2, 3), 2, "done", id="another_seed"),
        pytest.param((1, 2), 4, "done", id="another_point"),
        pytest.param((1, 2), 2, "interrupted", id="interrupted"),
        pytest.param((1, 2), 2, "", id="killed"),
    ],
)
def test_there_is_more_to_do_until_all_that_is_wanted_has_ended(tmp_path, seeds, top, closed):
    result = load(write_study(tmp_path).folder)
    write_confirmation(result, points_of(result), AGAIN, closed=closed)

    assert not is_done(result.store.confirmation, trainings_of(points_of(result, top), seeds))


def test_fewer_seeds_than_were_trained_are_taken_alone(result):
    found = read(result, seeds=(1,))

    assert found.leader.losses["c_output"].num == 1
    assert not any(one.failed for one in found.candidates)


def test_the_command_prints_what_is_there_without_ray(result, capsys):
    status = main(["confirm", result.folder, "--top", "2", "--json"])

    printed = capsys.readouterr()
    assert status == 0, printed.err
    assert json.loads(printed.out)["leader"] == 4


def test_baselines_are_those_of_the_study(result):
    assert read(result).baselines == BASELINES


def test_a_study_may_be_named_by_a_uri(result, capsys):
    assert main(["confirm", f"file://{result.folder}", "--top", "2"]) == 0
    assert capsys.readouterr().out.startswith("trial 4 keeps its lead")
