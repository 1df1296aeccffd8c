"""What `twohead confirm` refuses before it starts anything, and how it ends then."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import search
from search.cli.main import main
from search.errors import StorageError, StudyDiffers, StudyLocked
from search.record.ownership import claim
from search.results.load import load
from search.results.retrained import leading_points
from tests.support.confirmed_study import write_confirmation
from tests.support.finished_study import Script, make_study, write_study
from trainables.data.digits import write_digits
from trainables.storage.store import Store
from trainables.storage.study_folder import StudyFolder

FAILED = (Script("failed", ((0.1, 0.1),), "val_c_output_loss became NaN in epoch 2"),)
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(name="folder")
def finished(tmp_path):
    return write_study(tmp_path / "studies").folder


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        pytest.param(["--seeds", "0"], 2, "seeds needs a whole number", id="no_seed"),
        pytest.param(["--top", "101"], 2, "top needs a whole number", id="too_many_points"),
        pytest.param(["--seeds", "two"], 2, "invalid int value", id="no_number"),
        pytest.param(["--policy", "sum"], 2, "policy needs to be one of", id="policy"),
        pytest.param(["--head", "x"], 2, "policy needs heads among", id="head"),
        pytest.param(["--exponents", "x"], 2, "--exponents needs heads", id="exponents"),
    ],
)
def test_bad_arguments_end_with_one_message(folder, capsys, arguments, status, message):
    assert main(["confirm", folder, *arguments]) == status

    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.out == ""


def test_a_folder_without_a_study_is_bad_input(tmp_path, capsys):
    assert main(["confirm", str(tmp_path)]) == 2
    assert "holds no study" in capsys.readouterr().err


def test_a_study_without_a_point_has_nothing_to_confirm(tmp_path, capsys):
    study = write_study(tmp_path, FAILED, tested=())

    assert main(["confirm", study.folder]) == 1
    assert "has no point to choose: 1 failed (first: trial 0" in capsys.readouterr().err


def test_a_study_that_is_being_run_is_not_confirmed(folder):
    with (
        claim(Store(folder)),
        pytest.raises(StudyLocked, match=r"'digits' is being run by process \d+ on .*; confirm"),
    ):
        search.confirm(folder, progress=False)


def test_a_study_cannot_be_run_while_it_is_held(folder):
    store = Store(folder)

    with claim(store), pytest.raises(StudyLocked, match="is being run by process"):
        claim(store)

    with claim(store) as ownership:
        assert ownership.generation == 3  # holding is claiming: it needs a lease as well


def test_a_damaged_study_is_refused(folder):
    Store(folder).put("study.json", b"garbled")

    with pytest.raises(StorageError, match=r"study\.json"):
        search.confirm(folder, progress=False)


def test_a_damaged_record_of_a_confirmation_is_refused(folder):
    result = load(folder)
    points = leading_points(result, top=3, policy="geometric_mean", options={})
    write_confirmation(result, points, {(4, 1): (0.4, 0.003)})
    result.store.confirmation.put("study.json", b"garbled")

    with pytest.raises(StorageError, match=r"confirm/study\.json"):
        search.confirm(folder, progress=False)


def test_another_data_set_than_the_studys_is_refused(tmp_path):
    data = write_digits(tmp_path / "digits.parquet", num=60, image_size=12)
    study = write_study(tmp_path / "studies", data=str(data))

    rule = r"the data set it began with, of fingerprint ffffffffffff, .* has fingerprint \w{12}\."
    with pytest.raises(StudyDiffers, match=rule):
        search.confirm(study.folder, progress=False)

    assert not StudyFolder(study.folder).confirmation.exists("study.json")


def test_data_that_are_gone_are_bad_input(tmp_path, capsys):
    study = write_study(tmp_path, data=str(tmp_path / "gone.parquet"))

    assert main(["confirm", study.folder]) == 2
    assert "gone.parquet" in capsys.readouterr().err


@pytest.mark.slow
def test_what_is_refused_and_what_is_only_read_loads_neither_ray_nor_a_framework(tmp_path):
    folder = write_study(tmp_path).folder
    result = load(folder)
    points = leading_points(result, top=1, policy="geometric_mean", options={})
    again = {(number, 1): (0.4, 0.004) for number in (4, 0)}
    write_confirmation(result, points, again)
    code = (
        "import json, sys\nfrom search.cli.main import main\n"
        f"assert main(['confirm', {folder!r}, '--seeds', '0']) == 2\n"
        f"assert main(['confirm', {folder!r}, '--seeds', '1', '--top', '1']) == 0\n"
        "print(json.dumps(sorted({'ray', 'tensorflow', 'optuna'} & set(sys.modules))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []


def test_the_seed_of_the_study_is_never_among_the_fresh_ones(tmp_path):
    result = load(write_study(tmp_path, seed=5).folder)
    points = leading_points(result, top=1, policy="geometric_mean", options={})
    write_confirmation(result, points, {(n, s): (0.4, 0.004) for n in (4, 0) for s in (6, 7)})

    assert make_study(tmp_path, seed=5).seed == 5
    assert search.confirm(result.folder, top=1, progress=False).seeds == (6, 7)
