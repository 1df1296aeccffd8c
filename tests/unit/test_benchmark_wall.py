import json
import math
import sys
from dataclasses import dataclass, field

import numpy as np
import pytest

from search.completion import default_space
from tests.benchmarks.wall import __main__ as wall
from tests.benchmarks.wall import preparing, printing, running, twohead
from tests.benchmarks.wall.entries import ENTRIES, Entry, Outcome
from tests.benchmarks.wall.judging import Noise, difference, measure_noise
from tests.benchmarks.wall.keeping import keep, kept, rotated
from tests.benchmarks.wall.parts import PARTS, last_result, losses_of, parts_of
from tests.benchmarks.wall.stamps import read_stamps
from tests.benchmarks.wall.table import make_table
from tests.benchmarks.wall.task import HEADS, Task, whole_batch
from tests.processes import tagged

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
NOISE = Noise(by_head={"c_output": 0.1, "r_output": 0.2}, num=12)


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


def losses_at(scale=1.0, num=12, epochs=2):
    """Losses that halve with each epoch and differ a little from trial to trial."""
    return {
        number: {
            epoch: {head: scale * (1 + 0.01 * number) / 2**epoch for head in HEADS}
            for epoch in range(1, epochs + 1)
        }
        for number in range(num)
    }


def recorded(contender, wall=10.0, *, losses=None, seed=0, precision="float32", error=None):
    return {
        "contender": contender,
        "precision": precision,
        "seed": seed,
        "started": 0.0,
        "wall_seconds": wall,
        "exit_seconds": (wall or 0.0) + 1.0,
        "parts": dict.fromkeys(PARTS, 1.0),
        "losses": losses_at() if losses is None else losses,
        "error": error,
    }


def both_seeds(wall=10.0):
    """The limit with two seeds whose losses are 5 % apart, now to one side, now to the other."""
    other = {
        number: {
            epoch: {head: loss * (1.05 if number % 2 else 1 / 1.05) for head, loss in by.items()}
            for epoch, by in epochs.items()
        }
        for number, epochs in losses_at().items()
    }
    return [recorded("bare-epoch", wall), recorded("bare-epoch", seed=1, losses=other)]


def row_of(report, name):
    return next(row for row in report["rows"] if row["contender"] == name)


def part(name, start, end, number=None):
    return {"part": name, "start": start, "end": end, "number": number}


def result(at, number=0, epoch=1):
    return {"number": number, "epoch": epoch, "losses": {"c_output": 1.0}, "at": at}


def test_the_parts_of_a_run_add_up_to_the_time_to_its_last_result():
    one = [part("import", 102, 105), part("train", 106, 108, 0), result(109.0)]
    other = [part("import", 104, 105), part("build", 105, 106, 1), result(112.0, number=1)]

    parts = parts_of([one, other], started=100.0, slots=2)

    assert parts["start-up"] == 3.0
    assert parts["import"] == 2.0
    assert (parts["build"], parts["train"]) == (0.5, 1.0)
    assert parts["idle"] == 1.5
    assert parts["driver"] == 4.0
    assert sum(parts.values()) == pytest.approx(12.0)


def test_what_a_first_epoch_takes_longer_than_the_others_counts_as_trace():
    trains = [part("train", 0, 5, 7), part("train", 5, 7, 7), part("train", 7, 9, 7)]

    parts = parts_of([[*trains, result(10.0)]], started=0.0, slots=1)

    assert (parts["train"], parts["trace"]) == (6.0, 3.0)


def test_a_run_without_a_result_has_no_parts():
    assert parts_of([[part("import", 0, 1)]], started=0.0, slots=1) == {}
    assert last_result([[part("import", 0, 1)]]) is None


def test_our_own_parts_come_from_the_ledger_and_add_up():
    ledger = {
        "start": 4.0,
        "open": 1.0,
        "build": 2.0,
        "trace": 2.0,
        "train": 20.0,
        "save": 1.0,
        "other": 9.0,
    }
    shown = {
        "runs": [{"slots": 2, "wall_seconds": 20.0, "startup_seconds": 6.0, "idle_seconds": 3.0}],
        "ledger": {"seconds": ledger},
    }

    parts = twohead.parts_of(shown, started=100.0, ended=125.0)

    assert (parts["start-up"], parts["idle"], parts["train"]) == (8.0, 1.5, 10.0)
    assert (parts["import"], parts["load"], parts["checkpoint"]) == (2.0, 0.5, 0.5)
    assert sum(parts.values()) == pytest.approx(25.0)


@pytest.mark.parametrize(
    ("rows", "batch"),
    [
        pytest.param(400, 200, id="many"),
        pytest.param(7, 7, id="few"),
        pytest.param(257, 1, id="prime"),
    ],
)
def test_validation_batches_are_all_of_one_size(rows, batch):
    assert whole_batch(rows) == batch


def test_noise_is_how_far_two_seeds_lie_apart():
    one = {number: {head: 1.0 for head in HEADS} for number in range(3)}
    other = {number: {head: math.exp(0.1) for head in HEADS} for number in range(2)}

    noise = measure_noise(one, other)

    assert noise.num == 2
    assert noise.by_head == pytest.approx({head: 0.1 for head in HEADS})
    assert measure_noise(one, {}) is None


@pytest.mark.parametrize(
    ("factor", "reason"),
    [
        pytest.param(lambda n: 1.0, None, id="same"),
        pytest.param(lambda n: 1.1 if n % 2 else 1 / 1.1, None, id="noise"),
        pytest.param(lambda n: 1.2, "c_output is off by +18.2% on average", id="shift"),
        pytest.param(lambda n: 0.8, "c_output is off by -22.3% on average", id="better"),
        pytest.param(lambda n: 2.0 if n % 2 else 0.5, "c_output is off by 69.3% per", id="spread"),
        pytest.param(lambda n: math.nan if n == 3 else 1.0, "c_output is not a pos", id="nan"),
        pytest.param(lambda n: 0.0 if n == 3 else 1.0, "c_output is not a pos", id="zero"),
    ],
)
def test_losses_are_equal_within_the_noise_of_a_seed(factor, reason):
    reference = {n: {head: 0.5 for head in HEADS} for n in range(12)}
    other = {n: {"c_output": 0.5 * factor(n), "r_output": 0.5} for n in range(12)}

    found = difference(reference, other, NOISE)

    assert found is None if reason is None else found.startswith(reason)


def test_losses_of_fewer_trials_are_not_equal():
    reference = {n: {head: 0.5 for head in HEADS} for n in range(4)}
    other = {n: reference[n] for n in (0, 2)}

    assert difference(reference, other, NOISE) == "has no losses of trials 1, 3"


def test_ratios_are_those_of_the_medians_to_the_limit_and_to_the_fastest_peer():
    runs = [
        *both_seeds(wall=10.0),
        *(recorded("twohead", wall) for wall in (30.0, 11.0, 12.0)),
        recorded("optuna", 24.0),
        recorded("ray-class", 48.0),
        recorded("bare-epoch", 8.0, precision="bfloat16"),
        recorded("twohead", 9.0, precision="bfloat16"),
        recorded("ray-class", 16.0, precision="bfloat16"),
    ]

    report = make_table(runs, epochs=2)

    ours, faster = [row for row in report["rows"] if row["contender"] == "twohead"]
    assert (ours["wall_seconds"], ours["runs"], ours["range_seconds"]) == (12.0, 3, [11.0, 30.0])
    assert ours["ratios"]["limit"] == {"wall_seconds": 1.2, "exit_seconds": 13 / 11}
    assert ours["ratios"]["best_peer"]["wall_seconds"] == 0.5
    assert faster["ratios"]["limit"]["wall_seconds"] == 1.125
    assert faster["ratios"]["best_peer"]["wall_seconds"] == 0.375
    assert faster["ratios"]["best_peer_any"]["wall_seconds"] == 0.5625
    assert report["best_peer"] == {"float32": "optuna", "any": "ray-class"}


def test_a_contender_with_other_losses_does_not_count():
    runs = [*both_seeds(), recorded("optuna", 2.0, losses=losses_at(scale=1.5))]
    runs += [recorded("ray-class", 20.0)]

    report = make_table(runs, epochs=2)

    cheat = row_of(report, "optuna")
    assert (cheat["is_equal"], cheat["counts"], cheat["ratios"]["limit"]) == (False, False, None)
    assert report["best_peer"]["float32"] == "ray-class"
    assert "optuna does not count: c_output is off by +40.5% on average" in text_of(report)


def test_losses_that_could_not_be_checked_are_said_not_to_be():
    report = make_table([recorded("bare-epoch"), recorded("optuna")], epochs=2)

    assert row_of(report, "optuna")["is_equal"] is None
    assert "Equal losses were not checked" in text_of(report)


@pytest.mark.parametrize(
    ("epochs", "notices"),
    [
        pytest.param(2, {"c_output": True, "r_output": True}, id="halved"),
        pytest.param(1, {}, id="one epoch"),
    ],
)
def test_the_check_says_whether_it_would_notice_an_epoch_less(epochs, notices):
    assert make_table(both_seeds(), epochs)["notices_one_epoch_less"] == notices


def test_a_check_that_would_not_notice_an_epoch_less_is_called_weak():
    runs = both_seeds()
    for epochs in runs[0]["losses"].values():
        epochs[1] = {**epochs[1], "r_output": epochs[2]["r_output"]}

    report = make_table(runs, epochs=2)

    assert report["notices_one_epoch_less"] == {"c_output": True, "r_output": False}
    assert "is weak for r_output: " in text_of(report)


def test_a_run_that_failed_is_shown_and_its_time_is_not_used():
    failed = recorded("optuna", 1.0, error="ended with status 1\n  ValueError: no")

    report = make_table([*both_seeds(), failed, recorded("optuna", 30.0)], epochs=2)

    assert row_of(report, "optuna")["wall_seconds"] == 30.0
    assert "optuna failed: ended with status 1\n  ValueError: no" in text_of(report)


def test_a_contender_that_only_failed_has_a_row_without_figures():
    failed = recorded("optuna", None, error="ended with status 1")

    report = make_table([*both_seeds(), failed], epochs=2)

    row = row_of(report, "optuna")
    assert (row["runs"], row["wall_seconds"], row["counts"]) == (0, None, False)
    assert "optuna" in text_of(report)
    assert "Optuna" not in printing.as_markdown(with_settings(report))


def test_the_markdown_has_a_line_for_each_that_counts():
    report = make_table([*both_seeds(), recorded("twohead", 11.0)], epochs=2)

    lines = printing.as_markdown(with_settings(report)).splitlines()

    ours = "| **this project, twohead run** | 11.0 | 1.10 | - | 1.0 | 2.0 | 1.0 | 1.0 | 5.0 |"
    assert ours in lines
    assert any("2026-01-02; a processor, 2 cores; python 3.11.7" in line for line in lines)


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
    assert "the disk is full" in row_of(report, "optuna")["errors"][0]


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


def test_runs_with_other_settings_are_left_out(tmp_path):
    for moment, trials in enumerate((2, 3, 2)):
        one = recorded("optuna", losses={0: {1: {"c_output": 1.0}}})
        keep(tmp_path, {**one, "started": moment, "settings": {"trials": trials}})

    runs, others = kept(tmp_path, {"trials": 2})

    assert ([run["started"] for run in runs], others) == ([0, 2], 1)
    assert runs[0]["losses"] == {0: {1: {"c_output": 1.0}}}


def test_each_round_begins_with_the_next_contender():
    assert [rotated("abc", number) for number in range(4)] == [
        ["a", "b", "c"],
        ["b", "c", "a"],
        ["c", "a", "b"],
        ["a", "b", "c"],
    ]


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
    import pyarrow.parquet as pq

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


def with_settings(report):
    settings = {
        "trials": 2,
        "configs": "1f",
        "epochs": 2,
        "concurrent": 2,
        "image_size": 64,
        "rows": 3200,
    }
    return {
        **report,
        "settings": settings,
        "machine": {"processor": "a processor", "cores": 2},
        "versions": {"python": "3.11.7"},
        "date": "2026-01-02",
    }


def text_of(report):
    return printing.as_text(with_settings(report))
