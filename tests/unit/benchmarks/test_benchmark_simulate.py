import io
import json

import numpy as np
import pytest
from rich.console import Console

from tests.benchmarks import contenders, drawing, printing, simulate
from tests.benchmarks.clock import Trace
from tests.benchmarks.summary import ratios, shares_at, summarise
from tests.unit.benchmarks.small_tables import rows_of, write_plain

FAST = "twohead,random,tpe,tpe-multivariate,nsga2,hyperband"


def trace(shares, seconds=None, trials=1):
    seconds = np.arange(1.0, len(shares) + 1) if seconds is None else np.array(seconds)
    return Trace(shares=np.array(shares), seconds=seconds, trials=trials)


@pytest.fixture
def path(tmp_path):
    return write_plain(tmp_path / "t.parquet", rows_of())


def simulated(capsys, *arguments):
    """Return the exit status, what was printed as JSON, and the notes."""
    status = simulate.main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    return status, json.loads(printed.out), printed.err


def test_the_time_to_a_share_is_when_it_is_first_reached():
    runs = [trace([0.1, 0.9, 0.96, 0.99]), trace([0.92, 0.93, 0.94, 0.98])]

    found = summarise(runs, budget=8, seconds=10.0)["epochs"]["to"]

    assert found["90"] == {"median": 1.5, "quartiles": [1.25, 1.75], "reached": 2}
    assert found["98"] == {"median": 4.0, "quartiles": [4.0, 4.0], "reached": 2}


def test_a_run_that_never_gets_there_counts_as_the_budget():
    runs = [trace([0.5, 0.6, 0.7], seconds=[1, 5, 30]), trace([0.5, 0.6, 0.7])]

    found = summarise(runs, budget=8, seconds=10.0)

    assert found["epochs"]["to"]["90"] == {"median": 8.0, "quartiles": [8.0, 8.0], "reached": 0}
    assert found["seconds"]["to"]["90"]["median"] == 20.0


def test_a_run_without_any_epoch_has_reached_nothing():
    found = summarise([trace([])], budget=8, seconds=10.0)

    assert found["epochs"]["to"]["90"]["median"] == 8.0
    assert found["seconds"]["share_at"]["100"]["median"] == 0.0


def test_a_share_holds_until_the_next_epoch_ends_and_after_the_last():
    run = trace([0.2, 0.4], seconds=[2.0, 5.0])

    found = shares_at([run], [run.seconds], [1.9, 2.0, 4.9, 5.0, 100.0])

    assert found.tolist() == [[0.0, 0.2, 0.2, 0.4, 0.4]]


def test_the_ratio_is_to_the_better_of_the_others_that_ran():
    def result(median):
        figures = {"to": {str(t): {"median": median} for t in (90, 95, 98, 99)}}
        return {"epochs": figures, "seconds": figures}

    results = {"twohead": result(30.0), "a": result(60.0), "b": result(90.0)}

    found = ratios(results, "twohead", ["a", "b", "absent"])

    assert found["epochs"] == {"90": 0.5, "95": 0.5, "98": 0.5, "99": 0.5}
    assert ratios(results, "twohead", ["absent"]) == {}
    assert ratios({"a": result(1.0)}, "twohead", ["a"]) == {}


def test_one_json_object_tells_settings_and_figures(capsys, path):
    options = ["--seeds", 2, "--workers", 3, "--epochs", 60, "--processes", 1, "--json"]

    status, report, notes = simulated(capsys, path, *options, "--contenders", FAST)

    assert status == 0
    assert list(report) == ["settings", "contenders", "ratios"]
    assert report["settings"] | {"table": "t.parquet", "seeds": 2, "workers": 3} == {
        "table": "t.parquet",
        "heads": ["kind", "place"],
        "configs": 36,
        "epochs_per_trial": 4,
        "recorded_seeds": 2,
        "baselines": report["settings"]["baselines"],
        "seeds": 2,
        "workers": 3,
        "epochs": 60,
        "seconds": report["settings"]["seconds"],
    }
    assert list(report["contenders"]) == FAST.split(",")
    for result in report["contenders"].values():
        assert result["seeds"] == 2
        for unit in ("epochs", "seconds"):
            assert list(result[unit]["to"]) == ["90", "95", "98", "99"]
            assert list(result[unit]["share_at"]) == ["10", "25", "50", "100"]
        assert 0 < result["epochs"]["share_at"]["100"]["median"] <= 1
        assert max(spread["median"] for spread in result["epochs"]["to"].values()) <= 60
    assert "12 of 12 runs" in notes


@pytest.mark.parametrize(
    ("name", "package"),
    [
        *[pytest.param(name, "optuna", id=name) for name in FAST.split(",")],
        pytest.param("asha-head", "ray", id="asha-head", marks=pytest.mark.slow),
        pytest.param("asha-mean", "ray", id="asha-mean", marks=pytest.mark.slow),
        pytest.param("moasha", "syne_tune", id="moasha"),
        pytest.param("gp", "torch", id="gp", marks=pytest.mark.slow),
    ],
)
def test_a_run_is_a_function_of_its_seed(path, name, package):
    pytest.importorskip(package)
    options = {"seeds": 2, "workers": 4, "budget": 70}

    first = simulate.run_all(str(path), [name], **options)[name]
    again = simulate.run_all(str(path), [name], **options)[name]

    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.shares, other.shares)
        np.testing.assert_array_equal(one.seconds, other.seconds)
    assert not np.array_equal(first[0].shares, first[1].shares)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "package"),
    [
        pytest.param("hyperband", "optuna", id="hyperband"),
        pytest.param("asha-mean", "ray", id="asha-mean"),
        pytest.param("moasha", "syne_tune", id="moasha"),
        pytest.param("gp", "torch", id="gp"),
    ],
)
def test_a_peer_goes_on_after_trainings_that_diverged(tmp_path, name, package):
    pytest.importorskip(package)
    rows = rows_of()
    for row in rows:
        if row["units"] == 8 and row["epoch"] >= 1 + row["norm"]:
            row["val_kind_loss"] = float("nan")
    path = write_plain(tmp_path / "t.parquet", rows)

    runs = simulate.run_all(str(path), [name], seeds=1, workers=3, budget=80)[name]

    assert len(runs[0].shares) == 80 or runs[0].shares[-1] == 1
    assert runs[0].trials > 20


def test_ours_never_repeats_a_config_and_ends_when_all_were_tried(path):
    runs = simulate.run_all(str(path), ["random"], seeds=1, workers=2, budget=5000)["random"]

    assert runs[0].shares[-1] == 1
    assert runs[0].trials <= 36


def test_three_heads_can_be_simulated(capsys, tmp_path):
    path = write_plain(tmp_path / "t.parquet", rows_of(heads=("a", "b", "c")))

    options = ["--seeds", 1, "--epochs", 60, "--processes", 1, "--json"]
    _, report, _ = simulated(capsys, path, *options, "--contenders", "twohead,tpe,hyperband")

    assert report["settings"]["heads"] == ["a", "b", "c"]
    assert all(
        0 < result["epochs"]["share_at"]["100"]["median"] <= 1
        for result in report["contenders"].values()
    )


def test_a_contender_whose_package_is_missing_is_left_out_with_a_note(capsys, path, monkeypatch):
    absent = contenders.Entry(
        about="needs what is not there", module="ours", factory="Twohead", packages=("absent_1",)
    )
    entries = {**contenders.CONTENDERS, "absent": absent}
    monkeypatch.setattr(simulate, "CONTENDERS", entries)

    options = ["--seeds", 1, "--epochs", 20, "--processes", 1, "--json"]
    _, report, notes = simulated(capsys, path, *options, "--contenders", "random,absent")

    assert list(report["contenders"]) == ["random"]
    assert "left out absent (needs what is not there): No module named 'absent_1'" in notes


def test_a_table_that_cannot_be_read_ends_with_status_2(capsys, tmp_path):
    status = simulate.main([str(tmp_path / "absent.parquet"), "--epochs", "5", "--json"])

    printed = capsys.readouterr()
    assert status == 2
    assert printed.out == ""
    assert printed.err.startswith("error: a table needs to be a file, got")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["--epochs", "0"], "needs a whole number >= 1, got '0'", id="no budget"),
        pytest.param(
            ["--epochs", "9", "--contenders", "tpe,bohb"],
            "got ['bohb']",
            id="unknown contender",
        ),
    ],
)
def test_wrong_arguments_are_refused(capsys, arguments, message):
    with pytest.raises(SystemExit, match="2"):
        simulate.main(["t.parquet", *arguments])

    assert message in capsys.readouterr().err


def test_people_get_tables_that_fit_a_terminal(capsys, path):
    options = ["--seeds", "1", "--epochs", "40", "--processes", "1", "--json"]
    _, report, _ = simulated(capsys, path, *options, "--contenders", "twohead,tpe-multivariate")
    text = io.StringIO()

    printing.print_report(report, Console(file=text, width=80))

    shown = text.getvalue()
    assert "ours/better MO-TPE" in shown
    assert "tpe-multivariate: Optuna MO-TPE, multivariate, no stopping" in shown
    assert "…" not in shown


def test_every_contender_has_a_color_of_its_own():
    assert len(set(drawing.COLORS)) == len(drawing.COLORS) == len(contenders.CONTENDERS)
    assert len(drawing.STYLES) == len(contenders.CONTENDERS)


def test_a_picture_is_drawn_of_any_contenders(path, tmp_path):
    pytest.importorskip("matplotlib")
    picture = tmp_path / "out.png"

    options = ["--seeds", "2", "--epochs", "40", "--processes", "1", "--json"]
    simulate.main([str(path), *options, "--contenders", "random,nsga2", "--draw", str(picture)])

    assert picture.read_bytes().startswith(b"\x89PNG")
