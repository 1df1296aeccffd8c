"""Drivers that are killed with their whole Ray, interrupted, or too late; and what follows."""

import os
import signal
from functools import partial

import pytest

from search.results.load import load
from tests.support import stub_run
from tests.support.driven_study import Driver, kill_at
from tests.support.processes import kill_all, tagged
from tests.support.stub_study import (
    num_ends,
    numbered,
    rate_of,
    stub_study,
    table,
    trials_of,
    write_faults,
)

pytestmark = pytest.mark.slow

STUDY = {"budget": {"trials": 5, "epochs": 4}, "reference": True}


@pytest.fixture(name="undisturbed", scope="module")
def undisturbed_study(tmp_path_factory):
    storage = tmp_path_factory.mktemp("undisturbed")
    driver = Driver(storage, STUDY)
    assert driver.wait() == 0, driver.err
    driver.assert_nothing_is_left()
    return table(stub_study(storage, **STUDY))


KILLS = ("asked:1", "attempted:1", "trained:2", "stopped:1", "closed:1")
"""As for `kill_at`; `test_conductor_crashes` cuts before every write, without a Ray."""


def test_a_study_killed_again_and_again_ends_with_the_table_of_an_undisturbed_one(
    drive, undisturbed, tmp_path
):
    for place in KILLS:
        kill_at(partial(drive, tmp_path, STUDY), tmp_path, place)

    driver = drive(tmp_path, STUDY)
    assert (driver.wait(), driver.out) == (0, "False 5\n"), driver.err

    study = stub_study(tmp_path, **STUDY)
    assert table(study) == undisturbed
    assert {"complete", "stopped"} == {trial.state for trial in trials_of(study)}
    assert num_ends(study) == dict.fromkeys(range(5), 1)
    assert not any(trial.releases for trial in trials_of(study))
    trained = stub_run.notes(tmp_path, "trained")
    assert len(trained) - len(set(trained)) <= len(KILLS)


SLOW = {"scheduler": "fifo", **numbered(3), "resources": {"concurrent": 2}}


def test_a_study_that_is_interrupted_in_a_long_epoch_ends_at_once_and_can_be_resumed(
    drive, tmp_path
):
    study = stub_study(tmp_path, **SLOW)
    write_faults(tmp_path, {n: {"kind": "slow", "at": 2, "seconds": 900} for n in (1, 2)})

    # As Ctrl+C does: to every process of the terminal.
    first = drive(tmp_path, SLOW)
    first.wait_for(lambda: len(stub_run.notes(tmp_path, "slow")) == 2)
    late = drive(tmp_path, SLOW)
    assert late.wait() == 1
    assert (
        f"StudyLocked: study {study.folder!r} is being run by process {first.process.pid} on"
        in late.err
    )
    os.killpg(first.process.pid, signal.SIGINT)
    assert first.wait() == 130, first.err
    first.assert_nothing_is_left()

    result = load(study.folder)
    assert [trial.state for trial in result.trials] == ["complete", "interrupted", "interrupted"]
    assert not result.is_running

    second = drive(tmp_path, SLOW)
    second.wait_for(lambda: len(stub_run.notes(tmp_path, "slow")) == 4)
    os.killpg(second.process.pid, signal.SIGTERM)  # as `timeout` does: Ray itself ends, too
    assert second.wait() == 130, second.err
    second.assert_nothing_is_left()

    (tmp_path / "faults.json").unlink()
    assert drive(tmp_path, SLOW).wait() == 0
    assert [trial.state for trial in load(study.folder).trials] == ["complete"] * 3
    assert sorted(stub_run.notes(tmp_path, "trained")) == sorted(
        f"{rate_of(number)} {epoch}" for number in range(3) for epoch in range(1, 5)
    )
    assert not any(trial.charged_failures for trial in trials_of(study))


@pytest.mark.parametrize(
    ("number", "num_processes"),
    [
        pytest.param(signal.SIGHUP, 1, id="before_ray"),
        pytest.param(signal.SIGTERM, 4, id="while_ray_starts"),
    ],
)
def test_a_signal_while_the_study_is_prepared_ends_it_and_leaves_no_process(
    drive, tmp_path, number, num_processes
):
    study = stub_study(tmp_path, **SLOW)
    driver = drive(tmp_path, SLOW)
    driver.wait_for(lambda: os.path.exists(f"{study.folder}/study.json"))
    driver.wait_for(lambda: len(tagged(driver.tag)) >= num_processes)

    driver.process.send_signal(number)

    assert driver.wait() == 130, driver.err
    driver.assert_nothing_is_left()
    assert load(study.folder).trials == ()


AT_ONCE = {"budget": {"trials": 8, "epochs": 4}, "reference": True, "resources": {"concurrent": 2}}


def test_a_study_killed_at_two_trials_at_once_keeps_all_and_repeats_nothing(drive, tmp_path):
    study = stub_study(tmp_path, **AT_ONCE)
    befores = []
    for num_epochs in (5, 14):
        killed = drive(tmp_path, AT_ONCE)
        killed.wait_for(lambda num=num_epochs: len(stub_run.notes(tmp_path, "trained")) >= num)
        kill_all(killed.tag)
        assert killed.wait() == -signal.SIGKILL, killed.err
        befores.append(trials_of(study))

    driver = drive(tmp_path, AT_ONCE)
    assert driver.wait() == 0, driver.err

    after = trials_of(study)
    assert [trial.number for trial in after] == list(range(8))
    assert len({tuple(trial.config.values()) for trial in after}) == 8
    assert {trial.state for trial in after} <= {"complete", "stopped"}
    assert num_ends(study) == dict.fromkeys(range(8), 1)
    assert not any(trial.charged_failures for trial in after)
    for before in befores:
        assert_kept(before, after)
    trained = stub_run.notes(tmp_path, "trained")
    assert len(trained) - len(set(trained)) <= 2 * len(befores)


def assert_kept(before, after):
    assert [trial.config for trial in after[: len(before)]] == [trial.config for trial in before]
    finished = [trial for trial in before if trial.has_ended]
    assert [after[trial.number] for trial in finished] == finished
    measured = {(trial.number, m.epoch): m for trial in after for m in trial.measurements}
    for trial in before:
        for one in trial.measurements:
            assert measured[trial.number, one.epoch].losses == one.losses
