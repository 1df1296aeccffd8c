"""The default sampler and scheduler on a real Ray: stopped trials are taken up again."""

import json
import signal

import pytest

from search.results.load import load
from tests import stub_run
from tests.driven_study import Driver
from tests.processes import kill_all, tagged
from tests.stub_study import num_ends, stub_study, table, trials_of

pytestmark = pytest.mark.slow

LATE = (0.001, 0.002)
"""Learning rates that lead to the best losses, and hardly to any before the first rung."""
RATES = (0.0003, *LATE, 0.004, 0.02, 0.05)
STUDY = {
    "space": {
        "batch_size": 4,
        "conv1_filters": {"choice": [4, 8, 16]},
        "learning_rate": {"choice": list(RATES)},
        "pool_size": 2,
    },
    "budget": {"trials": 17, "epochs": 6},
    "sampler": "ehvi",
    "scheduler": "pareto_asha",
    "seed": 0,
    "start_with": [{"conv1_filters": 8, "learning_rate": LATE[1]}],
}


@pytest.fixture(name="drive")
def drivers():
    made = []

    def drive(storage, *options):
        late = {repr(rate): {"kind": "late", "at": 3} for rate in LATE}
        storage.mkdir(exist_ok=True)
        (storage / "faults.json").write_text(json.dumps(late))
        made.append(Driver(storage, STUDY, *options))
        return made[-1]

    yield drive
    for driver in made:
        kill_all(driver.tag)
        driver.process.wait()


def test_late_starters_are_taken_up_again_and_so_if_the_study_is_killed_and_resumed(
    drive, tmp_path
):
    undisturbed = drive(tmp_path / "undisturbed")
    assert undisturbed.wait() == 0, undisturbed.err
    expected = table(stub_study(tmp_path / "undisturbed", **STUDY))
    killed = drive(tmp_path / "killed", "--after", "attempted:1")
    assert killed.wait() == -signal.SIGKILL, killed.err
    assert tagged(killed.tag) == []

    resumed = drive(tmp_path / "killed")
    assert resumed.wait() == 0, resumed.err

    study = stub_study(tmp_path / "killed", **STUDY)
    trials = trials_of(study)
    assert table(study) == expected
    assert {trial.state for trial in trials} <= {"complete", "stopped"}
    ends = num_ends(study)
    again = [number for number, times in ends.items() if times > 1]
    assert again
    for number in again:
        assert trials[number].config["learning_rate"] in LATE
        assert (trials[number].state, len(trials[number].measurements)) == ("complete", 6)
    assert load(study.folder).best().number in again
    trained = stub_run.notes(tmp_path / "killed", "trained")
    assert len(trained) == sum(len(trial.measurements) for trial in trials)
