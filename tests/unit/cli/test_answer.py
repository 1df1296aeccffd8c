import json
import os
import subprocess
import sys

import pytest

from search.cli import job as cluster_job
from search.cli.head_answers import answer
from search.cli.main import _make_parser, main
from search.errors import InputError
from search.remote.questions import CommandOutput, StudyStatus, _error_of, _from_log
from search.results.load import load
from tests.support.finished_study import write_study
from tests.support.processes import wait_until


@pytest.fixture
def storage(tmp_path, monkeypatch):
    write_study(tmp_path)
    monkeypatch.setenv("TWOHEAD_STORAGE", str(tmp_path))
    monkeypatch.delenv("COLUMNS", raising=False)
    return tmp_path


def ask(what, storage="", **options):
    """Return the value that is answered; raise the error."""
    told = answer({"what": what, "storage": storage, "options": options})
    if "error" in told:
        raise _error_of(told["error"])
    return told["value"]


def run(*argv, storage="", columns=None):
    """Have a command run that was parsed here, as a client sends it."""
    args = vars(_make_parser().parse_args(argv))
    name = args.pop("command").name
    return ask("command", storage, name=name, arguments=args, columns=columns)


@pytest.mark.parametrize(
    "argv", [["best"], ["best", "--json"], ["show"], ["best", "--head", "x"], ["best", "--test"]]
)
def test_what_is_relayed_is_what_the_command_prints(argv, storage, capsys):
    there = run(argv[0], "digits", *argv[1:])

    status = main([argv[0], str(storage / "digits"), *argv[1:]])
    out, err = capsys.readouterr()
    assert there == CommandOutput(status=status, out=out, err=err)
    assert out or err


def test_the_studies_are_listed_of_the_nodes_and_of_a_place_that_is_said(storage, monkeypatch):
    assert "digits" in run("list").out

    monkeypatch.delenv("TWOHEAD_STORAGE")

    assert "digits" in run("list", str(storage)).out
    assert "digits" in run("list", storage=str(storage)).out
    refused = run("list", "mine")
    assert refused.status == 2
    assert "storage needs a URI or an absolute path, got 'mine'" in refused.err


def test_a_relayed_table_is_as_wide_as_the_terminal_that_shows_it(storage):
    wide = run("show", "digits", columns=200).out
    narrow = run("show", "digits", columns=60).out

    assert max(map(len, narrow.splitlines())) < max(map(len, wide.splitlines()))
    os.environ.pop("COLUMNS")


@pytest.mark.parametrize("argv", [["run"], ["resume", "digits"], ["confirm", "digits"]])
def test_nothing_is_relayed_that_does_more_than_read(argv, storage):
    with pytest.raises(InputError, match="a cluster is asked one of"):
        run(*argv)


def test_a_folder_outside_is_no_name(storage):
    there = run("best", "../digits")

    assert there.status == 2
    assert "needs the name of a study" in there.err


def test_values_are_told_as_they_are_read(storage):
    local = load(str(storage / "digits"))

    status = ask("status", name="digits")

    assert status.best == local.best()
    assert status.num_ended == len(local.trials)
    assert status.num_trials == local.study.budget.trials
    assert ask("point", name="digits", policy={"head": "c_output"}) == local.best(head="c_output")
    assert ask("studies", others=[str(storage)]) == [status]
    assert ask("model", name="digits") is None


def test_a_study_that_is_not_there_has_not_begun(storage):
    told = ask("status", name="none")

    assert told == StudyStatus(name="none", state="not begun", folder=str(storage / "none"))


def test_where_the_nodes_name_no_storage_others_are_told_and_names_are_refused(
    storage, monkeypatch
):
    monkeypatch.delenv("TWOHEAD_STORAGE")

    assert [one.name for one in ask("studies", others=[str(storage)])] == ["digits"]
    with pytest.raises(InputError, match="TWOHEAD_STORAGE is not set"):
        ask("point", name="digits", policy={})


def test_a_study_that_is_damaged_keeps_no_other_from_being_told(storage):
    (storage / "torn").mkdir()
    (storage / "torn" / "study.json").write_text("{")

    told = {one.name: one.state for one in ask("studies", others=[])}

    assert told == {"torn": "unreadable", "digits": "finished"}


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
    return ask("is_running", job_id=job_id)


@pytest.mark.parametrize(
    ("what", "options", "holds"),
    [
        pytest.param("model", {"name": "none"}, lambda a: "error" in a, id="refused"),
        pytest.param("studies", {"others": []}, lambda a: a["value"][0]["best"], id="value"),
    ],
)
def test_a_question_is_answered_in_the_log(what, options, holds, storage, capsys):
    asked = json.dumps({"what": what, "storage": "", "options": options})

    assert cluster_job.main(["ask", "q7", asked]) == 0

    told = _from_log(capsys.readouterr().out, "q7")
    assert told is not None
    assert holds(told)
