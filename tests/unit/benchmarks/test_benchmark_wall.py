import json
import sys
from dataclasses import dataclass, field

import numpy as np
import pyarrow.parquet as pq
import pytest

from search.space.completion import default_space
from tests.benchmarks.wall import __main__ as wall
from tests.benchmarks.wall import preparing, running
from tests.benchmarks.wall.entries import ENTRIES, Entry, Outcome
from tests.benchmarks.wall.parts import last_result, losses_of, parts_of
from tests.benchmarks.wall.stamps import read_stamps
from tests.benchmarks.wall.task import Task
from tests.support.processes import tagged

STAMP = """
import sys
from tests.benchmarks.wall.stamps import part, stamp_result
from tests.benchmarks.wall.task import read_task
task = read_task()
with part("import"):
    pass
for number in task.configs:
    for epoch in range(1, task.epochs + 1):
        stamp_result(int(number), epoch, {"c_output": 1.0 / epoch, "r_output": 0.1})
"""
CRASH = "print('all is well'); raise ValueError('the disk is full')"
HANG = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print("waiting", flush=True)
time.sleep(600)
"""


@dataclass(frozen=True)
class Scripted:
    """A contender that is a few lines of Python."""

    script: str
    kind: str = "peer"
    about: str = "a script"
    packages: tuple = ()
    environment: dict = field(default_factory=dict)

    def command(self, task, python):
        return [python, "-c", self.script]

    def outcome(self, task, python, started):
        stamps = read_stamps(task.stamps)
        parts = parts_of(stamps, started=started, slots=1)
        return Outcome(ended=last_result(stamps), losses=losses_of(stamps), parts=parts)


def task_of(num=2, epochs=2):
    return Task(
        folder="",
        data="",
        configs={str(number): {} for number in range(num)},
        epochs=epochs,
        concurrent=2,
        threads=1,
        precision="float32",
        seed=0,
        head_activations={},
    )


def run(script, *, limit=60.0):
    return running.run(Scripted(script), task_of(), python=sys.executable, limit=limit)


def test_a_contender_is_timed_and_read():
    found = run(STAMP)

    assert found["error"] is None
    assert 0 < found["wall_seconds"] <= found["exit_seconds"]
    assert found["losses"][1] == {
        1: {"c_output": 1.0, "r_output": 0.1},
        2: {"c_output": 0.5, "r_output": 0.1},
    }


def test_a_contender_that_crashes_is_reported_with_its_last_lines():
    error = run(CRASH)["error"]

    assert error.startswith("ended with status 1\n  all is well")
    assert error.endswith("ValueError: the disk is full")


def test_a_contender_without_a_trial_is_reported_though_it_ended_well():
    error = run(STAMP.replace("for number in task.configs", "for number in ['0']"))["error"]

    assert error == "has no result of trials 1"


def test_a_contender_that_hangs_is_ended_with_all_its_processes(monkeypatch):
    tags = []
    kill_all = running.kill_all
    monkeypatch.setattr(running, "kill_all", lambda tag: tags.append(tag) or kill_all(tag))

    error = run(HANG, limit=3.0)["error"]

    assert error == "did not end within 3 s\n  waiting"
    assert [tagged(tag) for tag in tags] == [[]]


def test_a_contender_that_cannot_be_started_is_reported():
    found = running.run(Scripted(""), task_of(), python="/no/python", limit=1.0)

    assert found["error"].startswith("could not be started: ")


@pytest.fixture
def scripted(monkeypatch, tmp_path):
    """Make the contenders scripts, so that the command itself can be tried."""

    def replace_with(**scripts):
        names = {name.replace("_", "-"): Scripted(script) for name, script in scripts.items()}
        for name in list(ENTRIES):
            monkeypatch.delitem(ENTRIES, name)
        for name, entry in names.items():
            monkeypatch.setitem(ENTRIES, name, entry)
        monkeypatch.setattr(wall.machine, "warm_up", lambda python: None)
        monkeypatch.setattr(wall.preparing, "write_data", lambda *_, **__: tmp_path)
        return ["--out", str(tmp_path / "out"), "--trials", "2", "--epochs", "2", "--rounds", "1"]

    return replace_with


def test_a_crash_does_not_end_the_others(scripted, capsys):
    common = scripted(bare_epoch=STAMP, optuna=CRASH, ray_class=STAMP)

    status = wall.main([*common, "--contenders", "bare-epoch,optuna,ray-class", "--json"])

    report = json.loads(capsys.readouterr().out)
    assert status == 1
    assert {row["contender"]: row["runs"] for row in report["rows"]} == {
        "bare-epoch": 1,
        "optuna": 0,
        "ray-class": 1,
    }
    (error,) = [error for row in report["rows"] for error in row["errors"]]
    assert error.endswith("ValueError: the disk is full")


def test_runs_add_up_over_several_commands_and_the_noise_is_measured_once(scripted, capsys):
    common = [*scripted(bare_epoch=STAMP, optuna=STAMP), "--json"]

    for name in ("bare-epoch", "bare-epoch", "optuna"):
        assert wall.main([*common, "--contenders", name]) == 0

    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {row["contender"]: row["runs"] for row in report["rows"]} == {
        "bare-epoch": 2,
        "optuna": 1,
    }
    assert report["noise"]["configs"] == 2


def test_a_contender_whose_package_is_missing_is_left_out_with_a_note(scripted, capsys):
    common = scripted(bare_epoch=STAMP)
    ENTRIES["optuna"] = Entry(about="", kind="peer", module="x", packages=("no_such_package",))

    assert wall.main([*common, "--contenders", "bare-epoch,optuna"]) == 0

    printed = capsys.readouterr()
    note = f"left out optuna: {sys.executable} has no no_such_package"
    assert note in printed.err
    assert note in printed.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["--contenders", "optuna,nobody"], "needs some of", id="contender"),
        pytest.param(["--precision", "float16"], "needs some of", id="precision"),
        pytest.param(["--trials", "0"], "needs a whole number >= 1, got '0'", id="trials"),
        pytest.param(["--python", "optuna"], "needs NAME=PATH", id="interpreter"),
    ],
)
def test_what_cannot_be_is_refused(capsys, arguments, message):
    with pytest.raises(SystemExit, match="2"):
        wall.main(arguments)

    assert message in capsys.readouterr().err


def test_configs_are_of_the_default_space_and_more_trials_only_add_to_them():
    configs = preparing.draw_configs(5)

    space = default_space(preparing.HEAD_SPECS)
    assert all(space.contains(config) for config in configs)
    assert preparing.draw_configs(3) == configs[:3]
    assert len({json.dumps(config) for config in configs}) == 5


def test_configs_can_be_given(tmp_path, capsys):
    path = tmp_path / "configs.json"
    path.write_text(json.dumps([{"conv1_filters": 8, "batch_size": 32}, {"batch_size": 16}]))

    first = preparing.configs_of(1, path)[0]

    assert (first["conv1_filters"], first["batch_size"], first["conv2_filters"]) == (8, 32, 64)
    assert wall.main(["--trials", "3", "--configs", str(path)]) == 2
    assert "needs a list of at least 3 configs, got 2" in capsys.readouterr().err


def test_a_config_says_how_its_convolutions_pad():
    config = preparing.draw_configs(1)[0] | {"pool_size": 3}

    padded = preparing.with_paddings(config, 16)

    assert (padded["conv1_padding"], padded["conv2_padding"]) == ("valid", "same")
    with pytest.raises(ValueError, match="no batch_norm and no l2"):
        preparing.with_paddings({**config, "l2": 0.1}, 16)


def test_all_contenders_get_the_same_rows(tmp_path):
    data = preparing.write_data(tmp_path, image_size=16, rows=80)

    splits = pq.read_table(data / preparing.PARQUET, columns=["split"])["split"].to_pylist()
    images = np.load(data / "train_image.npy")
    assert {split: splits.count(split) for split in set(splits)} == {
        "train": 80,
        "validation": 10,
    }
    assert (images.shape, images.dtype) == ((80, 16, 16, 1), np.uint8)
    assert np.load(data / "validation_r_output.npy").shape == (10, 4)
    assert preparing.write_data(tmp_path, image_size=16, rows=80) == data


@pytest.mark.slow
def test_both_limits_and_ours_train_the_same_trials(tmp_path, capsys):
    command = ["--trials", "2", "--epochs", "1", "--rounds", "1", "--image-size", "16"]
    command += ["--rows", "160", "--contenders", "bare-epoch,bare-fit,twohead", "--json"]

    status = wall.main([*command, "--out", str(tmp_path)])

    report = json.loads(capsys.readouterr().out)
    assert [row["errors"] for row in report["rows"]] == [[], [], []]
    assert status == 0
    assert [row["runs"] for row in report["rows"]] == [1, 1, 1]
    for row in report["rows"]:
        assert sum(row["parts"].values()) == pytest.approx(row["wall_seconds"])
    assert report["noise"]["configs"] == 2
