import os
import subprocess
import sys

import pytest

from search.cli import job as cluster_job
from search.cli.answer import relay, tell
from search.cli.main import main
from search.errors import InputError
from search.remote.questions import from_log, point_of
from search.results.load import load
from tests.finished_study import write_study
from tests.processes import wait_until


@pytest.fixture
def storage(tmp_path, monkeypatch):
    write_study(tmp_path)
    monkeypatch.setenv("TWOHEAD_STORAGE", str(tmp_path))
    monkeypatch.delenv("COLUMNS", raising=False)
    return tmp_path


@pytest.mark.parametrize("argv", [["best"], ["best", "--json"], ["show"], ["best", "--head", "x"]])
def test_what_is_relayed_is_what_the_command_prints(argv, storage, capsys):
    answer = relay([argv[0], "digits", *argv[1:]], storage="", columns=None)

    status = main([argv[0], str(storage / "digits"), *argv[1:]])
    out, err = capsys.readouterr()
    assert answer == {"status": status, "out": out, "err": err}
    assert out or err


def test_the_studies_are_listed_where_the_nodes_have_them(storage):
    answer = relay(["list"], storage="", columns=None)

    assert answer["status"] == 0
    assert "digits" in answer["out"]


def test_the_studies_of_a_place_that_is_said_are_listed(storage, monkeypatch):
    monkeypatch.delenv("TWOHEAD_STORAGE")

    assert "digits" in relay(["list", str(storage)], storage="", columns=None)["out"]
    assert (
        "storage needs a URI or an absolute path, got 'mine'"
        in (relay(["list", "mine"], storage="", columns=None)["err"])
    )


def test_a_relayed_table_is_as_wide_as_the_terminal_that_shows_it(storage):
    wide = relay(["show", "digits"], storage="", columns=200)["out"]
    narrow = relay(["show", "digits"], storage="", columns=60)["out"]

    assert max(map(len, narrow.splitlines())) < max(map(len, wide.splitlines()))
    os.environ.pop("COLUMNS")


@pytest.mark.parametrize("argv", [[], ["run"], ["resume", "digits"], ["confirm", "digits"]])
def test_nothing_is_relayed_that_does_more_than_read(argv, storage):
    with pytest.raises(InputError, match="a cluster is asked one of"):
        relay(argv, storage="", columns=None)


def test_a_folder_outside_is_no_name(storage):
    answer = relay(["best", "../digits"], storage="", columns=None)

    assert answer["status"] == 2
    assert "needs the name of a study" in answer["err"]


def test_values_are_told_as_they_are_read(storage):
    local = load(str(storage / "digits"))

    status = tell("status", {"name": "digits"}, storage="")["value"]
    best = tell("point", {"name": "digits", "policy": {"head": "c_output"}}, storage="")["value"]
    studies = tell("studies", {"others": [str(storage)]}, storage="")["value"]

    assert point_of(status["best"]) == local.best()
    assert (status["ended"], status["trials"]) == (len(local.trials), local.study.budget.trials)
    assert point_of(best) == local.best(head="c_output")
    assert studies == {"digits": status}
    assert tell("study", {"name": "digits"}, storage="")["value"]["model"] is None


def test_a_study_that_is_not_there_has_not_begun(storage):
    told = tell("status", {"name": "none"}, storage="")

    assert told["value"] == {"state": "not begun", "folder": str(storage / "none")}


def test_studies_of_other_places_are_told_where_the_nodes_name_none(storage, monkeypatch):
    monkeypatch.delenv("TWOHEAD_STORAGE")

    told = tell("studies", {"others": [str(storage)]}, storage="")

    assert list(told["value"]) == ["digits"]


def test_an_error_is_told_instead(storage, monkeypatch):
    monkeypatch.delenv("TWOHEAD_STORAGE")

    told = tell("point", {"name": "digits", "policy": {}}, storage="")

    assert told["error"]["kind"] == "InputError"
    assert "TWOHEAD_STORAGE is not set" in told["error"]["message"]


def test_a_study_that_is_damaged_keeps_no_other_from_being_told(storage):
    (storage / "torn").mkdir()
    (storage / "torn" / "study.json").write_text("{")

    told = tell("studies", {"others": []}, storage="")["value"]

    assert told["torn"]["state"] == "unreadable"
    assert told["digits"]["state"] == "finished"


def test_a_job_runs_as_long_as_a_process_of_it_does():
    code = "import time; time.sleep(600)  # search.cli.job"
    process = subprocess.Popen([sys.executable, "-c", code], env={"JOB": '{"id": "twohead-x-1"}'})
    try:
        wait_until(lambda: _is_running("twohead-x-1"))
        assert not _is_running("twohead-x-2")
    finally:
        process.kill()
        process.wait()
    assert not _is_running("twohead-x-1")


def _is_running(job_id):
    return tell("is_running", {"job_id": job_id}, storage="")["value"]


@pytest.mark.parametrize(
    ("asked", "holds"),
    [
        pytest.param('{"argv": ["run"]}', lambda a: "error" in a, id="refused"),
        pytest.param('{"argv": ["list"]}', lambda a: a["status"] == 0, id="command"),
        pytest.param(
            '{"what": "studies", "options": {"others": []}}',
            lambda a: "digits" in a["value"],
            id="value",
        ),
    ],
)
def test_a_question_is_answered_in_the_log(asked, holds, storage, capsys):
    assert cluster_job.main(["ask", "q7", asked]) == 0

    answer = from_log(capsys.readouterr().out, "q7")
    assert answer is not None
    assert holds(answer)
