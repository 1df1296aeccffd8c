"""What Keras reads when it is imported."""

import os

import pytest

from trainables.model.keras_home import settle_keras


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
    monkeypatch.setenv("KERAS_HOME", "")  # also undoes what is set meanwhile
    monkeypatch.delenv("KERAS_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / home))
    if named is not None:
        monkeypatch.setenv("KERAS_HOME", named)

    settle_keras()

    assert os.environ.get("KERAS_HOME") == expected


def test_keras_runs_on_tensorflow_whatever_the_environment_says(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setenv("KERAS_NNX_ENABLED", "true")
    monkeypatch.setenv("KERAS_HOME", "/chosen")

    settle_keras()

    assert (os.environ["KERAS_BACKEND"], os.environ["KERAS_NNX_ENABLED"]) == (
        "tensorflow",
        "false",
    )
