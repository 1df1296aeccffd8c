"""Golden studies are taken up and finished by the code at hand, as they were by that of then."""

import json
import shutil

import pytest

from tests.golden.files import NEUTRAL, OUTPUTS, STUDIES, answer, replace
from tests.golden.make import CONTINUED, FAULTS, LATE
from tests.support.stub_study import ROOT

pytestmark = pytest.mark.slow


def results_of(shown):
    """Return what trials gave: all but where and in how many seconds."""
    return [
        {
            **{key: trial[key] for key in ("number", "state", "origin", "config", "reason")},
            "taken_up_after": trial["taken_up_after"],
            "epochs": [(one["losses"], one["metrics"], one["loss"]) for one in trial["epochs"]],
        }
        for trial in json.loads(shown)["trials"]
    ]


@pytest.mark.parametrize("begins", ["anew", "where_it_was_killed"])
def test_a_golden_study_ends_as_it_did_and_late_starters_are_taken_up_again(
    begins, drive, tmp_path
):
    folder = tmp_path / "stub"
    if begins == "where_it_was_killed":
        shutil.copytree(STUDIES / "interrupted", folder)
        replace(folder, {f"{NEUTRAL}/code": ROOT, f"{NEUTRAL}/studies": str(tmp_path)})
    shutil.copy(STUDIES / "interrupted.parquet", tmp_path / "data.parquet")
    (tmp_path / "faults.json").write_text(json.dumps(FAULTS))

    driver = drive(tmp_path, CONTINUED)

    assert driver.wait() == 0, driver.err
    expected = results_of((OUTPUTS / "resumed" / "show.json").read_text())
    assert results_of(answer(["show", str(folder), "--json"], tmp_path)) == expected
    again = [trial["config"]["learning_rate"] for trial in expected if trial["taken_up_after"]]
    assert again
    assert set(again) <= set(LATE)
