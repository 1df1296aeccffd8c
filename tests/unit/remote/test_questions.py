import msgspec
import pytest

from search.errors import (
    ClusterError,
    InputError,
    NoCandidate,
    SearchError,
    StorageError,
    StorageFull,
    StudyDiffers,
    StudyLocked,
)
from search.remote.jobs import Job
from search.remote.questions import (
    MARK,
    StudyStatus,
    _error_of,
    _from_log,
    error_to_plain,
    read_answer,
    to_log,
)
from search.results.load import load
from search.results.points import Point
from tests.support.finished_study import write_study

ANSWER = {"status": 0, "out": "größe\n" * 5000, "err": ""}


def test_an_answer_is_found_among_all_that_others_print():
    log = f"Runtime env is set up\n{to_log(ANSWER, 'q1')}WARNING of someone\n"

    assert _from_log(log, "q1") == ANSWER
    assert log.isascii()


def test_only_who_knows_the_question_can_answer_it():
    forged = to_log({"status": 0, "out": "forged", "err": ""}, "guess")

    assert _from_log(forged + to_log(ANSWER, "q1"), "q1") == ANSWER
    assert _from_log(forged, "q1") is None


@pytest.mark.parametrize(
    "log",
    [
        pytest.param("", id="nothing"),
        pytest.param(to_log(ANSWER, "q1")[:-10], id="cut"),
        pytest.param(f"{MARK} q1 begins\n????\n{MARK} q1 ends\n", id="garbled"),
        pytest.param(to_log(ANSWER, "q1").replace("A", "B"), id="changed"),
    ],
)
def test_what_is_no_whole_answer_is_none(log):
    assert _from_log(log, "q1") is None


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        pytest.param(InputError("m"), InputError, id="input"),
        pytest.param(NoCandidate("m"), NoCandidate, id="no_candidate"),
        pytest.param(StudyLocked("m"), StudyLocked, id="locked"),
        pytest.param(StudyDiffers("m"), StudyDiffers, id="differs"),
        pytest.param(StorageError("m"), StorageError, id="storage"),
        pytest.param(StorageFull("m"), ClusterError, id="of_another_kind"),
        pytest.param(SearchError("m"), ClusterError, id="any"),
    ],
)
def test_an_error_arrives_as_what_it_is(error, kind):
    arrived = _error_of(error_to_plain(error))

    assert type(arrived) is kind
    assert str(arrived) == "m"


def test_a_point_arrives_whole(tmp_path):
    write_study(tmp_path)
    best = load(str(tmp_path / "digits")).best()
    assert best.others

    arrived = _from_log(to_log({"value": best}, "q1"), "q1")

    assert msgspec.convert(arrived["value"], Point) == best


def test_an_answer_of_another_version_is_told_as_one():
    with pytest.raises(ClusterError, match=r"in another form .*: install the same twohead-search"):
        read_answer({"number": 4}, Point)


@pytest.mark.parametrize(
    ("job", "stored", "state"),
    [
        pytest.param(None, "interrupted", "interrupted", id="no_job"),
        pytest.param(("PENDING", None), "not begun", "pending", id="pending"),
        pytest.param(("RUNNING", None), "interrupted", "running", id="running"),
        pytest.param(("SUCCEEDED", 0), "finished", "finished", id="finished"),
        pytest.param(("FAILED", 1), "interrupted", "failed", id="failed"),
        pytest.param(("FAILED", 2), "not begun", "failed", id="refused"),
        pytest.param(("FAILED", 130), "interrupted", "interrupted", id="told_to_end"),
        pytest.param(("STOPPED", None), "interrupted", "interrupted", id="stopped"),
        pytest.param(("FAILED", 1), "finished", "finished", id="finished_all_the_same"),
        pytest.param(("FAILED", None), "running", "running", id="run_by_someone_else"),
    ],
)
def test_a_state_is_that_of_a_living_job_or_what_is_recorded(job, stored, state):
    if job is not None:
        said = {"submission_id": "j1", "status": job[0], "driver_exit_code": job[1]}
        job = Job.of(said)

    assert StudyStatus(name="parts", state=stored).with_job(job).state == state
