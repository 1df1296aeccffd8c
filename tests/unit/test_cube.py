"""Configs as points of the unit cube, and points as configs."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.coding import decode, encode, grid_value, num_steps, prune
from search.cube import (
    MOST_LISTED,
    any_key,
    at_share,
    listed,
    listed_places,
    near,
    places_of,
)
from search.kinds import Choice, Float, Int
from search.space import SearchSpace

BLOCKS = SearchSpace.from_mapping(
    {
        "conv1_filters": {"choice": [8, 16]},
        "conv2_filters": {"choice": [8, 16, 32]},
        "num_conv_blocks": {"int": [1, 2]},
        "optimizer": {"choice": ["adam", "sgd", "rmsprop"]},
    }
)
GATES = BLOCKS.gates


@st.composite
def kinds(draw):
    """Return a parameter of any kind."""
    what = draw(st.sampled_from(["float", "log", "step", "int", "log_int", "int_step", "choice"]))
    low = draw(st.integers(1, 50))
    width = draw(st.integers(0, 200))
    if what == "float":
        return Float(low=low - 25.5, high=low - 25.5 + width)
    if what == "log":
        return Float(low=low / 1000, high=low / 1000 * (1 + width), log=True)
    if what == "step":
        return Float(low=low / 10, high=low / 10 + width * 0.1, step=0.1)
    if what == "int":
        return Int(low=low - 25, high=low - 25 + width)
    if what == "log_int":
        return Int(low=low, high=low + width, log=True)
    if what == "int_step":
        return Int(low=low, high=low + width, step=draw(st.integers(1, 7)))
    values = draw(
        st.lists(st.integers(-9, 9), min_size=1, max_size=6, unique=True)
        | st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=6, unique=True)
    )
    return Choice(values=tuple(values))


def is_inside(kind, number):
    return encode(kind, decode(kind, number)) == number


@given(kind=kinds(), share=st.floats(0, 1))
def test_every_share_of_a_range_is_a_number_of_the_parameter(kind, share):
    assert is_inside(kind, at_share(kind, share))


@given(kind=kinds(), seed=st.integers(0, 2**32 - 1))
def test_what_is_ordered_comes_back_from_its_place(kind, seed):
    (key,) = [any_key({"x": kind}, np.random.default_rng(seed))]

    place = places_of({"x": kind}, [key])

    assert ((place >= 0) & (place <= 1)).all()
    if isinstance(kind, Choice):
        if place.shape[1] > 1:
            assert place[0].tolist() == [float(i == key[0]) for i in range(len(kind.values))]
        return
    assert place.shape == (1, 1)
    assert math.isclose(at_share(kind, float(place[0, 0])), key[0], rel_tol=1e-8, abs_tol=1e-8)


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
    shares = [0.0, 0.25, 0.5, 1.0]

    places = places_of({"x": kind}, [(number,) for number in numbers])

    assert places.ravel().tolist() == shares
    if not isinstance(kind, Choice):
        assert [at_share(kind, share) for share in shares] == pytest.approx(numbers)


def test_of_a_choice_each_value_has_an_equal_part_of_the_range():
    kind = Choice(values=("a", "b", "c", "d"))

    shares = [0.0, 0.24, 0.26, 0.5, 0.74, 0.76, 1.0]

    assert [at_share(kind, share) for share in shares] == [0, 0, 1, 2, 2, 3, 3]


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
    keys = [(place,) for place in range(len(values))]

    assert places_of({"x": Choice(values=values)}, keys).tolist() == rows


def test_what_does_not_count_lies_in_the_middle():
    kinds = {"width": Int(low=1, high=9), "name": Choice(values=("a", "b", "c"))}

    assert places_of(kinds, [(None, 1), (9, None)]).tolist() == [[0.5, 0, 1, 0], [1, 0, 0, 0]]


def test_a_range_of_one_number_lies_in_the_middle():
    kinds = {"a": Int(low=3, high=3), "b": Float(low=2.0, high=2.0, log=True)}

    assert places_of(kinds, [(3, 2.0)]).tolist() == [[0.5, 0.5]]


def test_no_keys_have_no_places_of_the_same_width():
    assert places_of(dict(BLOCKS.searched), []).shape == (0, 6)


@given(
    shares=st.lists(st.floats(0, 1), min_size=1, max_size=9),
    unit=st.sampled_from([1e-3, 7.3, 1e4]),
)
def test_a_logarithmic_range_in_another_unit_has_the_same_places(shares, unit):
    one, other = [Float(low=0.05 * k, high=20.0 * k, log=True) for k in (1.0, unit)]

    places = [
        places_of({"x": kind}, [(at_share(kind, share),) for share in shares])
        for kind in (one, other)
    ]

    assert places[0].tolist() == places[1].tolist()


def test_a_small_space_is_listed_once_each_and_without_what_does_not_count():
    space = tuple(sorted(BLOCKS.searched)), tuple(GATES.items())

    every = listed(*space)

    # Of conv1, conv2, blocks and optimizer: 2 * 3 at one block, 2 * 3 * 3 at two.
    assert len(every) == len(set(every)) == 24
    assert {key[1] for key in every if key[2] == 1} == {None}
    assert {key[1] for key in every if key[2] == 2} == {0, 1, 2}
    assert listed_places(*space).shape == (24, 6)


@pytest.mark.parametrize(
    ("kind", "size"),
    [
        pytest.param(Int(low=1, high=MOST_LISTED), MOST_LISTED, id="largest"),
        pytest.param(Int(low=0, high=MOST_LISTED), 0, id="too_large"),
        pytest.param(Float(low=0.0, high=1.0), 0, id="infinite"),
        pytest.param(Float(low=0.0, high=1.0, step=0.25), 5, id="steps"),
    ],
)
def test_a_space_that_is_large_or_infinite_is_not_listed(kind, size):
    assert len(listed((("x", kind),), ())) == size


@given(
    every=st.lists(kinds(), min_size=1, max_size=5),
    spread=st.floats(0.0, 2.0),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_neighbour_stays_in_the_space_and_differs_in_three_parameters_at_most(
    every, spread, seed
):
    rng = np.random.default_rng(seed)
    named = {f"p{place}": kind for place, kind in enumerate(every)}
    root = any_key(named, rng)

    found = near(named, root, spread, rng)

    assert all(map(is_inside, every, found))
    assert sum(one != other for one, other in zip(root, found, strict=True)) <= 3


def test_a_neighbour_of_a_shallow_config_may_be_a_deeper_one_and_is_in_the_space():
    named = dict(sorted(BLOCKS.searched))
    rng = np.random.default_rng(0)
    shallow = (0, None, 1, 2)

    found = {prune(named, GATES, near(named, shallow, 0.1, rng)) for _ in range(300)}

    assert found <= set(listed(tuple(named.items()), tuple(GATES.items())))
    assert {key[2] for key in found} == {1, 2}


def test_a_neighbour_is_as_near_as_the_spread_says():
    kind = Float(low=0.0, high=100.0)
    rng = np.random.default_rng(0)

    moved = np.array([near({"x": kind}, (50.0,), 0.1, rng)[0] for _ in range(2000)]) - 50

    assert abs(moved.mean()) < 1
    assert 9 < moved.std() < 11


def test_a_step_too_small_for_the_grid_goes_to_another_value():
    kind = Int(low=0, high=2)
    rng = np.random.default_rng(0)

    found = [near({"x": kind}, (1,), 1e-9, rng)[0] for _ in range(60)]

    assert set(found) == {0, 1, 2}


@given(kind=kinds())
def test_the_ends_of_the_shares_are_the_ends_of_the_range(kind):
    if isinstance(kind, Choice):
        ends = 0, len(kind.values) - 1
    elif isinstance(kind, Float) and kind.step is None:
        ends = kind.low, kind.high
    else:
        ends = kind.low, grid_value(kind, num_steps(kind))

    found = at_share(kind, 0.0), at_share(kind, 1.0)

    assert found == pytest.approx(ends, rel=1e-12)
