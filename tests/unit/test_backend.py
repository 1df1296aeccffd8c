"""What is settled before TensorFlow and Keras are imported, which are not needed for that."""

import os
import runpy
import sys
from pathlib import Path
from types import ModuleType

import pytest

import trainables


@pytest.mark.parametrize(
    ("home", "named", "expected"),
    [
        pytest.param("missing", None, os.devnull, id="no_home"),
        pytest.param("missing", "/chosen", "/chosen", id="chosen_by_the_user"),
        pytest.param(".", None, None, id="home"),
    ],
)
def test_keras_takes_no_settings_from_where_any_user_may_have_put_them(
    tmp_path, monkeypatch, home, named, expected
):
    for name in ("keras", "tensorflow"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    for name in ("KERAS_HOME", "KERAS_BACKEND", "TF_CPP_MIN_LOG_LEVEL"):
        monkeypatch.setenv(name, "")  # also undoes what is set meanwhile
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / home))
    if named is not None:
        monkeypatch.setenv("KERAS_HOME", named)

    runpy.run_path(str(Path(trainables.__file__).with_name("backend.py")))

    assert os.environ.get("KERAS_HOME") == expected
