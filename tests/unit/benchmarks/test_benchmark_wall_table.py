import math

import pytest

from tests.benchmarks.wall import printing, twohead
from tests.benchmarks.wall.judging import Noise, difference, measure_noise
from tests.benchmarks.wall.keeping import keep, kept, rotated
from tests.benchmarks.wall.parts import PARTS, last_result, parts_of
from tests.benchmarks.wall.table import make_table
from tests.benchmarks.wall.task import HEADS, whole_batch

NOISE = Noise(by_head={"c_output": 0.1, "r_output": 0.2}, num=12)


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
