"""Which study is meant: its folder, its name, its file, itself."""

import os
from pathlib import Path

import pytest

import search
from search.cli.main import main
from search.errors import InputError
from search.results.load import given_study
from tests.support.finished_study import make_study, write_study

FILE = "name: s\ndata: d.parquet\nheads: {c: {kind: box}}\n"


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(lambda study: study.folder, id="path"),
        pytest.param(lambda study: Path(study.folder), id="pathlib"),
        pytest.param(lambda study: f"file://{study.folder}", id="uri"),
        pytest.param(lambda study: study, id="study"),
        pytest.param(lambda study: search.load(study.folder), id="result"),
        pytest.param(lambda study: "digits", id="name"),
        pytest.param(lambda study: "studies/digits", id="relative"),
    ],
)
def test_a_study_is_found_however_it_is_named(given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = write_study(tmp_path / "studies")

    assert search.load(given(study)).folder == study.folder


def test_a_study_of_that_name_here_comes_before_the_one_in_studies(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_study(tmp_path / "studies")
    here = write_study(tmp_path)

    assert search.load("digits").folder == here.folder


def test_a_folder_of_that_name_that_holds_no_study_hides_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    study = write_study(tmp_path / "studies")

    assert search.load("digits").folder == study.folder


@pytest.mark.parametrize("command", ["best", "show", "confirm", "resume"])
def test_a_name_of_no_study_is_told_with_both_places(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    status = main([command, "digits"])

    places = f"{tmp_path}/digits and {tmp_path}/studies/digits"
    assert status == 2
    assert capsys.readouterr().err == (
        f"twohead: there is no study 'digits': looked for study.json in {places}\n"
    )


@pytest.mark.parametrize("command", ["best", "show"])
def test_commands_find_a_study_by_its_name(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_study(tmp_path / "studies")

    assert main([command, "digits"]) == 0
    assert "trial 4 after 3 epochs" in capsys.readouterr().out


@pytest.mark.parametrize("ask", [search.load, search.confirm], ids=["load", "confirm"])
def test_what_is_no_study_is_refused_in_words(ask):
    with pytest.raises(InputError, match=r"needs its folder, such as .*, its name or .*, got 5"):
        ask(5)


def test_a_study_is_made_of_a_file_a_mapping_or_itself(tmp_path):
    (tmp_path / "study.yaml").write_text(FILE)
    study = make_study(tmp_path)
    result = search.load(write_study(tmp_path / "studies").folder)

    assert given_study(str(tmp_path / "study.yaml")).name == "s"
    assert given_study(tmp_path / "study.yaml").heads[0].kind == "box"
    assert given_study({"name": "m", "data": "d", "heads": {"c": {"kind": "box"}}}).name == "m"
    assert given_study(study) is study
    assert given_study(result) is result.study


def test_a_study_that_is_there_goes_on_by_its_folder_or_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = write_study(tmp_path / "studies")
    (tmp_path / "digits.yaml").write_text(FILE)

    for given in (result.folder, Path(result.folder), "studies/digits", "digits"):
        assert given_study(given) == search.load("digits").study
    assert given_study("digits.yaml").name == "s"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        pytest.param(5, "the path of a study file or a mapping with its keys, got 5", id="number"),
        pytest.param(None, "the path of a study file or a mapping .*, got None", id="none"),
        pytest.param("none.yaml", "none.yaml does not exist", id="no_file"),
        pytest.param(os.curdir, "is a folder; give a study file", id="folder"),
        pytest.param({"name": "s"}, "needs 'data'", id="mapping"),
    ],
)
def test_what_cannot_be_run_is_refused_in_words(given, message):
    with pytest.raises(InputError, match=message):
        search.run(given)


def test_run_takes_a_study_file(tmp_path, monkeypatch):
    (tmp_path / "study.yaml").write_text(FILE)
    ran = []
    monkeypatch.setattr("search.running.run.run", lambda study, **_: ran.append(study))

    search.run(tmp_path / "study.yaml", progress=False)
    search.run(str(tmp_path / "study.yaml"))

    assert [study.name for study in ran] == ["s", "s"]
