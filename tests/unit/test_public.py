"""The public names as a user, an editor and a type checker see them."""

import inspect
import json
import pydoc
import subprocess
import sys
from pathlib import Path

import pytest

import search

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import search

heads = {"c_output": {"kind": "classification"}, "r_output": {"kind": "box", "scale": "pixel"}}
space = {"conv1_filters": {"choice": [16, 32]}, "l2": 0.0}
study = search.Study(name="digits", data="d.parquet", heads=heads, space=space)
other = search.Study(
    name="digits",
    data="d.parquet",
    heads={"c_output": {"kind": "classification", "units": 10}},
    budget={"trials": 3, "hours": None},
    resources={"gpu": "auto", "cpu": 2},
    validation={"share": 0.1},
)
trials: int = study.budget.trials + other.budget.epochs
kinds: list[str] = [head.kind for head in study.heads]
result = search.run(study)
losses: dict[str, float] = dict(result.best().losses)
states: list[str] = [trial.state for trial in search.load("studies/digits").trials]
means = [one.losses["r_output"].mean for one in search.confirm(result).candidates]
"""
WRONG = {
    'search.Study(name=3, data="d", heads={})': "name",
    'search.Study(name="a", data="d", heads={}, budget=3)': "budget",
    'search.Study(name="a", data="d", heads={}, trials=3)': "trials",
    "study.budget.trails": "trails",
    "study.heads[0].knid": "knid",
    "result.best().loses": "loses",
    "search.Sutdy": "Sutdy",
}
"""Lines that a checker refuses, with what its message names."""


def test_the_package_lists_its_public_names_and_imports_the_heavy_ones_when_asked():
    code = (
        "import json, sys, search\n"
        "heavy = ('numpy', 'pyarrow', 'yaml', 'search.study.study')\n"
        "print(json.dumps([dir(search), [name for name in heavy if name in sys.modules]]))\n"
        "assert search.Study is sys.modules['search.study.study'].Study\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [search.__all__, []]
    assert len(search.__all__) <= 12


def test_the_help_of_the_package_begins_with_every_public_name_in_a_line():
    page = pydoc.plain(pydoc.render_doc(search)).partition("PACKAGE CONTENTS")[0]

    named = [line.split(":")[0].strip() for line in page.splitlines()]
    assert {name for name in search.__all__ if name in named} == set(search.__all__)
    assert len(page.splitlines()) < 40


def test_a_study_says_what_it_takes_and_a_name_that_is_none_is_refused():
    taken = inspect.signature(search.Study).parameters

    assert list(taken)[:3] == ["name", "data", "heads"]
    assert taken["seed"].annotation is int
    with pytest.raises(AttributeError, match="module 'search' has no attribute 'Sutdy'"):
        search.Sutdy  # noqa: B018


@pytest.mark.slow
@pytest.mark.parametrize("checker", ["mypy", "basedpyright"])
def test_a_users_program_is_understood_by_type_checkers_and_slips_are_found(checker, tmp_path):
    first = len(PROGRAM.splitlines()) + 1
    program = tmp_path / "program.py"
    program.write_text(PROGRAM + "\n".join(WRONG) + "\n")

    found = _mypy(program) if checker == "mypy" else _basedpyright(program)

    assert sorted(found) == [*range(first, first + len(WRONG))], found
    for line, name in enumerate(WRONG.values(), first):
        assert name in found[line]


def _mypy(program):
    """Return the message of each line that mypy refuses, strict as for ourselves."""
    options = ["--config-file", str(ROOT / "pyproject.toml"), "--output", "json"]
    cache = ["--cache-dir", str(ROOT / ".mypy_cache"), "--follow-imports", "silent"]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, *cache, str(program)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    problems = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {one["line"]: one["message"] for one in problems if one["severity"] == "error"}


def _basedpyright(program):
    """Return the message of each line that pyright refuses, as it checks a user's program."""
    config = {"extraPaths": [str(ROOT)], "typeCheckingMode": "standard"}
    (program.parent / "pyrightconfig.json").write_text(json.dumps(config))
    done = subprocess.run(
        [sys.executable, "-m", "basedpyright", "--outputjson", "--pythonpath", sys.executable],
        cwd=program.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout
    problems = json.loads(done.stdout)["generalDiagnostics"]
    errors = [one for one in problems if one["severity"] == "error"]
    return {one["range"]["start"]["line"] + 1: one["message"] for one in errors}
