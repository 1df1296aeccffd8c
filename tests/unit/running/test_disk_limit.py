"""What a study says of the disk before its first trial, and when it does not begin."""

import pytest
from msgspec.structs import replace

from search.errors import StorageFull, StudyWarning
from search.results.load import load
from search.running import disk_limit
from search.running.disk_limit import largest_checkpoint, most_bytes, tell_disk
from search.running.plan import Plan
from search.study.objective import every_head
from tests.support.finished_study import BASELINES, make_prepared, make_study, write_study
from trainables.spec.footprint import Saved
from trainables.storage.store import Store

MIB = 2**20
SAVED = Saved(weights=10 * MIB, training=20 * MIB)


def plan(trials=4, epochs=3):
    return Plan(
        seed=0,
        trials=trials,
        epochs=epochs,
        baselines=BASELINES,
        objective=every_head(tuple(BASELINES)),
    )


def told(store, *given):
    lines = []
    tell_disk(store, *given, lines.append)
    return lines


@pytest.fixture(name="free")
def free_bytes(monkeypatch):
    def say(num_bytes):
        usage = type("Usage", (), {"free": num_bytes})
        monkeypatch.setattr(disk_limit.shutil, "disk_usage", lambda path: usage)

    return say


def test_it_is_the_weights_of_each_epoch_and_a_state_twice():
    assert most_bytes(9, SAVED) == (9 * 10 + 2 * 20) * MIB


def test_a_study_says_what_it_takes_at_most_and_what_is_free(tmp_path, free):
    free(500 * MIB)

    [line] = told(Store(tmp_path), plan(), (), SAVED)

    assert line == (
        "checkpoints take at most 280 MiB: 4 trials, up to 10 MiB an epoch and 40 MiB to go on "
        "from; 500 MiB are free"
    )


def test_it_warns_where_less_is_free(tmp_path, free):
    free(279 * MIB)

    with pytest.warns(StudyWarning, match="has 279 MiB free, less than the checkpoints may take"):
        [_, line] = told(Store(tmp_path), plan(), (), SAVED)

    assert line.startswith(f"warning: the disk of {tmp_path} has 279 MiB free")


def test_it_does_not_begin_without_room_for_one_trial(tmp_path, free):
    free(59 * MIB)

    with pytest.raises(StorageFull, match=r"of the largest model needs 60 MiB .* make room there"):
        told(Store(tmp_path), plan(), (), SAVED)


def test_what_has_ended_takes_no_more(tmp_path, free):
    free(10**12)
    trials = load(write_study(tmp_path).folder).trials

    assert told(Store(tmp_path), plan(trials=6, epochs=3), trials, SAVED) == []
    [line] = told(Store(tmp_path), plan(trials=7, epochs=4), trials, SAVED)
    assert "4 trials" in line  # the three complete ones go on, and one is new
    interrupted = (replace(trials[0], state="interrupted"), *trials[1:])
    [line] = told(Store(tmp_path), plan(trials=6, epochs=3), interrupted, SAVED)
    assert "1 trial," in line


def test_of_a_size_that_is_not_known_nothing_is_said(tmp_path):
    assert told(Store(tmp_path), plan(), (), Saved()) == []


def test_the_largest_is_the_largest_of_the_space_and_of_the_first_configs(tmp_path):
    study = make_study(tmp_path, reference=False)
    found = largest_checkpoint(study, make_prepared(study))

    # Filters of 64, pools of 2, adam, no padding: convolutions, then a dense layer of each head.
    flat = 6 * 6 * 64
    dense = sum((flat + 1) * units + (units + 1) * out for units, out in ((256, 10), (512, 4)))
    assert found.weights == 4 * ((9 + 1) * 64 + (9 * 64 + 1) * 64 + dense)
    assert found.training == 2 * found.weights
