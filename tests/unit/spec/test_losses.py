import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.spec.heads import HeadSpec
from trainables.spec.losses import _ciou_loss, _giou_loss, huber, iou, sample_losses

SIDES = st.floats(0.0, 1.0, width=32)
ANY_BOX = st.tuples(*[st.floats(-2.0, 3.0, width=32)] * 4)
PROPER_BOX = st.tuples(SIDES, SIDES, st.floats(0.01, 1.0), st.floats(0.01, 1.0)).map(
    lambda box: (box[0], box[1], box[0] + box[2], box[1] + box[3])
)


def head(kind, units, loss=""):
    return HeadSpec(name="head", kind=kind, units=units, loss=loss)


@pytest.mark.parametrize(
    ("spec", "outputs", "labels", "expected"),
    [
        pytest.param(
            head("classification", 2), [[0.25, 0.75], [1.0, 0.0]], [1, 0], [-math.log(0.75), 0.0],
            id="cross_entropy",
        ),
        pytest.param(
            head("classification", 2, "binary_cross_entropy"), [[0.5, 0.5]], [0], [math.log(2)],
            id="recorded_as_cross_entropy_whatever_trained_with",
        ),
        pytest.param(head("regression", 1), [[3.0]], [[1.0]], [4.0], id="mse_of_one_unit"),
        pytest.param(
            head("regression", 2, "huber"), [[3.0, 0.0]], [[1.0, 1.0]], [2.5],
            id="recorded_as_mse_even_when_trained_with_huber",
        ),
        pytest.param(
            head("box", 4), [[0.0, 0.0, 1.0, 1.0]], [[0.0, 0.0, 0.5, 0.5]], [0.125], id="box_mse"
        ),
        pytest.param(
            head("box", 4, "giou"), [[0.0, 0.0, 0.5, 0.5]], [[0.5, 0.5, 1.0, 1.0]], [1.5],
            id="giou_of_boxes_that_touch_at_a_corner",
        ),
    ],
)  # fmt: skip
def test_sample_losses_have_the_values_written_out(spec, outputs, labels, expected):
    losses = sample_losses(spec, outputs, labels)

    assert losses.dtype == np.float64
    np.testing.assert_allclose(losses, expected, rtol=1e-12)


def test_a_probability_of_zero_is_not_clipped():
    assert sample_losses(head("classification", 2), [[0.0, 1.0]], [0])[0] == math.inf


@pytest.mark.parametrize(
    ("error", "expected"),
    [pytest.param(0.5, 0.125, id="square"), pytest.param(3.0, 2.5, id="linear")],
)
def test_huber_is_square_up_to_one_and_linear_beyond(error, expected):
    assert huber(np.array([[error]]), np.array([[0.0]]))[0] == expected


def test_ciou_of_boxes_of_one_shape_adds_only_the_distance_of_centres():
    first, second = [[0.0, 0.0, 0.5, 0.5]], [[0.5, 0.0, 1.0, 0.5]]

    # Centres 0.5 apart, enclosing box 1 x 0.5 with diagonal squared 1.25.
    np.testing.assert_allclose(_ciou_loss(first, second), [1.0 + 0.25 / 1.25], rtol=1e-12)


def test_ciou_of_boxes_of_other_shape_adds_the_aspect_term():
    wide, tall = [[0.25, 0.0, 0.75, 1.0]], [[0.0, 0.25, 1.0, 0.75]]
    overlap = 0.25 / 0.75
    aspect = 4 / math.pi**2 * (math.atan(2.0) - math.atan(0.5)) ** 2

    expected = 1 - overlap + aspect * aspect / (1 - overlap + aspect)
    np.testing.assert_allclose(_ciou_loss(wide, tall), [expected], rtol=1e-12)


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        pytest.param([0.8, 0.2, 0.2, 0.8], 0.0, id="reversed"),
        pytest.param([0.5, 0.5, 0.5, 0.5], 0.0, id="a_point"),
        pytest.param([0.25, 0.25, 0.75, 0.75], 1.0, id="the_label_itself"),
    ],
)
def test_a_degenerate_box_meets_nothing(outputs, expected):
    assert iou([outputs], [[0.25, 0.25, 0.75, 0.75]])[0] == expected


@given(first=ANY_BOX, second=PROPER_BOX)
def test_box_losses_are_finite_whatever_the_network_puts_out(first, second):
    shared = iou([first], [second])[0]

    assert 0.0 <= shared <= 1.0
    assert 0.0 <= _giou_loss([first], [second])[0] <= 2.0 + 1e-9
    assert 0.0 <= _ciou_loss([first], [second])[0] < math.inf


@given(box=PROPER_BOX)
def test_box_losses_of_a_perfect_prediction_are_zero(box):
    assert iou([box], [box])[0] == 1.0
    assert _giou_loss([box], [box])[0] == 0.0
    assert _ciou_loss([box], [box])[0] < 1e-12


@given(first=PROPER_BOX, second=PROPER_BOX)
def test_giou_never_exceeds_iou(first, second):
    assert 1.0 - _giou_loss([first], [second])[0] <= iou([first], [second])[0] + 1e-12


@pytest.mark.parametrize(
    ("spec", "outputs", "labels", "message"),
    [
        pytest.param(
            head("regression", 2), [[1.0, 2.0]], [[1.0]], "outputs and labels of one shape",
            id="numbers",
        ),
        pytest.param(
            head("classification", 2), [[0.5, 0.5]], [0, 1], "cross-entropy needs", id="classes"
        ),
        pytest.param(head("box", 4, "giou"), [[1.0]], [[1.0]], r"shape \(n, 4\)", id="boxes"),
    ],
)  # fmt: skip
def test_shapes_that_do_not_fit_are_refused(spec, outputs, labels, message):
    with pytest.raises(ValueError, match=message):
        sample_losses(spec, outputs, labels)
