"""Where the time of the slots went."""

import os

import pytest

from search.errors import StudyWarning
from search.results.usage import Usage, _write_run, read_runs, recorded
from trainables.storage.sealed_json import seal
from trainables.storage.store import Store

FIGURES = {
    "wall_seconds": 24.0,
    "slots": 2,
    "startup_seconds": 9.0,
    "idle_seconds": 1.0,
    "trials": 1,
    "trial_seconds": [[0, 1, 6.0]],
}


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_startup_and_idle_time_are_summed_over_the_slots():
    clock = Clock()
    usage = Usage(2, clock)
    usage.seen("a", 104.0)
    usage.seen("b", 106.0)
    usage.seen("a", 104.0)
    clock.now = 120.0
    usage.ended("a", 1, 1)
    clock.now = 127.0
    usage.ended("b", 2, 1)
    clock.now = 130.0

    assert usage.to_dict() == {
        "wall_seconds": 30.0,
        "slots": 2,
        "startup_seconds": 10.0,
        "idle_seconds": 13.0,
        "trials": 2,
        "trial_seconds": [[1, 1, 16.0], [2, 1, 21.0]],
    }


def test_a_trial_takes_its_slot_from_the_end_of_the_one_before_it_in_its_process():
    clock = Clock()
    usage = Usage(2, clock)
    usage.seen("a", 104.0)
    usage.seen("b", 105.0)
    for now, process, number, attempt in [(110, "a", 0, 1), (112, "b", 1, 2), (117, "a", 2, 1)]:
        clock.now = float(now)
        usage.ended(process, number, attempt)

    assert usage.to_dict()["trial_seconds"] == [[0, 1, 6.0], [1, 2, 7.0], [2, 1, 7.0]]


def test_a_slot_that_never_trained_only_started():
    clock = Clock()
    usage = Usage(2, clock)
    usage.seen("a", 104.0)
    clock.now = 130.0
    usage.ended("a", 3, 1)

    assert usage.to_dict()["startup_seconds"] == pytest.approx(34.0)


def test_processes_that_replaced_others_are_no_slots_of_their_own():
    clock = Clock()
    usage = Usage(1, clock)
    usage.seen("a", 104.0)
    clock.now = 110.0
    usage.ended("a", 4, 1)
    usage.seen("b", 112.0)
    clock.now = 120.0
    usage.ended("b", 5, 1)

    assert usage.to_dict()["startup_seconds"] == pytest.approx(4.0)
    assert usage.to_dict()["idle_seconds"] == pytest.approx(0.0)


def test_what_a_run_used_is_written_with_its_generation(tmp_path):
    store = Store(str(tmp_path))

    with recorded(Usage(1), store, 3):
        pass

    (figures,) = read_runs(store)
    assert figures["generation"] == 3
    assert figures["slots"] == 1


def sealed(**changes):
    return seal("run", {"generation": 2, **FIGURES, **changes})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        pytest.param(lambda path: path.write_bytes(b""), "its checksum does not fit", id="empty"),
        pytest.param(
            lambda path: path.write_bytes(path.read_bytes().replace(b"24.0", b"24.5")),
            "its checksum does not fit",
            id="altered",
        ),
        pytest.param(
            lambda path: path.write_bytes(sealed(slots="2")),
            "slots needs an integer >= 0, got '2'",
            id="no_figures",
        ),
        pytest.param(
            lambda path: path.write_bytes(sealed(wall_seconds=10**400)),
            r"Number out of range - at `\$\.wall_seconds`",
            id="larger_than_any_float",
        ),
        pytest.param(
            lambda path: path.rename(path.with_name("000007.json")),
            "runs/000007.json holds the figures of run 2",
            id="renamed",
        ),
        pytest.param(lambda path: (path.unlink(), os.mkfifo(path)), "it is a pipe", id="pipe"),
        pytest.param(
            lambda path: (path.unlink(), path.symlink_to("/etc/passwd")),
            "symbolic link",
            id="link",
        ),
        pytest.param(lambda path: (path.unlink(), path.mkdir()), "it is a folder", id="folder"),
    ],
)
def test_the_figures_of_a_damaged_run_are_left_out_with_a_warning(damage, message, tmp_path):
    store = Store(str(tmp_path))
    _write_run(store, 1, FIGURES)
    _write_run(store, 2, FIGURES)
    damage(tmp_path / "runs" / "000002.json")

    with pytest.warns(StudyWarning, match=message):
        runs = read_runs(store)

    assert runs == ({"generation": 1, **FIGURES},)


@pytest.mark.parametrize(
    "name", [".DS_Store", ".nfs0000a1", "Thumbs.db", "desktop.ini", "000001.json~", ".#x", "notes"]
)
def test_other_programs_files_among_the_runs_are_ignored(name, tmp_path):
    store = Store(str(tmp_path))
    _write_run(store, 1, FIGURES)
    (tmp_path / "runs" / name).write_bytes(b"")

    assert read_runs(store) == ({"generation": 1, **FIGURES},)


def test_what_ended_a_run_is_raised_even_if_its_usage_cannot_be_written(tmp_path):
    (tmp_path / "runs").write_text("in the way")
    store = Store(str(tmp_path))

    with pytest.raises(LookupError, match="the cause"), recorded(Usage(1), store, 1):
        raise LookupError("the cause")
    with pytest.raises(Exception, match="runs"), recorded(Usage(1), store, 1):
        pass
