"""Golden studies are taken up and finished by the code at hand, as they were by that of then."""

import json
import shutil

import pytest

from tests.driven_study import Driver
from tests.golden.files import NEUTRAL, OUTPUTS, STUDIES, answer, replace
from tests.golden.make import CONTINUED, FAULTS
from tests.processes import kill_all
from tests.stub_study import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(name="drive")
def drivers():
    made = []

    def drive(*given):
        made.append(Driver(*given))
        return made[-1]

    yield drive
    for driver in made:
        kill_all(driver.tag)
        driver.process.wait()


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


def test_an_interrupted_golden_study_is_finished_as_it_was(drive, tmp_path):
    folder = shutil.copytree(STUDIES / "interrupted", tmp_path / "stub")
    shutil.copy(STUDIES / "interrupted.parquet", tmp_path / "data.parquet")
    replace(folder, {f"{NEUTRAL}/code": ROOT, f"{NEUTRAL}/studies": str(tmp_path)})
    (tmp_path / "faults.json").write_text(json.dumps(FAULTS))

    driver = drive(tmp_path, CONTINUED)

    assert driver.wait() == 0, driver.err
    expected = results_of((OUTPUTS / "resumed" / "show.json").read_text())
    assert results_of(answer(["show", str(folder), "--json"], tmp_path)) == expected
    assert any(trial["taken_up_after"] for trial in expected)
