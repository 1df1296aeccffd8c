"""What `twohead clean` frees, what it leaves, and what `show` says of the disk."""

import pytest

from search.cli.main import main
from search.errors import StudyLocked
from search.record.ownership import claim
from search.results.kept import disk_use
from search.results.load import load
from search.results.points import kept_points
from search.running.clean import clean
from search.view.study import print_show
from tests.support.finished_study import write_study
from tests.support.printed import shown
from trainables.storage.store import Store

MIB = 2**20
COMPLETE, STOPPED, FAILED = (0, 1, 4), (2, 5), 3


def fill(folder):
    """Put files where a run leaves them: weights of 1 MiB, and states of 2 MiB."""
    store = Store(folder)
    for trial in load(folder).trials:
        newest = trial.measurements[-1]
        points = {one.checkpoint for one in kept_points(trial)}
        for one in {*points, newest.checkpoint}:
            store.put(f"{one}/manifest.json", b"{}")
            store.put(f"{one}/weights.npz", b"\0" * MIB)
        if trial.state != "failed":
            store.put(f"{newest.checkpoint}/training.npz", b"\0" * 2 * MIB)
    return store


@pytest.fixture(name="study")
def finished(tmp_path):
    study = write_study(tmp_path)
    fill(study.folder)
    return study


def paths(study, name):
    return {path for path in Store(study.folder).list("checkpoints") if path.endswith(name)}


def numbers_with(study, name):
    return tuple(sorted(int(path.split("/")[1]) for path in paths(study, name)))


def test_what_lies_on_the_disk_is_told_by_what_it_is_for(study):
    used = disk_use(load(study.folder))

    assert round(used.num_bytes / MIB) == 6 + 2 * 5
    assert (used.complete.numbers, used.complete.num_bytes) == (COMPLETE, 3 * 2 * MIB)
    assert (used.stopped.numbers, used.stopped.num_bytes) == (STOPPED, 2 * 2 * MIB)


@pytest.mark.parametrize(
    ("options", "left"), [({}, STOPPED), ({"stopped": True}, ())], ids=["complete", "stopped_too"]
)
def test_states_go_and_weights_stay(study, options, left):
    weights = paths(study, "weights.npz")
    before = load(study.folder).points()

    clean(study.folder, **options)

    assert numbers_with(study, "training.npz") == left
    assert paths(study, "weights.npz") == weights
    assert load(study.folder).points() == before
    used = disk_use(load(study.folder))
    assert (used.complete.numbers, used.stopped.numbers) == ((), left)


def test_of_a_last_epoch_that_no_policy_may_choose_nothing_stays(tmp_path):
    worse = write_study(tmp_path)  # trial 0: its last epoch is beaten by none, so one is added
    store = fill(worse.folder)
    beaten = "checkpoints/000000/000001-001-0001"
    store.put(f"{beaten}/weights.npz", b"\0" * MIB)

    clean(worse.folder)

    assert not store.exists(beaten)
    assert store.exists("checkpoints/000000/000001-001-0003/weights.npz")


def test_what_was_kept_in_one_file_goes_only_if_no_policy_may_choose_it(study):
    store = Store(study.folder)
    beaten, best = (f"checkpoints/000000/000001-001-000{epoch}" for epoch in (2, 3))
    for folder in (beaten, best):
        store.delete(folder)
        store.put(f"{folder}/state.npz", b"\0" * 3 * MIB)

    clean(study.folder)

    assert not store.exists(beaten)
    assert store.exists(f"{best}/state.npz")


def test_folders_of_the_users_own_are_left(study):
    mine = "checkpoints/000000/mine/training.npz"
    Store(study.folder).put(mine, b"mine")

    clean(study.folder, stopped=True)

    assert Store(study.folder).exists(mine)


def test_what_a_larger_budget_that_is_in_force_needs_is_left(tmp_path):
    study = write_study(tmp_path, budget={"trials": 6, "epochs": 5})
    fill(study.folder)

    assert disk_use(load(study.folder)).complete.numbers == ()
    clean(study.folder)

    assert numbers_with(study, "training.npz") == tuple(sorted(COMPLETE + STOPPED))


def test_a_study_that_is_run_is_not_cleaned(study):
    with claim(Store(study.folder)), pytest.raises(StudyLocked, match="is being run by"):
        clean(study.folder)

    assert numbers_with(study, "training.npz") == tuple(sorted(COMPLETE + STOPPED))


def test_the_command_says_what_it_frees_and_what_it_leaves(study, capsys):
    assert main(["clean", study.folder, "--dry-run"]) == 0
    dry = capsys.readouterr().out
    assert numbers_with(study, "training.npz") == tuple(sorted(COMPLETE + STOPPED))
    assert main(["clean", study.folder]) == 0
    done = capsys.readouterr().out

    assert dry.splitlines()[:2] == [
        "would free 6 MiB of 16 MiB in checkpoints",
        "  trials 0, 1, 4, complete: 6 MiB",
    ]
    assert done.splitlines()[0] == "freed 6 MiB of 16 MiB in checkpoints"
    kept = "kept: 4 MiB of trials 2, 5, stopped, which more trials may take up again"
    assert f"{kept} (`--stopped` frees it)" in done
    assert main(["clean", study.folder, "--stopped"]) == 0
    assert "trials 2, 5, stopped: 4 MiB" in capsys.readouterr().out
    assert main(["clean", study.folder]) == 0
    assert capsys.readouterr().out == "freed 0 MiB of 6 MiB in checkpoints\n"


def test_show_says_what_is_on_the_disk_and_what_can_be_freed(study):
    line = "disk     16 MiB in checkpoints, of it to go on from"
    assert f"{line} 6 MiB for 3 complete trials and 4 MiB for 2 stopped trials" in shown(
        print_show, load(study.folder)
    )
    clean(study.folder, stopped=True)
    assert "disk     6 MiB in checkpoints\n" in shown(print_show, load(study.folder))


def test_of_less_than_a_mebibyte_show_says_nothing(tmp_path):
    assert "disk " not in shown(print_show, load(write_study(tmp_path).folder))


def test_where_checkpoints_cannot_be_listed_show_shows_the_rest(study, tmp_path):
    folder = Store(study.folder).root / "checkpoints"
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")

    said = shown(print_show, load(study.folder))

    assert "disk     not known: cannot list " in said
    assert "front (" in said
