"""What a client refuses, finds and gives up, without a cluster."""

import threading
from types import SimpleNamespace

import pytest

from search.errors import InputError, NoCandidate, StudyLocked
from search.remote import client as client_module
from search.remote.client import Client
from search.remote.jobs import KIND, Job, Jobs
from search.remote.submit import refuse_running
from search.study.digits_study import digits_study
from tests.support.finished_study import write_study

META = {KIND: "study", "name": "digits", "storage": ""}


@pytest.fixture(autouse=True)
def cluster(monkeypatch):
    """Stand for a cluster that has no jobs."""
    there = SimpleNamespace(address="http://127.0.0.1:1", json=lambda method, path: [])
    monkeypatch.setattr(client_module, "Connection", lambda address: there)


@pytest.fixture
def told(monkeypatch):
    """Note what the cluster is asked, and answer with nothing."""
    asked = []

    def ask(api, what, *, storage="", name):
        asked.append((what, storage, name))
        return {"name": name, "state": "finished"} if what == "status" else None

    monkeypatch.setattr(client_module, "ask", ask)
    return asked


def said(job_id, status, began, metadata=META):
    told = {"submission_id": job_id, "status": status, "metadata": metadata}
    return {**told, "start_time": began * 1000, "message": "it failed"}


def listing(*told):
    """Return the jobs of a cluster that tells of these."""
    return Jobs(SimpleNamespace(json=lambda method, path: told))


@pytest.mark.parametrize(
    ("old", "new", "newest"),
    [
        pytest.param("RUNNING", "RUNNING", "new", id="a_dead_one_that_ray_still_believes_in"),
        pytest.param("RUNNING", "FAILED", "old", id="the_second_was_refused"),
        pytest.param("FAILED", "SUCCEEDED", "new", id="both_are_over"),
    ],
)
def test_the_job_that_goes_on_with_a_study_is_the_newest_that_runs(old, new, newest):
    jobs = listing(said("new", new, 2.0), said("old", old, 1.0))

    assert jobs.of_study("digits").id == newest


@pytest.mark.parametrize("said", ["/mnt/all/digits", "/mnt/all/digits/", "digits"])
def test_a_study_is_told_of_by_its_name_or_its_folder(said, told):
    assert Client(storage="/mnt/all").status(said).name == "digits"
    assert told == [("status", "/mnt/all", "digits")]


def test_a_study_is_gone_on_with_by_its_folder(told, monkeypatch):
    sent = []
    monkeypatch.setattr(client_module, "send", lambda jobs, request, *_: sent.append(request))

    Client().resume("s3://bucket/studies/digits", trials=9, retry_failed=True)

    assert (sent[0].storage, sent[0].name) == ("s3://bucket/studies", "digits")
    assert (sent[0].trials, sent[0].retry_failed) == (9, True)
    assert told == [("model", "s3://bucket/studies", "digits")]


def test_the_digits_are_sent_without_their_data(told, monkeypatch):
    sent = []
    monkeypatch.setattr(client_module, "send", lambda jobs, request, *_: sent.append(request))

    Client().submit(digits_study("studies"))

    assert (sent[0].study["data"], sent[0].storage) == ("", "")


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        pytest.param(lambda c: c.submit("none.yaml"), "none.yaml does not exist", id="file"),
        pytest.param(lambda c: c.submit(5), "the path of a study file or a mapping", id="what"),
        pytest.param(lambda c: c.resume(5), "study on a cluster needs the name", id="number"),
        pytest.param(lambda c: c.best("../x"), "study on a cluster needs the name", id="relative"),
        pytest.param(
            lambda c: c.submit(digits_study("x"), storage="mine"),
            "storage needs a URI or",
            id="storage",
        ),
        pytest.param(
            lambda c: c.best("x", exponents=object()), "needs plain values, got", id="policy"
        ),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_sent(ask, message):
    with pytest.raises(InputError, match=message):
        ask(Client())


def test_a_storage_that_is_no_text_is_refused():
    with pytest.raises(InputError, match="storage needs a URI or a path as text"):
        Client(storage=5)


def test_a_storage_that_does_not_answer_is_given_up_for_the_cluster(monkeypatch):
    over, loads = threading.Event(), []

    def hang(folder):
        loads.append(folder)
        over.wait(60)

    def ask(api, what, **options):
        raise NoCandidate("asked")

    monkeypatch.setattr(client_module, "READ_SECONDS", 0.1)
    monkeypatch.setattr(client_module, "load", hang)
    monkeypatch.setattr(client_module, "ask", ask)
    there = Client(storage="s3://bucket/far")

    try:
        for _ in range(2):
            with pytest.raises(NoCandidate, match="asked"):
                there.best("digits")
    finally:
        over.set()
    assert loads == ["s3://bucket/far/digits"]


def test_a_storage_that_answers_is_read_without_asking(tmp_path):
    write_study(tmp_path)

    assert Client(storage=str(tmp_path)).best("digits").losses


@pytest.mark.parametrize(
    ("log", "words"),
    [
        pytest.param("a\nb c\n\n", "b c", id="line"),
        pytest.param("a\nb: 2\n  - x\n  - y\n", "b: 2 - x - y", id="list"),
        pytest.param("  - x\n", "- x", id="nothing_before"),
        pytest.param("\n", "it failed", id="nothing_printed"),
    ],
)
def test_the_last_words_of_a_job_are_whole(log, words):
    jobs = Jobs(SimpleNamespace(look=lambda path: {"logs": log}))

    assert jobs.last_words(Job.of(said("j", "FAILED", 1.0))) == words


@pytest.mark.parametrize("storage", ["/mnt/all", "/mnt/all/"])
def test_the_same_place_is_the_same_with_a_slash_at_its_end(storage):
    jobs = listing(said("j", "PENDING", 1.0, {**META, "storage": "/mnt/all/"}))

    with pytest.raises(StudyLocked, match="is being run on this cluster by job j since"):
        refuse_running(jobs, "digits", storage)
