"""Shares, numbers and coordinates of one parameter."""

import math

import numpy as np
import pytest
from hypothesis import example, given

from search.sampling.unit_cube import Axis
from search.space.encoding import decode, encode, nth_number, num_steps
from search.space.parameters import Choice, Float, Int
from tests.support.ranges import kinds, shares

LAST = 1 - 2**-53
"""The largest share."""


def coordinates(kind, numbers):
    return Axis(kind).places_of_numbers(numbers).tolist()


@given(kind=kinds(), share=shares())
def test_every_share_of_a_range_is_a_number_of_the_parameter(kind, share):
    number = Axis(kind).number(share)

    assert encode(kind, decode(kind, number)) == number


@given(kind=kinds(), share=shares())
@example(kind=Float(low=0.1, high=0.7), share=0.3)
@example(kind=Int(low=1, high=1000, log=True), share=LAST)
@example(kind=Float(low=1e10, high=1e10 + 1e-5, log=True), share=0.5)
def test_a_number_comes_back_from_its_share(kind, share):
    axis = Axis(kind)
    number = axis.number(share)

    found = axis.number(axis.share(number))

    if isinstance(kind, Float) and kind.step is None:
        assert math.isclose(found, number, rel_tol=1e-12, abs_tol=1e-12)
    else:
        assert found == number


@given(kind=kinds(), share=shares())
def test_a_number_has_a_share_between_0_and_1_and_none_has_no_share(kind, share):
    axis = Axis(kind)

    assert 0 <= axis.share(axis.number(share)) <= 1
    assert math.isnan(axis.share(None))


@given(kind=kinds())
def test_the_ends_of_the_shares_are_the_ends_of_the_range(kind):
    if isinstance(kind, Choice):
        ends = 0, len(kind.values) - 1
    elif isinstance(kind, Float) and kind.step is None:
        ends = kind.low, kind.high
    else:
        ends = kind.low, nth_number(kind, num_steps(kind))

    found = Axis(kind).number(0.0), Axis(kind).number(LAST)

    assert found == pytest.approx(ends, rel=1e-12)


@given(kind=kinds(), share=shares())
@example(kind=Int(low=1, high=4, log=True), share=0.5)
@example(kind=Float(low=1e10, high=math.nextafter(1e10, math.inf), log=True), share=0.5)
def test_a_share_lies_where_its_number_lies(kind, share):
    axis = Axis(kind)

    place = axis.places(np.array([share]))

    assert place.shape == (1, axis.width)
    assert ((place >= 0) & (place <= 1)).all()
    assert place == pytest.approx(axis.places_of_numbers([axis.number(share)]), abs=1e-11)


@pytest.mark.parametrize(
    ("kind", "numbers"),
    [
        pytest.param(Float(low=2.0, high=6.0), [2.0, 3.0, 4.0, 6.0], id="float"),
        pytest.param(Float(low=0.01, high=100.0, log=True), [0.01, 0.1, 1.0, 100.0], id="log"),
        pytest.param(Float(low=0.0, high=0.4, step=0.1), [0.0, 0.1, 0.2, 0.4], id="step"),
        pytest.param(Int(low=0, high=8), [0, 2, 4, 8], id="int"),
        pytest.param(Int(low=1, high=16, log=True), [1, 2, 4, 16], id="log_int"),
        pytest.param(Int(low=0, high=40, step=10), [0, 10, 20, 40], id="int_step"),
        pytest.param(Choice(values=(8, 16, 32, 64, 128)), [0, 1, 2, 4], id="numbers"),
    ],
)
def test_a_quarter_and_a_half_of_a_range_lie_where_its_scale_says(kind, numbers):
    found = np.ravel(coordinates(kind, numbers))

    assert found.tolist() == pytest.approx([0.0, 0.25, 0.5, 1.0])


@pytest.mark.parametrize(
    ("kind", "numbers"),
    [
        pytest.param(Choice(values=("a", "b", "c", "d")), [0, 0, 1, 2, 2, 3, 3], id="choice"),
        pytest.param(Int(low=1, high=4), [1, 1, 2, 3, 3, 4, 4], id="int"),
        pytest.param(Float(low=0, high=0.3, step=0.1), [0, 0, 0.1, 0.2, 0.2, 0.3, 0.3], id="step"),
    ],
)
def test_each_of_several_values_has_an_equal_part_of_the_shares(kind, numbers):
    parts = [0.0, 0.24, 0.26, 0.5, 0.74, 0.76, LAST]

    assert [Axis(kind).number(share) for share in parts] == numbers


@pytest.mark.parametrize(
    ("values", "rows"),
    [
        pytest.param(("a", "b", "c"), [[1, 0, 0], [0, 1, 0], [0, 0, 1]], id="names"),
        pytest.param((False, True), [[0], [1]], id="yes_or_no"),
        pytest.param((32, 8, 16), [[0], [0.5], [1]], id="numbers_by_size"),
        pytest.param(("a",), [[0]], id="one_value"),
    ],
)
def test_a_choice_between_names_has_no_order_and_one_between_numbers_has(values, rows):
    assert coordinates(Choice(values=values), range(len(values))) == rows


@pytest.mark.parametrize(
    ("kind", "rows"),
    [
        pytest.param(Int(low=1, high=9), [[0.5], [1]], id="int"),
        pytest.param(Float(low=1.0, high=9.0, log=True), [[0.5], [1]], id="log"),
        pytest.param(Choice(values=tuple(range(10))), [[0.5], [1]], id="numbers"),
        pytest.param(Choice(values=tuple("0123456789")), [[0] * 10, [0] * 9 + [1]], id="names"),
    ],
)
def test_what_does_not_count_lies_in_the_middle_and_is_no_name(kind, rows):
    assert coordinates(kind, [None, 9]) == rows


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(Int(low=3, high=3), id="int"),
        pytest.param(Int(low=3, high=3, log=True), id="log_int"),
        pytest.param(Float(low=3.0, high=3.0), id="float"),
        pytest.param(Float(low=3.0, high=3.0, log=True), id="log"),
        pytest.param(Float(low=3.0, high=3.0, step=0.5), id="step"),
    ],
)
def test_a_range_of_one_number_lies_in_the_middle(kind):
    axis = Axis(kind)

    assert coordinates(kind, [3]) == axis.places(np.array([0.7])).tolist() == [[0.5]]
    assert axis.number(0.7) == axis.number(axis.share(3)) == 3
