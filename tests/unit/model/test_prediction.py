"""What a model gives becomes class names, numbers and boxes as the labels write them."""

import numpy as np
import pyarrow as pa
import pytest

from trainables.errors import InputError
from trainables.model.prediction import Prediction, head_predictions
from trainables.model.signature import BoxForm, ModelSignature
from trainables.spec.heads import HeadSpec

NAMED = HeadSpec(name="cell", kind="classification", units=3, classes=("RBC", "WBC", "plate"))
NUMBERED = HeadSpec(name="digit", kind="classification", units=3)
BOX = HeadSpec(name="box", kind="box", units=4)
NUMBER = HeadSpec(name="age", kind="regression", units=1)
NUMBERS = HeadSpec(name="pose", kind="regression", units=2)
SIZES = [(40, 80)]
YXYX = [0.25, 0.5, 0.75, 0.625]


def said(head, output, form=None):
    forms = {} if form is None else {head.name: form}
    signature = ModelSignature(image_shape=(8, 8, 1), heads=(head,), box_forms=forms)
    [heads] = head_predictions(signature, {head.name: np.array([output], np.float32)}, SIZES)
    return Prediction(image="image 0", height=40, width=80, heads=heads)


def test_a_class_is_named_as_in_the_training_data():
    cell = said(NAMED, [0.25, 0.5, 0.25])["cell"]

    assert (cell.label, cell.name, cell.id, cell.probability) == ("WBC", "WBC", 1, 0.5)
    assert cell.probabilities == {"RBC": 0.25, "WBC": 0.5, "plate": 0.25}
    assert cell.values == (0.25, 0.5, 0.25)


def test_a_class_that_is_a_number_stays_one():
    digit = said(NUMBERED, [0.25, 0.25, 0.5])["digit"]

    assert (digit.label, digit.name) == (2, "2")
    assert list(digit.probabilities) == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("format", "scale", "expected"),
    [
        pytest.param("yxyx", "fraction", (0.25, 0.5, 0.75, 0.625), id="yxyx_fraction"),
        pytest.param("xyxy", "fraction", (0.5, 0.25, 0.625, 0.75), id="xyxy_fraction"),
        pytest.param("xywh", "fraction", (0.5, 0.25, 0.125, 0.5), id="xywh_fraction"),
        pytest.param("cxcywh", "fraction", (0.5625, 0.5, 0.125, 0.5), id="cxcywh_fraction"),
        pytest.param("yxyx", "pixel", (10, 40, 30, 50), id="yxyx_pixel"),
        pytest.param("xyxy", "pixel", (40, 10, 50, 30), id="xyxy_pixel"),
        pytest.param("xywh", "pixel", (40, 10, 10, 20), id="xywh_pixel"),
        pytest.param("cxcywh", "pixel", (45, 20, 10, 20), id="cxcywh_pixel"),
    ],
)
def test_a_box_is_written_as_declared_in_the_original_images_size(format, scale, expected):
    declared = said(BOX, YXYX, BoxForm(format=format, scale=scale))["box"]
    undeclared = said(BOX, YXYX)["box"]

    assert declared.box == expected
    assert undeclared.box == tuple(YXYX)
    assert undeclared.to(format, scale) == expected


def test_a_box_in_an_unknown_form_is_refused():
    with pytest.raises(InputError, match=r"format to be one of \['yxyx'.*got 'voc'"):
        said(BOX, YXYX)["box"].to("voc", "pixel")


def test_a_reversed_box_has_no_size_and_one_outside_stays_there():
    form = BoxForm(format="xywh", scale="pixel")

    assert said(BOX, [0.75, 0.0, 0.25, 1.0], form)["box"].box == (0, 20, 80, 0)
    assert said(BOX, [-0.5, 0.0, 1.5, 1.0], form)["box"].box == (0, -20, 80, 80)


def test_numbers_are_in_the_labels_unit():
    assert said(NUMBER, [36.5])["age"].value == 36.5
    assert said(NUMBERS, [1.0, -2.5])["pose"].value == (1.0, -2.5)


def test_an_answer_is_short_to_look_at_and_plain_to_keep():
    form = BoxForm(format="xyxy", scale="pixel")
    signature = ModelSignature(
        image_shape=(8, 8, 1), heads=(NAMED, BOX, NUMBERS), box_forms={"box": form}
    )
    outputs = {
        "cell": np.array([[0.25, 0.5, 0.25]]),
        "box": np.array([YXYX]),
        "pose": np.array([[1.0, -2.5]]),
    }
    [heads] = head_predictions(signature, outputs, SIZES)
    answer = Prediction(image="image 0 ('a.png')", height=40, width=80, heads=heads)

    assert repr(answer) == (
        "Prediction(cell='WBC' 50.0%, box=[40, 10, 50, 30] xyxy pixels, pose=1, -2.5)"
    )
    assert answer.to_dict() == {
        "image": {"place": "image 0 ('a.png')", "height": 40, "width": 80},
        "cell": {
            "label": "WBC",
            "probability": 0.5,
            "probabilities": {"RBC": 0.25, "WBC": 0.5, "plate": 0.25},
        },
        "box": {"box": [40, 10, 50, 30], "format": "xyxy", "scale": "pixel"},
        "pose": {"value": [1.0, -2.5]},
    }
    assert pa.Table.from_pylist([answer.to_dict()]).column_names == [
        "image",
        "cell",
        "box",
        "pose",
    ]


def test_an_answer_is_a_mapping_and_an_unknown_head_says_which_there_are():
    answer = said(NUMBER, [36.5])

    assert list(answer) == ["age"]
    assert answer == said(NUMBER, [36.5])
    assert answer != said(NUMBER, [36.0])
    with pytest.raises(KeyError, match=r"heads are \['age'\], got 'r_output'"):
        answer["r_output"]
