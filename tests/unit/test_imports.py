import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.finished_study import write_study

ROOT = Path(__file__).resolve().parents[2]
FRAMEWORKS = ("tensorflow", "keras")
SLOW = (*FRAMEWORKS, "ray", "optuna")
"""What takes seconds to import and no one needs who only looks at a study."""
VALUES = (
    "import trainables.spec.trial, trainables.data.dataset, "
    "trainables.trial.checkpoint, trainables.trial.attempt"
)


LOOKING = [
    ("best --help", 0),
    ("best digits", 0),
    ("best digits --json", 0),
    ("show digits", 0),
    ("list .", 0),
    ("best nowhere", 2),
    ("run nowhere.yaml", 2),
    ("submit --help", 0),
    ("status digits --address 127.0.0.1:1", 1),
    ("best digits --address 127.0.0.1:1", 1),
    ("doctor --storage .", 0),
]
"""Commands that only look, each with its exit status."""


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
            "import trainables.trial.trainable",
            (*FRAMEWORKS, "optuna", "search"),
            id="actor",
            marks=pytest.mark.slow,  # imports Ray
        ),
        pytest.param(
            "import trainables.model.build",
            ("optuna", "search", "ray"),
            id="model",
            marks=pytest.mark.slow,  # imports TensorFlow
        ),
    ],
)
def test_importing_loads_nothing_that_takes_long_and_is_not_needed(code, forbidden, tmp_path):
    assert among(loaded_after(code, tmp_path), forbidden) == []


def test_looking_at_a_study_loads_neither_ray_nor_a_framework(tmp_path):
    write_study(tmp_path)
    code = f"""
import search
assert search.load('digits').best().number == 4
search.load('digits').table()
search.Study.from_dict(search.load('digits').study.to_dict())
import search.cli.main
for arguments, status in {LOOKING!r}:
    assert search.cli.main.main(arguments.split()) == status, arguments
    assert 'ray' not in sys.modules and 'optuna' not in sys.modules, arguments
"""

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
