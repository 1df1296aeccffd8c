"""A user's own settings of Keras, another backend among them, alter no study."""

import json
import os
import subprocess
import sys
import textwrap

import pytest

from tests.support.stub_study import ROOT
from trainables.data.digits import write_digits

pytestmark = pytest.mark.slow

MODEL = """
import keras


def build(*, image_shape, heads, filters: int = 4):
    image = keras.Input(image_shape)
    features = keras.layers.Conv2D(filters, 3, activation="relu")(image / 255.0)
    features = keras.layers.GlobalAveragePooling2D()(features)
    return keras.Model(image, {
        "c_output": keras.layers.Dense(10, activation="softmax", name="c_output")(features),
        "r_output": keras.layers.Dense(4, activation="sigmoid", name="r_output")(features),
    })
"""
STUDY = {
    "heads": {"c_output": {"kind": "classification"}, "r_output": {"kind": "box", "loss": "giou"}},
    "budget": {"trials": 2, "epochs": 1},
    "resources": {"concurrent": 1},
}
STUDIES = {
    "own": {"model": "own:build", "space": {"filters": {"choice": [4, 6]}, "batch_size": 20}},
    "builtin": {
        "reference": False,
        "space": {"conv1_filters": {"choice": [4, 6]}, "conv2_filters": 4, "batch_norm": True}
        | {"c_output_units": 8, "r_output_units": 8, "batch_size": 20},
    },
}
CODE = """
import sys, json, search
result = search.run(json.loads(sys.argv[1]), progress=False)
print(json.dumps([[p.number, dict(p.losses)] for p in result.points()]))
prediction = result.predict(sys.argv[2])[0]
import keras
print(prediction, keras.config.backend(), keras.config.image_data_format(), keras.config.floatx())
"""
OTHER = {
    "backend": "jax",
    "image_data_format": "channels_first",
    "floatx": "float64",
    "epsilon": 0.5,
    "nnx_enabled": True,
}


def run(folder, study, data, **variables):
    (folder / "own.py").write_text(MODEL)
    given = {**STUDY, **study, "name": "s", "data": data, "storage": str(folder / "studies")}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KERAS_")}
    done = subprocess.run(
        [sys.executable, "-c", CODE, json.dumps(given), data],
        cwd=folder,
        env={**kept, "PYTHONPATH": f"{folder}:{ROOT}", "HOME": str(folder), **variables},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-2:]


@pytest.mark.parametrize("name", [*STUDIES])
def test_settings_of_keras_in_the_environment_and_in_a_file_alter_nothing(name, tmp_path):
    data = str(write_digits(tmp_path / "digits.parquet", num=100, image_size=12))
    for folder in ("plain", "other/.keras"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "other" / ".keras" / "keras.json").write_text(json.dumps(OTHER))

    figures, said = run(tmp_path / "plain", STUDIES[name], data)
    others = run(tmp_path / "other", STUDIES[name], data, KERAS_BACKEND="torch")

    assert len(json.loads(figures)) == 2
    assert others[0] == figures
    assert said.endswith("tensorflow channels_last float32")
    # What the process itself has set is as it was.
    prediction = said.removesuffix(" tensorflow channels_last float32")
    assert others[1] == f"{prediction} tensorflow channels_first float64"


def test_a_process_that_runs_another_backend_is_told_what_to_do():
    code = textwrap.dedent("""
        import sys, types
        keras = sys.modules["keras"] = types.ModuleType("keras")
        keras.config = types.SimpleNamespace(backend=lambda: "jax")
        from search.errors import InputError
        try:
            import trainables.trial.keras_factory
        except InputError as error:
            print(error)
    """)

    said = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout

    assert "imported Keras on 'jax': set KERAS_BACKEND=tensorflow before" in said
