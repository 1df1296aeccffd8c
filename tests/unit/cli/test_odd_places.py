"""Commands and calls in odd environments: each says what to do, and shows no traceback."""

import os
import subprocess
import sys

import pytest

import search
from search.cluster.session import check_answers
from search.errors import InputError
from tests.support.finished_study import write_study
from tests.support.stub_study import ROOT
from trainables.data.parquet import Source
from trainables.storage.remote import lacking_file_system
from trainables.storage.store import Store

FILE = "name: {name}\ndata: {data}\nheads: {{c: {{kind: classification}}}}\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("odd") / "studies").folder


def shell(line, cwd, **variables):
    """Run a line of a shell, where ``twohead`` is the command; return status and errors."""
    done = subprocess.run(
        line.replace("twohead", f"{sys.executable} -m search.cli.main"),
        shell=True,
        executable="/bin/bash",
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": ROOT, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert "unexpected" not in done.stderr
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("line", "status"),
    [
        pytest.param("twohead show {folder} | head -n 1; exit ${{PIPESTATUS[0]}}", 141, id="head"),
        pytest.param("twohead best nowhere 2>&1 | true; exit ${{PIPESTATUS[0]}}", 2, id="stderr"),
        pytest.param("twohead list . >&-", 0, id="no_stdout"),
        pytest.param("twohead best nowhere 2>&-", 2, id="no_stderr"),
        pytest.param("twohead best nowhere >&- 2>&- <&-", 2, id="no_stream"),
    ],
)
def test_an_output_that_nobody_has_ends_a_command_quietly(folder, tmp_path, line, status):
    assert shell(line.format(folder=folder), tmp_path) == (status, "")


@pytest.mark.parametrize("command", ["list", "best digits", "resume digits", "data check s.yaml"])
def test_a_current_folder_that_was_deleted_is_told(tmp_path, command):
    (tmp_path / "gone").mkdir()

    status, said = shell(f"cd gone && rmdir ../gone && twohead {command}", tmp_path)

    assert status == 2
    assert said.startswith("twohead: ")
    assert "does not exist" in said or "was deleted: change to one that is there" in said


def test_a_study_is_shown_and_loaded_where_the_current_folder_was_deleted(folder, tmp_path):
    (tmp_path / "gone").mkdir()
    gone = "cd gone && rmdir ../gone && "

    assert shell(f"{gone}twohead show {folder} >/dev/null", tmp_path) == (0, "")


def test_a_relative_path_of_a_deleted_folder_is_bad_input(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()

    for ask in (Store, search.load, lambda name: search.Study(name="a", data=name, heads={})):
        with pytest.raises(InputError, match="was deleted: change to one that is there"):
            ask("digits")


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        pytest.param({"HOME": ""}, "twohead list {folder}/..", id="no_home"),
        pytest.param({"HOME": "/nowhere"}, "twohead list {folder}/..", id="home_is_missing"),
        pytest.param({"TMPDIR": "/nowhere/tmp"}, "twohead show {folder}", id="no_tmpdir"),
        pytest.param({"LC_ALL": "C", "PYTHONUTF8": "0"}, "twohead show {folder}", id="ascii"),
        pytest.param({"COLUMNS": "0", "LINES": "0"}, "twohead show {folder}", id="no_columns"),
        pytest.param({"COLUMNS": "wide", "TERM": "nope"}, "twohead show {folder}", id="no_number"),
    ],
)
def test_a_study_is_shown_in_odd_environments(folder, tmp_path, variables, line):
    assert shell(f"{line.format(folder=folder)} >/dev/null", tmp_path, **variables) == (0, "")


@pytest.mark.parametrize(
    ("uri", "cure"),
    [
        pytest.param("hf://datasets/a/b", r"needs a file system .* hf:// .*: `pip", id="hub"),
        pytest.param("https://host/d.parquet", "https:// .*: download it", id="https"),
        pytest.param("hdfs://host/d", "set JAVA_HOME", id="hdfs"),
    ],
)
@pytest.mark.parametrize("ask", [Source, Store])
def test_a_uri_that_pyarrow_cannot_open_here_is_told_with_the_cure(uri, cure, ask):
    with pytest.raises(InputError, match=cure):
        ask(uri)


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(ImportError("No module named 'gcsfs'"), id="package"),
        pytest.param(NotImplementedError("Arrow was built without GCS"), id="pyarrow"),
    ],
)
def test_a_file_system_that_is_not_installed_is_told(error):
    with (
        pytest.raises(InputError, match=r"storage needs a file .* got gs:// .*: install it, or"),
        lacking_file_system("storage", "gs://bucket"),
    ):
        raise error


def test_another_error_of_a_file_system_passes():
    with pytest.raises(OSError, match="timeout"), lacking_file_system("data", "s3://bucket"):
        raise OSError("timeout")


def test_the_address_of_a_dashboard_is_no_ray_to_join():
    with pytest.raises(
        InputError, match=r"of a dashboard: unset RAY_ADDRESS, and `twohead submit"
    ):
        check_answers("http://127.0.0.1:8265")


def test_a_number_as_a_name_is_to_be_quoted(tmp_path):
    (tmp_path / "s.yaml").write_text(FILE.format(name="2024", data="d"))

    with pytest.raises(
        InputError, match=r"s\.yaml:1: name needs .*, got 2024: quote it, name: '2024'"
    ):
        search.Study.from_yaml(tmp_path / "s.yaml")
    assert search.Study(name="2024", data="d", heads={"c": {"kind": "box"}}).name == "2024"
