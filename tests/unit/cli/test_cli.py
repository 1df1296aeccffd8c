"""The `twohead` command: what it prints, where, and how it ends."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from inspect import signature
from types import ModuleType

import pytest

import search.cli.local
from search.cli.main import COMMANDS, main
from search.errors import Interrupted, StudyPaused
from search.record.decisions import Tested
from search.results.load import load
from search.results.result import StudyResult
from search.study.digits_study import write_data
from search.study.objective import warn_of_redundancy
from tests.support.finished_study import SPACE, write_study
from trainables.data.digits import write_digits
from trainables.errors import InputError, StorageError

STUDY_YAML = """
name: mine
data: digits.parquet
heads:
  c_output: {kind: classification}
  r_output: {kind: box}
budget: {trials: 3, epochs: 2}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return the folder of a finished study, which no test changes."""
    return write_study(tmp_path_factory.mktemp("finished") / "studies").folder


@pytest.fixture
def runner(monkeypatch, folder):
    """Stands for `search.running.run`, which needs Ray; keeps the study that it was given."""
    module = ModuleType("search.running.run")
    module.given, module.retries = [], []
    module.error = None

    def run(study, *, watcher, reader, retry_failed=False):
        module.given.append(study)
        module.retries.append(retry_failed)
        watcher.preparing("checking the data")
        if module.error is not None:
            raise module.error
        return load(folder)

    module.run = run
    monkeypatch.setitem(sys.modules, "search.running.run", module)
    monkeypatch.setattr("search.running.run", module, raising=False)
    return module


@pytest.fixture
def study_file(tmp_path):
    write_digits(tmp_path / "digits.parquet", num=60, image_size=12)
    path = tmp_path / "study.yaml"
    path.write_text(STUDY_YAML)
    return path


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param([], (4, "geometric_mean"), id="default"),
        pytest.param(["--policy", "lexicographic"], (1, "lexicographic"), id="policy"),
        pytest.param(["--head", "c_output"], (1, "head"), id="head"),
        pytest.param(["--head", "r_output", "--policy", "head"], (4, "head"), id="both"),
        pytest.param(["--exponents", "c_output=9"], (1, "geometric_mean"), id="exponents"),
    ],
)
def test_best_chooses_as_it_is_told(folder, capsys, options, expected):
    assert main(["best", folder, "--json", *options]) == 0

    found = json.loads(capsys.readouterr().out)
    assert (found["number"], found["policy"]) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param([], "COMMAND", id="no_command"),
        pytest.param(["find"], "invalid choice: 'find'", id="unknown_command"),
        pytest.param(["run", "--trials", "many"], "invalid int value: 'many'", id="no_number"),
        pytest.param(["best", "nowhere"], "there is no study 'nowhere'", id="no_study"),
        pytest.param(["best", "FOLDER", "--data", "x"], "--data needs --test", id="data_alone"),
        pytest.param(["resume", "nowhere"], "there is no study", id="nothing_to_resume"),
        pytest.param(["run", "none.yaml"], "none.yaml does not exist", id="no_file"),
        pytest.param(["best", "FOLDER", "--policy", "sum"], "got 'sum'", id="policy"),
        pytest.param(["best", "FOLDER", "--head", "z"], "got ['z']", id="head"),
        pytest.param(
            ["best", "FOLDER", "--head", "c_output", "--policy", "ideal_point"],
            "--head needs no --policy but 'head', got 'ideal_point'",
            id="head_and_policy",
        ),
        pytest.param(
            ["best", "FOLDER", "--exponents", "c_output"],
            "--exponents needs heads with numbers such as c_output=2,r_output=1, got 'c_output'",
            id="exponents",
        ),
        pytest.param(["run", "--seed", "-1"], "got -1", id="seed"),
        pytest.param(["run", "--name", "../x"], "got '../x'", id="name"),
        pytest.param(["data", "digits", "out", "--num", "3"], "got 3", id="too_few_digits"),
    ],
)
def test_bad_input_ends_with_one_message_and_status_2(
    folder, tmp_path, monkeypatch, capsys, arguments, message
):
    monkeypatch.chdir(tmp_path)

    status = main([folder if one == "FOLDER" else one for one in arguments])

    said = capsys.readouterr()
    assert status == 2
    assert said.err.startswith("twohead: ")
    assert said.err.count("\n") == 1
    assert message in said.err
    assert said.out == ""


PROBLEMS = InputError.of(["row 1 \x1b[31m", "row 2"], where="digits.parquet")


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        pytest.param(InputError("row 3 is torn"), 2, ["row 3 is torn"], id="bad_input"),
        pytest.param(
            PROBLEMS,
            2,
            ["digits.parquet: 2 problems", r"  - row 1 \x1b[31m", "  - row 2"],
            id="several",
        ),
        pytest.param(StorageError("no room"), 1, ["no room"], id="storage"),
        pytest.param(KeyboardInterrupt(), 130, ["interrupted"], id="interrupted_early"),
    ],
)
def test_errors_of_a_run_become_a_message_and_a_status(
    runner, study_file, capsys, error, status, said
):
    runner.error = error

    assert main(["run", str(study_file)]) == status
    assert capsys.readouterr().err.splitlines() == [f"twohead: {said[0]}", *said[1:]]


REDUNDANT = """
space:
  c_output_loss_weight: {float: [0.1, 10.0], log: true}
  r_output_loss_weight: {float: [0.1, 10.0], log: true}
"""


@pytest.mark.parametrize("command", [["run"], ["data", "check"]])
def test_weights_of_which_only_the_ratio_matters_are_warned_of_once(
    runner, study_file, capsys, command
):
    study_file.write_text(STUDY_YAML + REDUNDANT)
    run = runner.run

    def run_with_warning(study, *, watcher, reader):
        warn_of_redundancy(study)  # as the real one does
        return run(study, watcher=watcher, reader=reader)

    runner.run = run_with_warning

    status = main([*command, str(study_file)])

    said = capsys.readouterr().err
    assert status == 0
    assert said.count("twohead: warning: ") == said.count("only the ratio matters") == 1
    assert said.endswith(
        "\nspace:\n  c_output_loss_weight: 1.0\n"
        "  r_output_loss_weight: {float: [0.01, 100.0], log: true}\n"
    )


def test_a_study_that_is_only_printed_again_is_not_warned_of(runner, tmp_path, capsys):
    space = {**SPACE, "c_output_loss_weight": SPACE["r_output_loss_weight"]}
    study = write_study(tmp_path, space=space)

    assert main(["resume", study.folder]) == 0
    assert capsys.readouterr().err == ""
    assert main(["show", study.folder, "--json"]) == 0
    [message] = json.loads(capsys.readouterr().out)["warnings"]
    assert "only the ratio matters" in message


def test_best_says_that_a_point_was_not_tested_and_test_measures_it(folder, capsys, monkeypatch):
    def tested(result, point, data):
        assert data is None
        figures = Tested(
            number=4, epoch=3, losses={"c_output": 0.37, "r_output": 0.0045}, metrics={}
        )
        return replace(point, test=figures)

    monkeypatch.setattr(StudyResult, "tested", tested)

    assert main(["best", folder, "--head", "c_output"]) == 0
    without = capsys.readouterr().out
    assert main(["best", folder, "--head", "c_output", "--test"]) == 0
    with_test = capsys.readouterr().out

    assert "not measured for this point; `twohead best` with --test measures it now" in without
    assert "not measured" not in with_test
    assert "0.37" in with_test


def test_the_traceback_of_an_unexpected_error_is_kept_in_a_file_or_shown(
    runner, study_file, capsys, tmp_path, monkeypatch
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    runner.error = ZeroDivisionError("so it is")

    status = main(["run", str(study_file)])
    said = capsys.readouterr().err
    main(["run", str(study_file), "--traceback"])

    assert status == 1
    assert said.startswith("twohead: unexpected ZeroDivisionError: so it is; the traceback is in ")
    with open(said.rstrip().rpartition(" ")[2]) as file:
        assert "Traceback" in file.read()
    assert "Traceback" in capsys.readouterr().err


def test_an_interrupted_run_says_how_to_go_on(runner, study_file, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runner.error = Interrupted("study 'mine' was interrupted")

    status = main(["run", str(study_file)])

    assert status == 130
    assert "  twohead resume studies/mine\n" in capsys.readouterr().out


def test_flags_of_run_override_the_file(runner, study_file, tmp_path):
    flags = ["--trials=7", "--epochs=5", "--seed=3", "--concurrent=1", "--name=other"]

    status = main(["run", str(study_file), *flags, "--storage", str(tmp_path / "kept")])

    (study,) = runner.given
    assert status == 0
    assert (study.budget.trials, study.budget.epochs, study.seed) == (7, 5, 3)
    assert (study.resources.concurrent, study.folder) == (1, str(tmp_path / "kept" / "other"))


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        pytest.param([], "digits", id="default"),
        pytest.param(["--seed", "0"], "digits", id="seed_0"),
        pytest.param(["--seed", "2"], "digits-seed2", id="seed_2"),
        pytest.param(["--seed", "2", "--name", "mine"], "mine", id="named"),
    ],
)
def test_run_without_a_file_runs_the_digits(runner, tmp_path, monkeypatch, flags, name):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(search.study.digits_study, "NUM", 40)

    status = main(["run", *flags])

    (study,) = runner.given
    assert status == 0
    assert (study.name, study.budget.trials, study.budget.epochs) == (name, 24, 9)
    assert os.path.exists(study.data)
    assert study.data.startswith(str(tmp_path / "studies" / ".data"))


def test_the_digits_are_drawn_once(tmp_path, monkeypatch):
    monkeypatch.setattr(search.study.digits_study, "NUM", 40)
    heard = []

    write_data(str(tmp_path), heard.append)
    write_data(str(tmp_path), heard.append)

    assert heard == ["drawing 40 digits"]


@pytest.mark.parametrize("options", [[], ["--retry-failed"]], ids=["as_they_are", "again"])
def test_resume_trains_failed_trials_again_where_it_is_asked_to(runner, folder, options):
    assert main(["resume", folder, *options]) == 0
    assert runner.retries == [bool(options)]


def test_a_paused_study_is_told_in_one_message_and_is_no_success(runner, folder, capsys):
    runner.error = StudyPaused("study 'digits' is paused: 3 trials failed in the same way")

    assert main(["resume", folder]) == 1
    assert capsys.readouterr().err == f"twohead: {runner.error}\n"


def test_resume_takes_a_study_from_where_it_lies_now(runner, tmp_path):
    write_study(tmp_path / "studies")
    moved = (tmp_path / "studies").rename(tmp_path / "moved")
    runner.run = lambda study, **_: runner.given.append(study) or load(study.folder)

    status = main(["resume", str(moved / "digits"), "--trials", "9"])

    (study,) = runner.given
    assert status == 0
    assert (study.folder, study.budget.trials, study.budget.epochs) == (
        str(moved / "digits"),
        9,
        3,
    )


def test_list_of_an_empty_storage_says_so(tmp_path, capsys):
    assert main(["list", str(tmp_path)]) == 0

    assert capsys.readouterr().out.startswith("no studies in ")


def test_data_digits_writes_what_data_check_reads(tmp_path, study_file, capsys):
    out = tmp_path / "digits.parquet"

    assert main(["data", "digits", str(out), "--num", "100", "--image-size", "16"]) == 0
    assert main(["data", "check", str(study_file)]) == 0

    text = capsys.readouterr().out
    assert "rows     80 train, 10 validation, 10 test" in text
    assert "images   16x16x1" in text
    assert "c_output classification 10 cross_entropy" in " ".join(text.split())


@pytest.mark.parametrize("target", [t for c in COMMANDS for t in (c.runs, c.runs_there) if t])
def test_what_a_row_of_the_table_names_is_a_function(target):
    module, _, function = target.partition(":")

    parameters = signature(getattr(import_module(f"search.{module}"), function)).parameters
    assert list(parameters) == ["args", "console"]


@pytest.mark.parametrize("flag", ["--version", "--help"])
def test_help_and_version_are_printed_with_status_0(capsys, flag):
    assert main([flag]) == 0
    assert "twohead" in capsys.readouterr().out


def shell(command, folder):
    """Run a line of a shell, in which `twohead` is the command."""
    line = command.replace("twohead", f"{sys.executable} -m search.cli.main")
    return subprocess.run(
        line.format(folder=folder),
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_reader_that_goes_away_early_is_no_traceback(folder):
    done = shell("twohead show {folder} --json | head -c 1", folder)

    assert (done.stdout, done.stderr) == ("{", "")


UNREAD = (
    "twohead: interrupted: nobody reads the output any more; what was recorded is kept, the same "
    "command goes on\n"
)
FULL = "twohead: the output cannot be written (No space left on device)\n"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        pytest.param(
            "twohead resume {folder} | true; exit ${{PIPESTATUS[0]}}", UNREAD, id="unread"
        ),
        pytest.param(
            "twohead resume {folder} > /dev/full",
            "twohead: interrupted: the output cannot be written (No space left on device); what "
            "was recorded is kept, the same command goes on\n",
            id="full_disk",
            marks=pytest.mark.slow,
        ),
        pytest.param("twohead show {folder} > /dev/full", FULL, id="show_on_a_full_disk"),
        pytest.param("twohead show {folder} --json > /dev/full", FULL, id="json_on_a_full_disk"),
    ],
)
def test_a_command_whose_output_cannot_be_written_says_so(folder, command, said):
    done = shell(command, folder)

    assert (done.returncode, done.stdout, done.stderr) == (1, "", said)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "status", "said"),
    [
        pytest.param("twohead show {folder} >&-", 0, "", id="no_output"),
        pytest.param(
            *("twohead resume {folder} <&- >&- 2>&-", 0, ""),
            id="no_streams",
            marks=pytest.mark.slow,
        ),
        pytest.param("twohead show {folder}/none 2>&-", 2, "", id="no_errors"),
    ],
)
def test_streams_that_were_closed_before_lead_nowhere(folder, command, status, said):
    done = shell(command, folder)

    assert (done.returncode, done.stderr) == (status, said)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param("run study.yaml", "a parent", id="run"),
        pytest.param("resume studies/digits", "a parent", id="resume"),
        pytest.param("confirm studies/digits", "a parent", id="confirm"),
        pytest.param("resume digits --address 127.0.0.1:1", "itself", id="on_a_cluster"),
        pytest.param("best studies/digits", "itself", id="best"),
        pytest.param("list", "itself", id="list"),
    ],
)
def test_a_command_that_starts_ray_has_a_parent_where_it_is_the_process(
    monkeypatch, arguments, expected
):
    ran_in = []
    monkeypatch.setattr(
        "search.cli.supervisor.supervise", lambda *given: ran_in.append("a parent")
    )
    monkeypatch.setattr("search.cli.main._run", lambda *given: ran_in.append("itself"))
    monkeypatch.setattr(sys, "argv", ["twohead", *arguments.split()])

    main()
    main(arguments.split())

    assert ran_in == [expected, "itself"]
