"""Bad input by the command: one message, exit status 2, and nothing that blocks a second try."""

import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from search.cli.main import main
from tests.support.finished_study import write_study
from tests.support.image_sets import rectangles, save, splits

NUM = 40
HEADS = {"c": {"kind": "classification"}, "b": {"kind": "box"}}
SPACE = {"conv1_filters": {"choice": [4, 8]}, "conv2_filters": 4, "batch_size": 8}


@pytest.fixture
def columns():
    seen = rectangles(NUM)
    return {
        "image": seen.encoded,
        "c": seen.classes.tolist(),
        "b": seen.fractions.tolist(),
        "split": splits(NUM),
    }


@pytest.fixture
def files(tmp_path, columns):
    """Writes ``data.parquet`` and a study file; both with some values replaced."""

    def write(changed=None, **settings):
        save(tmp_path / "data.parquet", **{**columns, **(changed or {})})
        study = {
            "name": "bad",
            "data": "data.parquet",
            "heads": HEADS,
            "space": SPACE,
            "budget": {"trials": 2, "epochs": 1},
            "reference": False,
            **settings,
        }
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump(study, sort_keys=False))
        return path

    return write


@pytest.fixture
def refuse(tmp_path, capsys):
    """Runs a study that must be refused; returns the message."""

    def run(path, *arguments):
        storage = () if "--storage" in arguments else ("--storage", str(tmp_path / "studies"))
        status = main(["run", str(path), *storage, *arguments])
        said = capsys.readouterr()
        assert status == 2, said
        assert said.err.startswith("twohead: ")
        assert "Traceback" not in said.err + said.out
        assert not list((tmp_path / "studies").rglob("*"))
        return said.err

    return run


def with_row(values, row, value):
    return [*values[:row], value, *values[row + 1 :]]


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        pytest.param("b", [0.1, float("nan"), 0.5, 0.5], ["'b'", "nan", "row 33"], id="nan"),
        pytest.param("b", [0.5, 0.1, 0.2, 0.5], ["'b'", "height", "row 33"], id="reversed"),
        pytest.param("b", [0.5, 0.1, 1.2, 0.5], ["'b'", "inside", "row 33"], id="outside"),
        pytest.param("b", [0.5, 0.1, 0.2], ["'b'", "4 numbers", "row 33"], id="three_numbers"),
        pytest.param("c", -1, ["'c'", "-1", "row 33"], id="negative_class"),
        pytest.param("c", None, ["'c'", "null", "row 33"], id="no_label"),
        pytest.param("split", "valid", ["'split'", "'validation'", "row 33"], id="split"),
    ],
)
def test_a_wrong_value_is_told_with_its_row(column, value, said, columns, files, refuse):
    message = refuse(files({column: with_row(columns[column], 33, value)}))

    assert all(words in message for words in [*said, "data.parquet", "got"])


def test_a_class_id_as_large_as_the_units_is_told(columns, files, refuse):
    heads = {**HEADS, "c": {"kind": "classification", "units": 10}}

    message = refuse(files({"c": with_row(columns["c"], 7, 10)}, heads=heads))

    assert "head 'c' needs class ids from 0 to 9 (units: 10), got class id 10 in row 7" in message


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        pytest.param({"data": "gone.parquet"}, ["gone.parquet", "exist"], id="missing_file"),
        pytest.param({"data": "."}, ["data.parquet"], id="no_such_column_in_folder"),
        pytest.param({"heads": {"d": {"kind": "box"}}}, ["'d'", "column"], id="no_column"),
        pytest.param({"trails": 3}, ["study.yaml:", "'trails'"], id="unknown_key"),
        pytest.param(
            {"heads": {"c": {"kind": "class"}}},
            ["study.yaml:", "classification", "'class'"],
            id="unknown_kind",
        ),
        pytest.param(
            {"space": {"learning_rate": {"float": [0.1, 0.01]}}},
            ["study.yaml:", "learning_rate", "low", "0.1"],
            id="reversed_range",
        ),
        pytest.param(
            {"space": {"conv1_filter": {"int": [4, 8]}}},
            ["study.yaml:", "shapes nothing", "conv1_filter", "'conv1_filters'"],
            id="shapes_nothing",
        ),
        pytest.param(
            {"space": {"batch_size": {"choice": [8, 512]}}},
            ["space.batch_size", "at most 20", "512"],
            id="batch_too_large",
        ),
        pytest.param(
            {"space": {f"conv{block}_filters": 4 for block in range(1, 6)}},
            ["18x18", "at most 2 convolution blocks", "got 5"],
            id="too_deep",
        ),
        pytest.param(
            {"space": {"pool_size": {"int": [2, 7]}}},
            ["18x18", "pool_size=7", "at most 1"],
            id="too_much_pooling",
        ),
        pytest.param(
            {"image_size": [2, 40]}, ["2x40", "at most 0 convolution blocks"], id="image_too_small"
        ),
        pytest.param({"resources": {"cpu": 999_999}}, ["resources.cpu", "999999"], id="cpu"),
        pytest.param({"resources": {"gpu": 0.3}}, ["resources.gpu", "0.3"], id="gpu_share"),
        pytest.param({"name": "../bad"}, ["study.yaml:1", "'../bad'"], id="name_with_dots"),
        pytest.param(
            {"start_with": [{"conv1_filters": 999}]},
            ["start_with[0].conv1_filters", "[4, 8]", "999"],
            id="start_outside_the_space",
        ),
        pytest.param(
            {"start_with": [{"filters": 8}]},
            ["start_with[0].filters", "conv2_filters"],
            id="start_unknown",
        ),
        pytest.param({"budget": {"epochs": 0}}, ["budget.epochs", "got 0"], id="no_epochs"),
        pytest.param({"seed": -1}, ["seed", "got -1"], id="seed"),
        pytest.param({"sampler": "cmaes"}, ["sampler", "tpe", "'cmaes'"], id="sampler"),
        pytest.param({"model": "models"}, ["package.module:function", "'models'"], id="model"),
    ],
)
def test_a_wrong_setting_is_told_with_what_would_be_right(settings, said, files, refuse):
    path = files(**settings)
    if settings.get("data") == ".":
        columns = pq.read_table(path.parent / "data.parquet").drop_columns(["image"])
        pq.write_table(columns, path.parent / "data.parquet")
        said = ["image", "column"]

    message = refuse(path)

    assert all(words in message for words in said), message


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99], ids=["start", "half", "all_but_the_end"])
def test_a_truncated_file_is_told(share, files, refuse):
    path = files()
    data = (path.parent / "data.parquet").read_bytes()
    (path.parent / "data.parquet").write_bytes(data[: int(len(data) * share)])

    assert "data.parquet' needs to be a whole Parquet file" in refuse(path)


def test_a_folder_without_parquet_is_told(files, refuse, tmp_path):
    (tmp_path / "empty").mkdir()

    assert "needs at least one *.parquet file" in refuse(files(data="empty"))


def test_a_tag_in_the_study_file_runs_nothing(tmp_path, refuse):
    path = tmp_path / "study.yaml"
    path.write_text(f"name: x\ndata: !!python/object/apply:os.mkdir ['{tmp_path}/made']\n")

    assert "study.yaml:2 has the tag" in refuse(path)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("storage", ["file", "file/below"])
def test_a_storage_that_is_a_file_is_told(storage, files, refuse, tmp_path):
    path = files()
    (tmp_path / "file").write_text("here")

    message = refuse(path, "--storage", str(tmp_path / storage))

    assert f"storage needs a folder for the study '{tmp_path / storage}/bad'" in message
    assert f"got the file {tmp_path}/file" in message


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["resume", "{}"], "holds no study", id="resume_of_no_study"),
        pytest.param(["best", "{}/none"], "holds no study", id="best_of_nothing"),
        pytest.param(["best", "{}/digits", "--policy", "sum"], "'sum'", id="policy"),
        pytest.param(["best", "{}/digits", "--head", "nose"], "'nose'", id="head"),
        pytest.param(["best", "{}/digits", "--exponents", "nose=1"], "'nose'", id="exponents"),
        pytest.param(["resume", "{}/digits", "--trials", "1"], "budget.trials", id="fewer_trials"),
        pytest.param(["run", "{}/none.yaml"], "does not exist", id="no_study_file"),
    ],
)
def test_a_wrong_argument_is_told(arguments, said, tmp_path, capsys):
    write_study(str(tmp_path))

    status = main([argument.format(tmp_path) for argument in arguments])

    assert (status, said in capsys.readouterr().err) == (2, True)


def test_a_damaged_record_is_told_and_not_overwritten(tmp_path, capsys):
    folder = Path(write_study(str(tmp_path)).folder)
    damaged = (folder / "study.json").read_bytes()[:50]
    (folder / "study.json").write_bytes(damaged)

    assert main(["best", str(folder)]) == 1
    assert main(["resume", str(folder)]) == 1

    assert capsys.readouterr().err.count("study.json is damaged") == 2
    assert (folder / "study.json").read_bytes() == damaged


def command(*arguments, cwd):
    """Run the command as a user does: its own process, from another folder."""
    given = [sys.executable, "-m", "search.cli.main", *map(str, arguments)]
    env = {**os.environ, "PYTHONPATH": os.getcwd(), "PYTHONWARNINGS": ""}
    return subprocess.run(given, cwd=cwd, env=env, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_what_is_found_once_ray_runs_leaves_nothing_that_blocks_a_second_try(tmp_path):
    seen = rectangles(1500, 12, 12)
    images = with_row(seen.encoded, 1234, b"no image")
    save(tmp_path / "data.parquet", image=images, c=seen.classes)
    settings = {
        "name": "second",
        "data": "data.parquet",
        "heads": {"c": {"kind": "classification"}},
        "space": {"conv1_filters": 4, "conv2_filters": 4, "batch_size": 64},
        "budget": {"trials": 1, "epochs": 1},
        "reference": False,
    }
    path, storage = tmp_path / "study.yaml", ("--storage", tmp_path / "studies")

    def attempt(**changes):
        path.write_text(yaml.safe_dump({**settings, **changes}))
        return command("run", path, *storage, cwd="/")

    too_much = attempt(resources={"gpu": 4096})
    rotten = attempt()
    save(tmp_path / "data.parquet", image=seen.encoded, c=seen.classes)
    mended = attempt(seed=3)

    assert (too_much.returncode, rotten.returncode) == (2, 2)
    assert "gpu=4096" in too_much.stderr
    assert "row 1234" in rotten.stderr
    assert len(rotten.stderr.splitlines()) == len(too_much.stderr.splitlines()) == 1
    assert (mended.returncode, mended.stderr) == (0, "")
    best = command("best", tmp_path / "studies/second", "--json", cwd="/")
    assert '"number": 0' in best.stdout
