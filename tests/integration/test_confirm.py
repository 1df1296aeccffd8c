"""Leading points trained again on a real Ray: what is trained, what is kept, what survives."""

import json
import os
import shutil
import signal
from collections import Counter
from functools import partial

import pytest

import search
from search.record.reader import StudyReader
from search.running.confirm import confirm
from search.running.run import run
from tests.support import stub_run
from tests.support.driven_study import kill_at
from tests.support.stub_study import (
    numbered,
    ray_in_short_folder,
    stub_study,
    table,
    write_faults,
)
from trainables.spec.settings import StudySettings
from trainables.storage.study_folder import StudyFolder

pytestmark = pytest.mark.slow

FIVE = {**numbered(5), "scheduler": "fifo", "resources": {"concurrent": 2}}
FIVE |= {"budget": {"trials": 6, "epochs": 4}, "reference": True}


@pytest.fixture(name="original", scope="module")
def finished_study(tmp_path_factory):
    """Return the storage of a study that has ended; tests work on copies."""
    storage = tmp_path_factory.mktemp("original")
    with ray_in_short_folder():
        run(stub_study(storage, **FIVE), factory=stub_run.FACTORY)
        yield storage


@pytest.fixture(name="storage")
def copied(original, tmp_path):
    storage = tmp_path / "copy"
    shutil.copytree(original, storage)
    (storage / "trained").unlink()
    return storage


def confirmed(storage, **options):
    return confirm(str(storage / "stub"), factory=stub_run.FACTORY, **options)


def trained_again(storage):
    """Return how often each epoch was trained since the study had ended, by learning rate."""
    return Counter(stub_run.notes(storage, "trained"))


def expected(storage, point, seed):
    """Return the losses that a training of this config gives with this seed."""
    settings = StudySettings(study="", storage=str(storage / "apart"))
    training = stub_run.make(settings, dict(point.config), seed=seed, is_reference=False)
    return [training.run_epoch().losses for _ in range(point.epoch)][-1]


def test_each_leading_point_is_trained_to_its_epoch_with_every_fresh_seed(storage):
    study = search.load(str(storage / "stub"))
    before = table(study.study)

    found = confirmed(storage, seeds=2, top=3)

    assert found.seeds == (1, 2)
    assert sorted(one.was for one in found.candidates) == [1, 2, 3]
    assert found.first.point.number == study.best().number
    for candidate in found.candidates:
        assert [*candidate.repeats] == [1, 2]
        for seed, one in candidate.trained.items():
            assert one.losses == expected(storage, candidate.point, seed)
    epochs = sum(one.point.epoch for one in found.candidates)
    assert sum(trained_again(storage).values()) == 2 * epochs
    assert table(study.study) == before


CONFIRM = json.dumps({"seeds": 2, "top": 3})
KILLS = ("opened:1", "trained:3", "ended:3")
"""As for `kill_at`."""


@pytest.fixture(name="drive_confirm")
def drivers_that_confirm(drive):
    return lambda storage, *options: drive(storage, FIVE, "--confirm", CONFIRM, *options)


def figures(found):
    return [
        (one.point.number, seed, measured.losses)
        for one in found.candidates
        for seed, measured in one.trained.items()
    ]


def test_a_confirmation_killed_again_and_again_ends_as_an_undisturbed_one(
    drive_confirm, storage, tmp_path
):
    shutil.copytree(storage, tmp_path / "other")
    undisturbed = confirmed(tmp_path / "other", seeds=2, top=3)

    for place in KILLS:
        kill_at(partial(drive_confirm, storage), storage, place)
    driver = drive_confirm(storage)
    assert driver.wait() == 0, driver.err

    found = confirmed(storage, seeds=2, top=3)
    assert driver.out == f"{undisturbed.verdict}\n"
    assert figures(found) == figures(undisturbed)
    trials = StudyReader(StudyFolder(str(storage / "stub")).confirmation).read().trials
    assert len(trials) == 6
    repeated = trained_again(storage) - trained_again(tmp_path / "other")
    assert sum(repeated.values()) <= 2 * len(KILLS)


def test_an_interrupted_confirmation_ends_with_130_and_the_next_call_finishes_it(
    drive_confirm, storage
):
    best = search.load(str(storage / "stub")).best()
    slow = {"kind": "slow", "at": 2, "seconds": 900}
    faults = {repr(best.config["learning_rate"]): slow}
    (storage / "faults.json").write_text(json.dumps(faults))

    driver = drive_confirm(storage)
    driver.wait_for(lambda: len(stub_run.notes(storage, "slow")) >= 1)
    os.kill(driver.process.pid, signal.SIGINT)
    assert driver.wait() == 130, driver.err

    write_faults(storage, {})
    driver = drive_confirm(storage)
    assert driver.wait() == 0, driver.err
    assert "trial" in driver.out
