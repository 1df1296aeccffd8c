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


def test_a_wrong_value_is_told_with_its_row(columns, files, refuse):
    message = refuse(files({"b": with_row(columns["b"], 33, [0.1, float("nan"), 0.5, 0.5])}))

    assert all(words in message for words in ["'b'", "nan", "row 33", "data.parquet", "got"])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        pytest.param({"data": "gone.parquet"}, ["gone.parquet", "exist"], id="missing_file"),
        pytest.param({"data": "."}, ["data.parquet"], id="no_such_column_in_folder"),
        pytest.param({"heads": {"d": {"kind": "box"}}}, ["'d'", "column"], id="no_column"),
        pytest.param({"trails": 3}, ["study.yaml:", "'trails'"], id="unknown_key"),
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
        pytest.param(
            {"start_with": [{"conv1_filters": 999}]},
            ["start_with[0].conv1_filters", "[4, 8]", "999"],
            id="start_outside_the_space",
        ),
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


def test_a_truncated_file_is_told(files, refuse):
    path = files()
    data = (path.parent / "data.parquet").read_bytes()
    (path.parent / "data.parquet").write_bytes(data[: len(data) // 2])

    assert "data.parquet' needs to be a whole Parquet file" in refuse(path)


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
    images = with_row(seen.encoded, 1234, seen.encoded[1234][:-20])  # with a whole header
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
