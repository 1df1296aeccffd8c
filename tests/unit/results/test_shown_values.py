"""What `repr` gives of the values of the Python API: one line, in the field's words."""

from collections import UserDict
from dataclasses import replace

import pytest
from msgspec import structs

import search
from search.record.reader import StudyReader
from search.results.confirmation import Candidate, spread_of
from search.results.retrained import leading_points, read_confirmation
from tests.support.confirmed_study import write_confirmation
from tests.support.finished_study import write_study

AGAIN = {(4, 1): (0.40, 0.0030), (0, 1): (0.50, 0.0050), (4, 2): (0.42, 0.0032), (0, 2): "no"}


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return search.load(write_study(tmp_path_factory.mktemp("finished")).folder)


def test_a_study_shows_its_heads_and_its_budget(result):
    assert repr(result.study) == (
        "<Study 'digits': c_output (classification), r_output (box); 6 trials x 3 epochs; "
        "ehvi, pareto_asha>"
    )


def test_a_result_shows_where_it_stands_and_its_best_and_reads_no_file(result, monkeypatch):
    monkeypatch.setattr(StudyReader, "read", None)

    assert repr(result) == (
        "<StudyResult 'digits': finished, 6 trials of 6, best trial 4 after 3 epochs: "
        "c_output accuracy 0.899 (loss 0.402), r_output IoU 0.844 (loss 0.00312)>"
    )
    assert "finished" in repr([result])


def test_a_result_without_a_point_shows_where_it_stands(tmp_path):
    empty = search.load(write_study(tmp_path, (), tested=(), closed="").folder)

    assert repr(empty) == "<StudyResult 'digits': not begun, 0 trials of 6>"


def test_trials_points_and_figures_show_their_figures(result):
    best = result.best()

    assert repr(result.trials[2]) == (
        "<TrialRecord 2: stopped, 1 epoch, last c_output accuracy 0.525 (loss 1.9), "
        "r_output IoU -0.050 (loss 0.021)>"
    )
    assert repr(result.trials[3]).startswith(
        "<TrialRecord 3: failed, 1 epoch, val_c_output_loss became NaN in epoch 2, last c_output"
    )
    assert repr(best) == (
        "<Point trial 4 after 3 epochs: c_output accuracy 0.899 (loss 0.402), "
        "r_output IoU 0.844 (loss 0.00312)>"
    )
    assert repr(result.reference()).startswith("<Point trial 0 (reference) after 3 epochs: ")
    assert repr(best.test) == (
        "<Tested c_output accuracy 0.910 (loss 0.47), r_output IoU 0.801 (loss 0.0035)>"
    )


def test_a_confirmation_shows_its_verdict_and_a_candidate_what_fresh_seeds_gave(tmp_path):
    result = search.load(write_study(tmp_path).folder)
    points = leading_points(result, top=1, policy="geometric_mean", options={})
    write_confirmation(result, points, AGAIN)
    found = read_confirmation(result, points, seeds=(1, 2), policy="geometric_mean", options={})

    assert repr(found) == (
        "<Confirmation 'digits': trial 4 keeps its lead: the reference trial failed with "
        "1 of 2 seeds>"
    )
    assert repr(found.leader) == (
        "<Candidate trial 4 after 3 epochs, was 1: c_output accuracy 0.897 ± 0.0035 "
        "(loss 0.41 ± 0.014), r_output IoU 0.845 ± 0.0071 (loss 0.0031 ± 0.00014) "
        "(2 fresh seeds)>"
    )
    assert repr(found.candidates[1].repeats[2]) == (
        "<TrialRecord 3 (reference): failed, 0 epochs, no>"
    )
    assert repr(spread_of([0.4, 0.42])) == "<Spread 0.41 ± 0.014 (0.4 .. 0.42, 2 seeds)>"


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda result: replace(result.best(), losses={"c": "x"}), id="no_number"),
        pytest.param(
            lambda result: structs.replace(result.trials[0], measurements=(3,)), id="no_epoch"
        ),
        pytest.param(
            lambda result: structs.replace(result.best().test, losses=None), id="nothing"
        ),
        pytest.param(
            lambda result: Candidate(point=result.best(), was=1, repeats={1: "x"}), id="text"
        ),
    ],
)
def test_a_value_that_is_broken_is_shown_all_the_same(make, result):
    shown = repr(make(result))

    assert shown.startswith("<")
    assert shown.endswith("Error)>")


def test_hostile_names_and_long_ones_are_shown_in_one_clean_line(result):
    figures = UserDict({f"head\x1b[2J\n{number}": 0.5 for number in range(200)})

    shown = repr(replace(result.best(), losses=figures, metrics={}))

    assert "\x1b" not in shown
    assert "\n" not in shown
    assert len(shown) < 350
