import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.finished_study import write_study

ROOT = Path(__file__).resolve().parents[2]
FRAMEWORKS = ("tensorflow", "keras")
SLOW = (*FRAMEWORKS, "ray", "optuna")
"""What takes seconds to import and no one needs who only looks at a study."""
VALUES = (
    "import trainables.spec.trial, trainables.data.dataset, "
    "trainables.trial.checkpoint, trainables.trial.attempt"
)


def loaded_after(code, folder):
    """Run code in a fresh interpreter; return which modules it had loaded at its end."""
    script = f"import sys, json\n{code}\nprint()\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def among(modules, forbidden):
    return [m for m in modules if any(m == name or m.startswith(f"{name}.") for name in forbidden)]


@pytest.mark.parametrize(
    ("code", "forbidden"),
    [
        pytest.param("import search", (*SLOW, "zipfile"), id="search"),
        pytest.param(VALUES, (*SLOW, "search"), id="plain_values"),
        pytest.param(
            "import trainables.trial.trainable", (*FRAMEWORKS, "optuna", "search"), id="actor"
        ),
        pytest.param("import trainables.model.build", ("optuna", "search", "ray"), id="model"),
    ],
)
def test_importing_loads_nothing_that_takes_long_and_is_not_needed(code, forbidden, tmp_path):
    assert among(loaded_after(code, tmp_path), forbidden) == []


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("assert search.load('digits').best().number == 4", id="load_and_best"),
        pytest.param("search.load('digits').table()", id="table"),
        pytest.param("search.Study.from_dict(search.load('digits').study.to_dict())", id="study"),
    ],
)
def test_reading_a_study_loads_neither_ray_nor_a_framework(code, tmp_path):
    write_study(tmp_path)

    modules = loaded_after(f"import search\n{code}", tmp_path)

    assert among(modules, SLOW) == []


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        pytest.param(["best", "--help"], 0, id="best_help"),
        pytest.param(["best", "digits"], 0, id="best"),
        pytest.param(["best", "digits", "--json"], 0, id="best_json"),
        pytest.param(["show", "digits"], 0, id="show"),
        pytest.param(["list", "."], 0, id="list"),
        pytest.param(["best", "nowhere"], 2, id="best_of_nothing"),
        pytest.param(["run", "nowhere.yaml"], 2, id="run_of_nothing"),
        pytest.param(["submit", "--help"], 0, id="submit_help"),
        pytest.param(["status", "digits", "--address", "127.0.0.1:1"], 1, id="no_cluster"),
        pytest.param(["best", "digits", "--address", "127.0.0.1:1"], 1, id="best_of_no_cluster"),
        pytest.param(["doctor", "--storage", "."], 0, id="doctor"),
    ],
)
def test_commands_that_only_look_load_neither_ray_nor_a_framework(arguments, status, tmp_path):
    write_study(tmp_path)
    code = f"import search.cli.main\nassert search.cli.main.main({arguments!r}) == {status}"

    assert among(loaded_after(code, tmp_path), SLOW) == []


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        pytest.param("tensorflow", ("tensorflow",), id="exact"),
        pytest.param("ray.tune", ("ray",), id="below"),
    ],
)
def test_a_forbidden_module_would_be_found(module, forbidden, tmp_path):
    code = f"import types; sys.modules[{module!r}] = types.ModuleType({module!r})"

    assert among(loaded_after(code, tmp_path), forbidden) == [module]
