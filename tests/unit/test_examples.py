"""The examples in docstrings do what they say."""

import doctest
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("trainables/training/", "trainables/model/build", "trainables/model/state")
"""What imports TensorFlow."""
FILES = sorted(
    path.relative_to(ROOT)
    for package in ("search", "trainables")
    for path in (ROOT / package).rglob("*.py")
    if ">>> " in path.read_text()
)


@pytest.mark.parametrize(
    "file",
    [
        pytest.param(
            file,
            id=str(file),
            marks=[pytest.mark.slow] if str(file).startswith(HEAVY) else [],
        )
        for file in FILES
    ],
)
def test_the_examples_of_a_file_hold(file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = ".".join(file.with_suffix("").parts).removesuffix(".__init__")

    assert doctest.testmod(import_module(name)).failed == 0
