"""What was lost of a study is said: it is no new study, nor the same at an earlier moment."""

from pathlib import Path

import pytest

from search.cli import local as commands
from search.cli.main import main
from search.results.load import list_studies, load
from search.results.result import StudyResult
from search.running.resume import stored_study
from tests.support.finished_study import write_study
from trainables.storage.sealed_json import DamagedRecord

Capture = pytest.CaptureFixture[str]


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


def test_a_folder_that_cannot_be_looked_into_hides_no_other_study(
    folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "closed").mkdir()
    (tmp_path / "closed" / "log").symlink_to("/nowhere")  # as it is also for lack of rights

    assert list(list_studies(str(tmp_path))) == [str(tmp_path / "closed"), str(folder)]


def test_a_study_of_a_version_whose_owners_did_not_say_how_much_they_logged_is_read(
    folder: Path,
) -> None:
    for sign in (folder / "lease").iterdir():
        sign.unlink()

    assert len(load(str(folder)).trials) == 6


@pytest.mark.parametrize("command", ["best", "show", "list"])
@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        pytest.param("000001.json", b"", "twohead: warning: the times of a run are", id="damaged"),
        pytest.param(".DS_Store", b"\0\1", "", id="foreign"),
        pytest.param(".nfs000012", b"", "", id="deleted_while_open"),
    ],
)
def test_a_file_among_the_runs_stops_no_command(
    command: str, name: str, content: bytes, said: str, folder: Path, capsys: Capture
) -> None:
    (folder / "runs" / name).write_bytes(content)

    status = main([command, str(folder.parent if command == "list" else folder)])

    printed = capsys.readouterr()
    assert (status, "digits" in printed.out or "best" in printed.out) == (0, True)
    assert printed.err.startswith(said)
    assert printed.err.count("\n") == bool(said)


def test_a_study_that_nobody_foresaw_hides_no_other(
    folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_study(folder.parent, name="other")
    read = commands.load

    def load_one(place: str) -> StudyResult:
        if place.endswith("other"):
            raise KeyError("surprise")
        return read(place)

    monkeypatch.setattr(commands, "load", load_one)

    assert main(["list", str(folder.parent)]) == 0
    printed = capsys.readouterr().out
    assert "unexpected KeyError: 'surprise'" in printed
    assert "finished" in printed
