"""What was lost of a study is said: it is no new study, nor the same at an earlier moment."""

from pathlib import Path

import pytest

from search.loading import list_studies, load
from search.opening import stored_study
from tests.finished_study import write_study
from trainables.record import DamagedRecord


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(write_study(tmp_path).folder)


@pytest.mark.parametrize("num", [1, 2, 5])
def test_the_newest_decisions_are_missed_when_they_are_gone(num: int, folder: Path) -> None:
    newest = sorted((folder / "log").iterdir())[-num:]
    for segment in newest:
        segment.unlink()

    with pytest.raises(DamagedRecord, match=f"log/{newest[-1].name} is missing; restore it"):
        load(str(folder))


def test_a_log_that_is_gone_as_a_whole_is_no_study_without_trials(folder: Path) -> None:
    for segment in (folder / "log").iterdir():
        segment.unlink()

    with pytest.raises(DamagedRecord, match="log is missing; restore it"):
        load(str(folder))


def test_what_was_found_out_about_the_data_is_missed_when_it_is_gone(folder: Path) -> None:
    (folder / "prepared.json").unlink()

    with pytest.raises(DamagedRecord, match=r"prepared\.json is missing; restore it"):
        load(str(folder))


def test_trials_of_an_unknown_study_are_no_part_of_a_new_one(folder: Path, tmp_path: Path) -> None:
    study = load(str(folder)).study
    (folder / "study.json").unlink()

    with pytest.raises(DamagedRecord, match=r"study\.json is missing beside 6 trials"):
        stored_study(study)
    with pytest.raises(DamagedRecord, match=r"study\.json is missing beside its log"):
        load(str(folder))
    assert list(list_studies(str(tmp_path))) == [str(folder)]


def test_a_folder_that_has_a_log_of_something_else_is_no_study(tmp_path: Path) -> None:
    (tmp_path / "mlruns" / "log").mkdir(parents=True)
    (tmp_path / "mlruns" / "log" / "today.json").touch()

    assert not list(list_studies(str(tmp_path)))


def test_a_study_of_a_version_whose_owners_did_not_say_how_much_they_logged_is_read(
    folder: Path,
) -> None:
    for sign in (folder / "lease").iterdir():
        sign.unlink()

    assert len(load(str(folder)).trials) == 6
