import pytest

from search.errors import InputError
from search.remote.request import (
    JobRequest,
    _check_name,
    check_places,
    folder_here,
    storage_here,
    storage_there,
)
from search.study.digits_study import digits_study
from search.study.study import Study
from tests.support.finished_study import write_study

HEADS = {"c_output": {"kind": "classification"}}


def request(**changes):
    return JobRequest(**{"name": "parts", "version": "1", **changes})


def make_study(**changes):
    return Study(**{"name": "parts", "data": "s3://b/d.parquet", "heads": HEADS, **changes})


@pytest.fixture(autouse=True)
def nodes_storage(monkeypatch):
    monkeypatch.setenv("TWOHEAD_STORAGE", "s3://bucket/studies")


def test_a_study_arrives_as_it_was_sent_but_for_its_places(tmp_path):
    budget, resources = {"trials": 5}, {"concurrent": 2}
    study = make_study(seed=3, model="net:build", budget=budget, resources=resources)
    values = {**study.to_dict(), "storage": "", "module_folder": None}
    file = tmp_path / "study.json"
    file.write_text(request(study=values).to_json())

    arrived = JobRequest.read(file).study_here()

    assert arrived.storage == "s3://bucket/studies"
    assert arrived.module_folder == "job://own-code"
    places = {"storage": study.storage, "module_folder": study.module_folder}
    assert {**arrived.to_dict(), **places} == study.to_dict()


def test_modules_of_a_stored_study_come_from_the_job_whatever_its_record_says(tmp_path):
    write_study(tmp_path)
    record = tmp_path / "digits" / "study.json"
    assert '"module_folder"' in record.read_text()

    study = request(name="digits", storage=str(tmp_path), trials=9).study_here()

    assert study.budget.trials == 9
    assert (study.name, study.folder) == ("digits", str(tmp_path / "digits"))
    assert study.module_folder == (None if study.model is None else "job://own-code")


def test_the_digits_are_made_where_the_studies_lie():
    values = {**digits_study("studies", seed=2, name="d").to_dict(), "data": ""}

    study = request(study=values, storage="/mnt").study_here()

    assert study == digits_study("/mnt", seed=2, name="d")


def test_only_a_request_that_asks_for_failed_trials_again_says_anything_of_them(tmp_path):
    file = tmp_path / "study.json"
    file.write_text(request(retry_failed=True).to_json())

    assert JobRequest.read(file).retry_failed
    assert "retry_failed" not in request().to_json()


@pytest.mark.parametrize("text", ["{", "[]", '{"name": "a", "wrong": 1}'])
def test_a_request_of_another_version_is_refused(tmp_path, text):
    (tmp_path / "r").write_text(text)

    with pytest.raises(InputError, match="needs a request of this version"):
        JobRequest.read(tmp_path / "r")


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        pytest.param(" ", "export it where `ray start` runs", id="none"),
        pytest.param("studies", "needs a URI or an absolute path, got 'studies'", id="relative"),
    ],
)
def test_without_a_storage_that_all_reach_the_cure_is_named(nodes, message, monkeypatch):
    monkeypatch.setenv("TWOHEAD_STORAGE", nodes)

    with pytest.raises(InputError, match=message):
        storage_here("")


@pytest.mark.parametrize(
    ("said", "name", "folder"),
    [
        pytest.param("", "digits", "s3://bucket/studies/digits", id="name"),
        pytest.param("/mnt/all/", "digits", "/mnt/all/digits", id="said"),
        pytest.param("", "/mnt/other/digits", "/mnt/other/digits", id="path"),
        pytest.param("", "gs://b/digits", "gs://b/digits", id="uri"),
        pytest.param("mock://", "digits", "mock://digits", id="root"),
    ],
)
def test_a_study_is_found_by_its_name_or_its_place(said, name, folder):
    assert folder_here(said, name) == folder


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "a b", "--policy"])
def test_what_is_no_name_is_refused(name):
    with pytest.raises(InputError, match="needs the name of a study"):
        _check_name(name)


@pytest.mark.parametrize(
    ("storage", "there"),
    [
        pytest.param("studies", "", id="default"),
        pytest.param("/mnt/all", "/mnt/all", id="absolute"),
        pytest.param("s3://b/x", "s3://b/x", id="uri"),
        pytest.param("beside", None, id="relative"),
    ],
)
def test_the_default_storage_means_the_clusters(storage, there, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    found = storage_there(make_study(storage=storage).storage)

    assert found == (str(tmp_path / "beside") if there is None else there)


@pytest.mark.parametrize("field", ["data", "warm_start"])
def test_a_path_that_is_not_on_the_node_is_refused_by_name(field, tmp_path):
    here = tmp_path / "d.parquet"
    here.touch()
    gone = "/laptop/gone"
    given = {"data": str(here), "warm_start": [], field: gone if field == "data" else [gone]}

    with pytest.raises(InputError, match=f"^{field} needs a place .*, got /laptop/gone, which"):
        check_places(make_study(**given))


def test_uris_and_paths_that_are_there_pass(tmp_path):
    check_places(make_study(warm_start=["s3://b/old", str(tmp_path)]))
