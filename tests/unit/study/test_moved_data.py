"""A study whose folders have moved: its data are found, and known by their content."""

import os
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

from search.cli.main import main
from search.errors import InputError, StudyDiffers
from search.record.log import StudyLog
from search.results.load import load
from search.running.resume import check_data, check_named_data, stored_study
from search.running.run import Silent, run
from search.study.configs import data_request
from search.study.digits_study import data_in, digits_study
from search.study.moved_data import _moved, find_data, places_now
from search.study.prepared import Prepared
from tests.support import finished_study
from tests.support.finished_study import make_study
from trainables.data.check import check_dataset
from trainables.data.decode import is_decoded
from trainables.data.digits import write_digits
from trainables.storage.study_folder import StudyFolder


class Heard(Silent):
    def __init__(self):
        self.lines = []

    def told(self, line):
        self.lines.append(line)


def write_data(folder, seed=0):
    return write_digits(folder / "digits.parquet", num=60, image_size=12, seed=seed)


@pytest.fixture(name="project")
def project_folder(tmp_path, monkeypatch):
    """A folder with a data set and a finished study on it, as a run leaves it."""
    project = tmp_path / "here" / "project"
    data = write_data(project / "data")
    space = {"conv1_filters": {"choice": [8, 16, 32, 64]}, "batch_size": 8, "pool_size": 2}
    fields = {"data": str(data), "space": space}
    wanted = data_request(make_study(project / "studies", **fields))
    info = check_dataset(wanted, is_fast=True).info

    def prepared(study, test_rows=0):
        return Prepared(data=info, space=study.whole_space, precision="float32")

    monkeypatch.setattr(finished_study, "make_prepared", prepared)
    finished_study.write_study(project / "studies", **fields)
    return project


def move(project):
    """Move the folder above a study, its data with it."""
    there = project.parent.parent / "there"
    project.parent.rename(there)
    return there / project.name


@pytest.mark.parametrize(
    ("place", "storage", "now", "expected"),
    [
        pytest.param("/a/p/d", "/a/p/s", "/b/p/s", "/b/p/d", id="beside"),
        pytest.param("/a/p/s/d", "/a/p/s", "/b/s", "/b/s/d", id="below"),
        pytest.param("/d", "/a/p/s", "/s", "/d", id="above_the_root"),
        pytest.param("s3://b/p/d", "s3://b/p/s", "s3://c/p/s", "s3://c/p/d", id="bucket"),
        pytest.param("/a/d", "file:///a/s", "/b/s", "/b/d", id="file_uri"),
        pytest.param("/a/d", "/a/s", "s3://b/s?region=x", "s3://b/d", id="to_a_bucket"),
        pytest.param("s3://b/d", "/a/s", "/b/s", None, id="elsewhere"),
        pytest.param("s3://b/d", "s3://c/s", "s3://e/s", None, id="other_bucket"),
    ],
)
def test_what_lay_so_far_from_the_storage_lies_there_now(place, storage, now, expected):
    assert _moved(place, storage, now) == expected


def test_a_study_whose_parent_folder_moved_finds_its_data(project):
    before = load(project / "studies" / "digits").study.data
    moved = move(project)
    result, heard = load(moved / "studies" / "digits"), Heard()

    study, info = check_data(result.study, result, heard)

    now = str(moved / "data" / "digits.parquet")
    assert (study.data, info.fingerprint) == (now, result.prepared.data.fingerprint)
    assert heard.lines == [f"the data set is at {now}, it was at {before}"]


def test_data_that_stay_where_they_were_are_taken_there(project, tmp_path):
    (tmp_path / "far").mkdir()
    (project / "studies").rename(tmp_path / "far" / "s")
    result, heard = load(tmp_path / "far" / "s" / "digits"), Heard()

    study, _ = check_data(result.study, result, heard)

    assert (study.data, heard.lines) == (str(project / "data" / "digits.parquet"), [])


def test_data_of_other_content_at_the_old_place_are_passed_over(project):
    moved = move(project)
    write_data(project / "data", seed=1)
    result = load(moved / "studies" / "digits")

    study, _ = check_data(result.study, result, Silent())

    assert study.data == str(moved / "data" / "digits.parquet")


def test_a_place_that_is_named_is_taken_if_it_holds_the_same(project, tmp_path):
    result = load(project / "studies" / "digits")
    (project / "data").rename(tmp_path / "elsewhere")
    named = result.study.with_data(tmp_path / "elsewhere" / "digits.parquet")

    study, _ = check_data(named, result, Silent())

    assert study.data == str(tmp_path / "elsewhere" / "digits.parquet")


def test_other_data_are_refused_with_both_fingerprints_and_the_places(project, tmp_path):
    other = write_data(tmp_path / "other", seed=1)
    result = load(project / "studies" / "digits")
    wanted = result.prepared.data.fingerprint[:12]

    with pytest.raises(StudyDiffers) as refused:
        check_data(result.study.with_data(other), result, Silent())

    said = str(refused.value)
    assert f"of fingerprint {wanted}, which was looked for at {other}: what lies at" in said
    assert said.count("has fingerprint") == 1
    assert "--data" in said


def test_data_that_are_nowhere_are_refused_with_every_place(project, tmp_path):
    was = load(project / "studies" / "digits").study.data
    (project / "studies").rename(tmp_path / "s")
    os.remove(was)
    result = load(tmp_path / "s" / "digits")

    with pytest.raises(StudyDiffers) as refused:
        check_data(result.study, result, Silent())

    assert f"looked for at {was} and {tmp_path / 'data' / 'digits.parquet'}" in str(refused.value)


def test_a_finished_study_asks_for_the_content_of_a_place_of_its_own_only(project, tmp_path):
    result = load(project / "studies" / "digits")
    other = write_data(tmp_path / "other", seed=1)
    os.remove(result.study.data)

    assert run(result.study).folder == result.folder
    check_named_data(result.study, stored_study(result.study))
    with pytest.raises(StudyDiffers, match="has fingerprint"):
        run(result.study.with_data(other))


def test_modules_are_found_beside_a_study_that_moved(tmp_path):
    recorded = {"storage": "/old/p/s", "data": "/old/d", "module_folder": "/old/p/code"}
    (tmp_path / "p" / "code").mkdir(parents=True)

    found = places_now(recorded, str(tmp_path / "p" / "s"))

    assert found == {"module_folder": str(tmp_path / "p" / "code")}
    assert places_now(recorded, "/old/p/s") == {}


def test_the_digits_are_found_in_a_storage_that_moved(tmp_path):
    old = digits_study(str(tmp_path / "old"))
    StudyLog.create(StudyFolder(old.folder), old.to_dict())
    data = tmp_path / "old" / ".data"
    data.mkdir(exist_ok=True)
    (tmp_path / "old").joinpath(data_in(old.storage)).write_bytes(b"")
    (tmp_path / "old").rename(tmp_path / "new")

    assert load(tmp_path / "new" / "digits").study.data == data_in(str(tmp_path / "new"))


def test_a_folder_that_was_given_no_studys_name_is_told(project, capsys):
    folder = project / "studies" / "digits"
    folder.rename(folder.with_name("digits (copy)"))

    assert main(["best", str(folder.with_name("digits (copy)"))]) == 2

    assert "got 'digits (copy)': rename it, such as to 'digits'" in capsys.readouterr().err


def test_images_are_decoded_for_the_test_split_where_the_storage_lacks_them(project, monkeypatch):
    result = load(project / "studies" / "digits")
    figures = ({"c_output": 1.0, "r_output": 2.0}, {})
    factory = SimpleNamespace(evaluate_points=lambda *_: [figures])
    monkeypatch.setitem(sys.modules, "trainables.trial.keras_factory", factory)
    point = replace(result.best(), test=None)

    assert not is_decoded(result.prepared.data, result.study.storage)
    assert result.tested(point).test.losses == figures[0]

    assert is_decoded(result.prepared.data, result.study.storage)
    other = write_data(project / "other", seed=1)
    with pytest.raises(InputError, match="has fingerprint"):
        result.tested(point, data=other)


def test_a_study_that_is_new_has_its_own_data(project, tmp_path):
    study = load(project / "studies" / "digits").study

    found, info = check_data(study, None, Silent())

    assert found is study
    assert find_data(study, study.to_dict(), info) == study
