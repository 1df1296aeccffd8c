from typing import ClassVar

import pytest

from search.cli import cluster as cluster_commands
from search.cli.main import main
from search.errors import StudyLocked, Unreachable
from search.remote.questions import CommandOutput, StudyStatus
from search.remote.request import storage_there
from search.remote.submit import Submitted
from search.results.points import Point
from search.study.study import Study

YAML = """
name: parts
data: s3://bucket/parts.parquet
heads: {c_output: {kind: classification}}
"""


class FakeClient:
    """Remembers what it was asked, and answers as if there were a cluster."""

    asked: ClassVar[list] = []
    address = "http://127.0.0.1:1234"

    def __init__(self, address):
        self.asked.append(("connect", address))

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.asked.append(("close",))

    def submit(self, study, *, storage, retry_failed=False):
        self.asked.append(("submit", study, storage))
        return submitted(study.name, storage or "")

    def resume(self, name, **budget):
        self.asked.append(("resume", name, budget))
        return submitted(name, "")

    def status(self, name):
        return status(name)

    def stop(self, name):
        return status(name, "interrupted")

    def studies(self):
        return (status("a"), status("b\x1b[2J", "failed"))

    def logs(self, name, *, follow):
        yield from ("one\ttwo", f"\x1b[31m{follow}")

    def relay(self, command, arguments, *, columns):
        self.asked.append((command, arguments, columns))
        return CommandOutput(status=2, out="printed there\n", err="complained there\n")


def submitted(name, storage):
    return Submitted(name=name, job_id="j1", storage=storage, num_files=2, num_bytes=2048)


BEST = Point(
    number=2,
    epoch=3,
    config={"units": 8},
    losses={"c_output": 0.25, "r_output": 0.01},
    metrics={"val_c_output_accuracy": 0.9, "val_r_output_mae": 0.0625},
    state="complete",
    is_reference=False,
    checkpoint="",
    checkpoint_sha256="",
)


def status(name, state="running"):
    return StudyStatus(
        **{"name": name, "state": state, "num_ended": 3, "num_trials": 24, "best": BEST},
        **{"folder": "s3://b/x", "job_id": "j1", "node": "10.0.0.5", "since": 5.0},
        message="trial 3 complete",
    )


@pytest.fixture(autouse=True)
def client(monkeypatch, tmp_path):
    monkeypatch.setattr(cluster_commands, "Client", FakeClient)
    monkeypatch.setattr(FakeClient, "asked", [])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.yaml").write_text(YAML)
    return FakeClient


def test_submit_says_what_to_do_next(client, capsys):
    arguments = ["--trials", "5", "--seed", "3", "--name", "mine", "--concurrent", "7"]

    assert main(["submit", "study.yaml", "--address", "c d.yaml", *arguments]) == 0

    _, study, storage = client.asked[1]
    assert (study.name, study.seed, study.budget.trials) == ("mine", 3, 5)
    assert (study.resources.concurrent, storage) == (7, None)
    assert client.asked[0] == ("connect", "c d.yaml")
    assert client.asked[-1] == ("close",)
    out = capsys.readouterr().out
    assert "job j1" in out
    assert "TWOHEAD_STORAGE" in out
    assert "2.0 KiB, 2 files of your own code" in out
    assert "twohead status mine --address 'c d.yaml'\n" in out


def test_without_an_address_only_what_would_look_here_is_given_one(capsys):
    main(["submit"])

    out = capsys.readouterr().out
    assert "twohead status digits\n" in out
    assert "twohead best digits --address http://127.0.0.1:1234\n" in out


@pytest.mark.parametrize(
    ("line", "options", "storage"),
    [
        pytest.param("", [], None, id="absent"),
        pytest.param("storage: mine", [], None, id="relative"),
        pytest.param("storage: s3://b/x", [], "s3://b/x", id="uri"),
        pytest.param("storage: {here}", [], "{here}", id="absolute_though_below_here"),
        pytest.param("storage: mine", ["--storage", "gs://c"], "gs://c", id="said"),
    ],
)
def test_the_storage_of_a_file_counts_as_it_stands_there(client, line, options, storage, tmp_path):
    here = str(tmp_path / "inside")
    (tmp_path / "study.yaml").write_text(f"{YAML}{line.format(here=here)}\n")

    assert main(["submit", "study.yaml", *options]) == 0
    assert main(["resume", "study.yaml", "--address", "A"]) == 0
    asked = [one for one in client.asked if one[0] == "submit"]
    assert asked[0][2] == (storage and storage.format(here=here))
    for _, study, said in asked:
        assert (said or storage_there(study.storage)) == (said or "")


def test_resume_takes_a_name_or_a_file(client):
    main(["resume", "parts", "--address", "A", "--trials", "9"])
    main(["resume", "study.yaml", "--address=A", "--epochs", "9", "--data", "s3://b/data"])

    options = {"trials": 9, "epochs": None, "data": None, "retry_failed": False}
    assert client.asked[1] == ("resume", "parts", options)
    assert client.asked[4][1].data == "s3://b/data"
    assert isinstance(client.asked[4][1], Study)
    assert client.asked[4][1].budget.epochs == 9


@pytest.mark.parametrize(
    ("argv", "there"),
    [
        pytest.param(
            ["best", "--address=A", "p", "--policy", "head", "--head", "c", "--json"],
            {
                **{"folder": "p", "policy": "head", "head": "c", "json": True},
                **{"exponents": None, "test": False, "data": None},
            },
            id="all_its_options",
        ),
        pytest.param(
            ["show", "--address", "A", "s3://b/p"],
            {"folder": "s3://b/p", "json": False},
            id="folder",
        ),
        pytest.param(["list", "--address", "A"], {"storage": "studies"}, id="list"),
    ],
)
def test_what_looks_at_a_study_is_run_there_and_relayed_as_it_is(
    client, argv, there, capsys, monkeypatch
):
    monkeypatch.delenv("COLUMNS", raising=False)

    assert main(argv) == 2

    assert client.asked[1] == (argv[0], {"traceback": False, **there}, None)
    assert capsys.readouterr() == ("printed there\n", "complained there\n")


def test_status_is_a_screen_and_studies_are_a_line_each(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")

    main(["status", "parts"])
    one = capsys.readouterr().out
    main(["status"])
    many = capsys.readouterr().out

    words = "c_output accuracy 0.900 (loss 0.25), r_output MAE 0.0625 (loss 0.01)"
    assert "state    running\ntrials   3 of 24 ended\n" in one
    assert f"best     trial 2 after epoch 3: {words}\nconfig   units 8\n" in one
    assert "job      j1 on 10.0.0.5, begun 19" in one
    assert one.endswith("last     trial 3 complete\n")
    assert [line.split()[0] for line in many.splitlines()] == ["study", "a", "b\\x1b[2J"]
    assert many.count(words) == 2


def test_logs_move_no_cursor(capsys):
    assert main(["logs", "parts", "--follow"]) == 0

    assert capsys.readouterr().out == "one     two\n\\x1b[31mTrue\n"


def test_stop_says_how_to_go_on(capsys):
    assert main(["stop", "parts", "--address", "A"]) == 0

    assert capsys.readouterr().out.endswith("next     twohead resume parts --address A\n")


@pytest.mark.parametrize("error", [Unreachable("gone"), StudyLocked("held by j1")])
def test_what_a_cluster_refuses_is_one_line(client, error, monkeypatch, capsys):
    def refuse(self, *args, **options):
        raise error

    monkeypatch.setattr(client, "submit", refuse)

    assert main(["submit", "study.yaml"]) == 1
    assert capsys.readouterr().err == f"twohead: {error}\n"
