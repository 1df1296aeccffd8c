import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FRAMEWORKS = ("tensorflow", "keras")


def loaded_after(code, cwd):
    """Run code in a fresh interpreter; return which modules it had loaded at its end."""
    script = f"import json, sys\n{code}\nprint(); print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=cwd,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "HOME": str(cwd)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def offending(modules, forbidden):
    return [m for m in modules if any(m == name or m.startswith(f"{name}.") for name in forbidden)]


@pytest.fixture(scope="module")
def study_folder(tmp_path_factory):
    """A finished study, written without Ray or TensorFlow."""
    sys.path.insert(0, str(ROOT / "tests"))
    try:
        from finished_study import make_study, write_study
    finally:
        sys.path.pop(0)
    storage = tmp_path_factory.mktemp("storage")
    write_study(make_study(storage))
    return storage / "digits"


@pytest.mark.parametrize(
    ("code", "forbidden"),
    [
        pytest.param("import search", (*FRAMEWORKS, "ray", "optuna"), id="search"),
        pytest.param(
            "import search; search.Study.from_yaml", (*FRAMEWORKS, "ray", "optuna"), id="study"
        ),
        pytest.param(
            "import trainables.spec, trainables.data, trainables.checkpoint, trainables.attempt",
            (*FRAMEWORKS, "optuna", "search", "ray"),
            id="plain_values",
        ),
        pytest.param(
            "import trainables.trainable", (*FRAMEWORKS, "optuna", "search"), id="trainable"
        ),
        pytest.param(
            "import trainables.model, trainables.training", ("optuna", "search"), id="model"
        ),
    ],
)
def test_importing_loads_nothing_that_is_not_needed(code, forbidden, tmp_path):
    assert offending(loaded_after(code, tmp_path), forbidden) == []
