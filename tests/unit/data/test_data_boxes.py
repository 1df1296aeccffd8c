import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.data.boxes import (
    FORMAT_FIELDS,
    from_yxyx,
    is_inside,
    is_ordered,
    to_fractions,
    to_pixels,
    to_yxyx,
    without_reversal,
)
from trainables.spec.losses import iou

PIXEL = st.integers(0, 4000)
SIDE = st.integers(1, 4000)


def written(box, form):
    top, left, bottom, right = box
    height, width = bottom - top, right - left
    return {
        "yxyx": [top, left, bottom, right],
        "xyxy": [left, top, right, bottom],
        "xywh": [left, top, width, height],
        "cxcywh": [left + width / 2, top + height / 2, width, height],
    }[form]


@pytest.mark.parametrize("form", FORMAT_FIELDS)
@given(start=st.tuples(PIXEL, PIXEL), sides=st.tuples(SIDE, SIDE))
def test_every_format_comes_back_as_the_yxyx_box_it_was_made_from(form, start, sides):
    box = [start[0], start[1], start[0] + sides[0], start[1] + sides[1]]

    converted = to_yxyx(np.array([written(box, form)], dtype=np.float64), form)

    assert converted.tolist() == [box]
    assert is_ordered(converted).all()


@pytest.mark.parametrize("form", FORMAT_FIELDS)
@given(start=st.tuples(PIXEL, PIXEL), sides=st.tuples(SIDE, SIDE))
def test_a_yxyx_box_is_written_in_every_format(form, start, sides):
    box = [start[0], start[1], start[0] + sides[0], start[1] + sides[1]]

    assert from_yxyx(np.array([box], dtype=np.float64), form).tolist() == [written(box, form)]


@pytest.mark.parametrize(
    ("form", "given_box"),
    [
        pytest.param("yxyx", [2, 1, 12, 4], id="yxyx"),
        pytest.param("xyxy", [1, 2, 4, 12], id="xyxy"),
        pytest.param("xywh", [1, 2, 3, 10], id="xywh"),
        pytest.param("cxcywh", [2.5, 7, 3, 10], id="cxcywh"),
    ],
)
def test_a_box_written_in_each_format_is_one_box(form, given_box):
    assert to_yxyx(np.array([given_box], dtype=float), form).tolist() == [[2, 1, 12, 4]]


def test_pixels_are_divided_by_each_images_own_size():
    boxes = np.array([[0.0, 0.0, 10.0, 20.0], [0.0, 0.0, 10.0, 20.0]])

    fractions = to_fractions(boxes, np.array([10, 20]), np.array([40, 20]))

    assert fractions.tolist() == [[0.0, 0.0, 1.0, 0.5], [0.0, 0.0, 0.5, 1.0]]


def test_fractions_become_pixels_of_each_images_own_size():
    boxes = np.array([[0.0, 0.25, 1.0, 0.5], [0.0, 0.25, 1.0, 0.5]])

    pixels = to_pixels(boxes, np.array([10, 20]), np.array([40, 20]))

    assert pixels.tolist() == [[0.0, 10.0, 10.0, 20.0], [0.0, 5.0, 20.0, 10.0]]


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        pytest.param([0.1, 0.2, 0.3, 0.4], [0.1, 0.2, 0.3, 0.4], id="proper"),
        pytest.param([0.5, 0.2, 0.25, 0.4], [0.375, 0.2, 0.375, 0.4], id="one_side"),
        pytest.param([0.5, 0.75, 0.25, 0.25], [0.375, 0.5, 0.375, 0.5], id="both_sides"),
        pytest.param([-0.5, 0.0, 1.5, 1.0], [-0.5, 0.0, 1.5, 1.0], id="out_of_the_image"),
    ],
)
def test_a_reversed_side_has_no_length_and_its_iou_stays_what_it_is(box, expected):
    boxes = np.array([box])

    straight = without_reversal(boxes)

    label = np.array([[0.2, 0.2, 0.6, 0.6]])
    assert straight.tolist() == [expected]
    assert iou(straight, label) == iou(boxes, label)


@pytest.mark.parametrize(
    ("box", "ordered", "inside"),
    [
        pytest.param([0, 0, 1, 1], True, True, id="the_whole_image"),
        pytest.param([0.5, 0, 0.5, 1], False, True, id="no_height"),
        pytest.param([0, 0.9, 1, 0.1], False, True, id="reversed"),
        pytest.param([-1e-7, 0, 1 + 1e-7, 1], True, True, id="dust"),
        pytest.param([0, 0, 1, 1.001], True, False, id="outside"),
    ],
)
def test_order_and_place_of_a_box_are_told(box, ordered, inside):
    boxes = np.array([box], dtype=float)

    assert bool(is_ordered(boxes)[0]) is ordered
    assert bool(is_inside(boxes)[0]) is inside
