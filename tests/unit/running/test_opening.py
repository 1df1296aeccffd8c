"""What is already there of a study, and whether there is anything left to do."""

from dataclasses import replace

import pytest

from search.errors import StudyDiffers
from search.record.log import StudyLog
from search.record.ownership import claim
from search.running.resume import is_done, stored_study
from tests.support.finished_study import TRIALS, Script, make_study, write_study
from trainables.storage.store import Store

CUT = (*TRIALS[:-1], replace(TRIALS[-1], state="interrupted"))


@pytest.mark.parametrize(
    ("trials", "closed", "budget", "done"),
    [
        pytest.param(TRIALS, "done", {}, True, id="done"),
        pytest.param(TRIALS, "interrupted", {}, False, id="interrupted"),
        pytest.param(TRIALS, "", {}, False, id="killed_before_the_test_figures"),
        pytest.param(TRIALS, "done", {"trials": 9}, False, id="more_trials"),
        pytest.param(TRIALS, "done", {"epochs": 4}, False, id="more_epochs"),
        pytest.param(TRIALS, "done", {"hours": 2.0}, True, id="hours_that_were_not_needed"),
        pytest.param(CUT, "done", {}, True, id="hours_over"),
        pytest.param(CUT, "done", {"hours": 2.0}, False, id="other_hours"),
        pytest.param(TRIALS[:3], "done", {"hours": 2.0}, False, id="other_hours_numbers_left"),
    ],
)
def test_a_study_is_done_if_it_was_closed_in_order_under_this_budget(
    tmp_path, trials, closed, budget, done
):
    study = write_study(tmp_path, trials, closed=closed, tested=())

    assert is_done(study.with_budget(**budget)) is done


def test_a_study_that_was_taken_over_since_is_not_done(tmp_path):
    study = write_study(tmp_path)
    store = Store(study.folder)
    with claim(store) as ownership:
        StudyLog.open_for_writing(store, ownership)

    assert not is_done(study)


def test_of_a_new_study_nothing_is_there(tmp_path):
    assert stored_study(make_study(tmp_path)) is None


def test_a_study_with_other_settings_is_refused_with_the_keys_that_differ(tmp_path):
    write_study(tmp_path, (Script("complete", ((1.0, 0.01),)),), tested=())

    with pytest.raises(StudyDiffers, match="seed: 0 there, 7 now"):
        stored_study(make_study(tmp_path, seed=7))
