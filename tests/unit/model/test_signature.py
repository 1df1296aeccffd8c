"""What goes in and out of a model, in the file that it is saved to."""

import json
import re
import subprocess
import sys
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from trainables.errors import InputError
from trainables.model.signature import BoxForm, ModelSignature, read_signature
from trainables.spec.heads import HeadSpec
from trainables.spec.trial import ModelSpec

CELL = HeadSpec(name="cell", kind="classification", units=2, classes=("RBC", "WBC"))
DIGIT = HeadSpec(name="digit", kind="classification", units=12)
BOX = HeadSpec(name="box", kind="box", units=4)
AGE = HeadSpec(name="age", kind="regression", units=1)
SIGNATURE = ModelSignature(
    image_shape=(12, 16, 3),
    heads=(CELL, DIGIT, BOX, AGE),
    box_forms={"box": BoxForm(format="xyxy", scale="pixel")},
)
PLAIN_PROCESS = """
import json, sys, zipfile
import keras, numpy as np
model = keras.models.load_model("model.keras")
outputs = model.predict(np.load("images.npy"), verbose=0)
with zipfile.ZipFile("model.keras") as archive:
    said = json.loads(archive.read("config.json"))["build_config"]["twohead"]
assert "trainables" not in sys.modules
np.savez("outputs.npz", **outputs)
print(json.dumps(said))
"""


def test_a_signature_reads_what_it_writes():
    written = json.loads(json.dumps(SIGNATURE.to_dict()))

    assert ModelSignature.from_dict(written) == SIGNATURE
    assert written["outputs"]["cell"]["classes"] == ["RBC", "WBC"]
    assert written["outputs"]["digit"]["classes"] == list(range(12))
    assert written["outputs"]["box"]["labels"] == {"format": "xyxy", "scale": "pixel"}
    assert written["outputs"]["box"]["gives"] == "[y_min, x_min, y_max, x_max] in fractions"
    assert "antialiased bilinear" in written["image"]["preprocessing"]


def test_in_words_it_says_what_goes_in_and_what_each_head_gives():
    assert SIGNATURE.in_words() == (
        "takes images (rows, 12, 16, 3) of 0..255, as result.preprocess(...) makes them",
        "cell: probabilities of 2 classes in this order: RBC, WBC",
        "digit: probabilities of 12 classes in this order: 0, 1, 2, 3, 4, ...",
        "box: [y_min, x_min, y_max, x_max] in fractions",
        "     (result.predict: [x_min, y_min, x_max, y_max] in pixels)",
        "age: 1 number in the labels' own unit",
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"format": 2}, "format 2, not 1", id="newer"),
        pytest.param({"outputs": 3}, "needs what to_dict wrote", id="outputs"),
        pytest.param({"image": {"height": 3}}, "'width'", id="shape"),
    ],
)
def test_another_form_of_signature_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        ModelSignature.from_dict({**SIGNATURE.to_dict(), **change})


def archive(path, config):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("config.json", config)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(lambda path: None, "No such file", id="missing"),
        pytest.param(lambda path: path.write_bytes(b"x"), "not a zip file", id="no_archive"),
        pytest.param(lambda path: archive(path, "{"), "needs to be a .keras file", id="no_json"),
        pytest.param(lambda path: archive(path, "[" * 10**6), "a .keras file", id="deep"),
        pytest.param(lambda path: archive(path, "[]"), "needs to be a .keras file", id="list"),
        pytest.param(lambda path: archive(path, "{}"), "needs the signature", id="none"),
    ],
)
def test_a_file_without_a_signature_says_so(make, message, tmp_path):
    path = tmp_path / "model.keras"
    make(path)

    with pytest.raises(InputError, match=rf"{re.escape(repr(str(path)))} .*{message}"):
        read_signature(path)


def test_a_saved_model_is_read_from_a_path():
    with pytest.raises(InputError, match=r"needs the path of a \.keras file, got None"):
        read_signature(None)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # keras 3.15
def test_a_saved_model_carries_its_signature_and_plain_keras_loads_it(tmp_path):
    from trainables.model.build import build_model
    from trainables.model.signature import attach_signature
    from trainables.training.predictor import Predictor

    spec = ModelSpec(
        image_shape=(12, 16, 3), heads=SIGNATURE.heads, head_units=(4,) * 4, conv_filters=(3,)
    )
    images = np.random.default_rng(0).integers(0, 256, (5, 12, 16, 3), dtype=np.uint8)
    model = build_model(spec, seed=0)
    attach_signature(model, SIGNATURE)
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "images.npy", images)

    done = subprocess.run(
        [sys.executable, "-c", PLAIN_PROCESS],
        cwd=tmp_path,
        env={"KERAS_BACKEND": "tensorflow", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert ModelSignature.from_dict(json.loads(done.stdout.splitlines()[-1])) == SIGNATURE
    outputs, here = np.load(tmp_path / "outputs.npz"), model.predict(images, verbose=0)
    for name in here:
        np.testing.assert_allclose(outputs[name], here[name], rtol=1e-5, atol=1e-6)

    loaded = Predictor.load(tmp_path / "model.keras")
    answers = loaded.predict(images)
    assert [answer["box"].form.format for answer in answers] == ["xyxy"] * 5
    np.testing.assert_allclose([a["cell"].values for a in answers], here["cell"], rtol=1e-5)
    loaded.model.save(tmp_path / "again.keras")
    assert read_signature(tmp_path / "again.keras") == SIGNATURE

    others = (
        replace(SIGNATURE, heads=SIGNATURE.heads[:3]),
        replace(SIGNATURE, image_shape=(12, 12, 3)),
    )
    for other in others:
        with pytest.raises(
            InputError, match=r"signature of its model, .* \(12, 16, 3\) and gives"
        ):
            Predictor(loaded.model, other)
