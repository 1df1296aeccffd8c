"""Configs as points of the unit cube, and shares as configs."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from search.sampling.unit_cube import MOST_HELD, MOST_LISTED, Cube, cube_of
from search.space.encoding import decode, encode, prune
from search.space.parameters import Choice, Float, Int
from search.space.space import SearchSpace
from tests.support.ranges import kinds, shares

BLOCKS = SearchSpace.from_mapping(
    {
        "conv1_filters": {"choice": [8, 16]},
        "conv2_filters": {"choice": [8, 16, 32]},
        "num_conv_blocks": {"int": [1, 2]},
        "optimizer": {"choice": ["adam", "sgd", "rmsprop"]},
    }
)
DEPTHS = [Int(low=1, high=3), Int(low=1, high=3, step=2), Choice(values=(3, 1, 2))]
GATES = (("conv2_filters", 2), ("conv3_filters", 3))


def cube_over(space):
    return Cube(tuple(sorted(space.searched)), tuple(space.gates.items()))


def line(kind):
    """Return the cube of one parameter."""
    return Cube((("x", kind),), ())


@st.composite
def spaces(draw, num_rows=5):
    """Return some parameters, gates that may hold for them, and rows of shares."""
    named = {f"p{place}": draw(kinds()) for place in range(draw(st.integers(0, 3)))}
    gates = ()
    if draw(st.booleans()) or not named:
        named |= {name: draw(kinds()) for name, _ in GATES}
        named["num_conv_blocks"] = draw(st.sampled_from(DEPTHS))
        gates = GATES
    row = st.lists(shares(), min_size=len(named), max_size=len(named))
    rows = draw(st.lists(row, min_size=1, max_size=num_rows))
    return tuple(sorted(named.items())), gates, rows


def is_inside(space, gates, key):
    """Tell whether a key names a number of each parameter that counts, and of no other."""
    known = zip(space, key, strict=True)
    is_one = all(n is None or encode(k, decode(k, n)) == n for (_, k), n in known)
    full = tuple(0 if n is None else n for n in key)
    idle = [n is None for n in prune(dict(space), dict(gates), full)]
    return is_one and idle == [n is None for n in key]


@given(drawn=spaces())
def test_all_shares_lead_to_a_config_of_the_space(drawn):
    space, gates, rows = drawn

    for row in rows:
        assert is_inside(space, gates, Cube(space, gates).key(row))


NAMED_FILTERS = (
    ("conv2_filters", Choice(values=("few", "some", "many"))),
    ("num_conv_blocks", Int(low=1, high=2)),
)


@given(drawn=spaces())
@example(drawn=(NAMED_FILTERS, (("conv2_filters", 2),), [[0.5, 0.1], [0.5, 0.9]]))
@example(drawn=((("x", Int(low=1, high=4, log=True)),), (), [[0.5]]))
def test_shares_lie_where_their_configs_lie(drawn):
    space, gates, rows = drawn
    cube = Cube(space, gates)

    found = cube.at(np.array(rows))

    assert found.shape == (len(rows), cube.width)
    assert ((found >= 0) & (found <= 1)).all()
    assert found == pytest.approx(cube.places([cube.key(row) for row in rows]), abs=1e-11)


@given(drawn=spaces())
def test_a_config_lies_where_it_lies_whatever_else_was_asked(drawn):
    space, gates, rows = drawn
    cube = Cube(space, gates)
    keys = [cube.key(row) for row in rows]

    together = cube.places(keys)

    assert together.tolist() == [Cube(space, gates).places([key])[0].tolist() for key in keys]
    assert together.tolist() == cube.places(keys[::-1])[::-1].tolist()


def test_places_are_right_however_many_were_asked_before():
    cube = line(Int(low=0, high=2 * MOST_HELD))
    cube.places([(number,) for number in range(MOST_HELD + 1)])

    assert cube.places([(0,), (MOST_HELD,), (2 * MOST_HELD,)]).tolist() == [[0], [0.5], [1]]


def test_the_coordinates_of_a_config_are_those_of_its_parameters_in_their_order():
    cube = cube_over(BLOCKS)

    found = cube.places([(1, 2, 2, 0), (0, None, 1, 2)])

    assert found.tolist() == [[1, 1, 1, 1, 0, 0], [0, 0.5, 0, 0, 0, 1]]


def test_what_does_not_count_lies_in_the_middle():
    named = {"width": Int(low=1, high=9), "name": Choice(values=("a", "b", "c"))}

    found = cube_of(named, {}).places([(None, 1), (9, None)])

    assert found.tolist() == [[0.5, 0, 1, 0], [1, 0, 0, 0]]


def test_no_keys_have_no_places_of_the_same_width():
    assert cube_over(BLOCKS).places([]).shape == (0, 6)


@given(
    thousandths=st.lists(st.integers(0, 999), min_size=1, max_size=9),
    unit=st.sampled_from([1e-3, 7.3, 1e4]),
)
def test_a_logarithmic_range_in_another_unit_has_the_same_places(thousandths, unit):
    column = np.array(thousandths)[:, None] / 1000
    cubes = [line(Float(low=0.05 * k, high=20.0 * k, log=True)) for k in (1.0, unit)]

    by_share = [cube.at(column).tolist() for cube in cubes]
    by_key = [cube.places([cube.key(row) for row in column]).tolist() for cube in cubes]

    assert by_share[0] == by_share[1] == by_key[0] == by_key[1]


def test_a_space_has_one_cube():
    named = dict(sorted(BLOCKS.searched))

    assert cube_of(named, BLOCKS.gates) is cube_of(dict(named), dict(BLOCKS.gates))


def test_a_small_space_is_listed_once_each_and_without_what_does_not_count():
    cube = cube_over(BLOCKS)

    every = cube.every_key

    # Of conv1, conv2, blocks and optimizer: 2 * 3 at one block, 2 * 3 * 3 at two.
    assert len(every) == len(set(every)) == 24
    assert {key[1] for key in every if key[2] == 1} == {None}
    assert {key[1] for key in every if key[2] == 2} == {0, 1, 2}
    assert cube.every_place.tolist() == cube.places(every).tolist()
    assert cube.every_place.shape == (24, 6)


@pytest.mark.parametrize(
    ("kind", "size"),
    [
        pytest.param(Int(low=1, high=MOST_LISTED), MOST_LISTED, id="largest"),
        pytest.param(Int(low=0, high=MOST_LISTED), 0, id="too_large"),
        pytest.param(Float(low=0.0, high=1.0), 0, id="infinite"),
        pytest.param(Float(low=0.0, high=1.0, step=0.25), 5, id="steps"),
        pytest.param(Float(low=1.0, high=1.0), 1, id="one_real_number"),
        pytest.param(Choice(values=("a", "b", "c")), 3, id="names"),
    ],
)
def test_a_space_that_is_large_or_infinite_is_not_listed(kind, size):
    cube = line(kind)

    assert len(cube.every_key) == len(cube.every_place) == size
    assert all(is_inside((("x", kind),), (), key) for key in cube.every_key)


@given(drawn=spaces(), spread=st.floats(0.0, 2.0), seed=st.integers(0, 2**32 - 1))
def test_a_neighbour_stays_in_the_space_and_differs_in_three_parameters_at_most(
    drawn, spread, seed
):
    space, gates, rows = drawn
    cube = Cube(space, gates)
    roots = [cube.key(row) for row in rows]

    found = cube.near(roots, 11, spread, np.random.default_rng(seed))

    assert found.shape == (11, len(space))
    for place, row in enumerate(found):
        root = roots[place % len(roots)]
        key = cube.key(row, root)
        assert is_inside(space, gates, key)
        both = [(a, b) for a, b in zip(root, key, strict=True) if a is not None and b is not None]
        assert sum(one != other for one, other in both) <= 3


def test_a_root_that_a_neighbour_did_not_leave_is_known_to_the_last_digit():
    cube = cube_of({"a": Float(low=0.1, high=0.7), "b": Int(low=0, high=1)}, {})
    roots = [(number / 100, 0) for number in range(10, 71)]

    found = cube.near(roots, 610, 0.1, np.random.default_rng(0))

    keys = [cube.key(row, roots[place % 61]) for place, row in enumerate(found)]
    near = [abs(key[0] - root[0]) < 1e-9 for key, root in zip(keys, 10 * roots, strict=True)]
    same = [key[0] == root[0] for key, root in zip(keys, 10 * roots, strict=True)]
    assert near == same
    assert sum(same) > 100


def test_a_change_beyond_the_end_of_a_range_leads_to_the_end():
    cube = cube_of({"a": Float(low=0.1, high=0.7)}, {})

    found = cube.near([(0.69,)], 300, 1.0, np.random.default_rng(0))

    numbers = [cube.key(row)[0] for row in found]
    assert max(numbers) == 0.7
    assert numbers.count(0.7) > 100
    assert numbers.count(0.1) > 20


def test_neighbours_are_the_same_when_drawn_again():
    cube = cube_over(BLOCKS)

    one, other = [cube.near([(0, 1, 2, 2)], 9, 0.1, np.random.default_rng(5)) for _ in range(2)]

    assert one.tolist() == other.tolist()


def test_a_neighbour_of_a_shallow_config_may_be_a_deeper_one_and_is_in_the_space():
    cube = cube_over(BLOCKS)

    shares_near = cube.near([(0, None, 1, 2)], 300, 0.1, np.random.default_rng(0))
    found = {cube.key(row) for row in shares_near}

    assert found <= set(cube.every_key)
    assert {key[2] for key in found} == {1, 2}


def test_a_neighbour_is_as_near_as_the_spread_says():
    cube = line(Float(low=0.0, high=100.0))

    moved = 100 * cube.near([(50.0,)], 2000, 0.1, np.random.default_rng(0)) - 50

    assert abs(moved.mean()) < 1
    assert 9 < moved.std() < 11


@pytest.mark.parametrize(
    ("kind", "root", "others"),
    [
        pytest.param(Int(low=0, high=2), 1, {0, 2}, id="int"),
        pytest.param(Int(low=0, high=2), 0, {1}, id="end"),
        pytest.param(Float(low=0.0, high=0.4, step=0.1), 0.4, {0.3}, id="steps"),
        pytest.param(Choice(values=(False, True)), 0, {1}, id="yes_or_no"),
        pytest.param(Choice(values=(8, 16, 32, 64)), 3, {2}, id="numbers"),
        pytest.param(Choice(values=("a", "b", "c")), 0, {1, 2}, id="names"),
        pytest.param(Int(low=1, high=3, log=True), 2, {1, 3}, id="log_int"),
    ],
)
def test_on_a_coarse_grid_a_fifth_of_all_changes_lead_to_another_value_at_least(
    kind, root, others
):
    cube = line(kind)

    found = [
        cube.key(row)[0] for row in cube.near([(root,)], 2000, 1e-9, np.random.default_rng(0))
    ]

    assert others <= set(found)
    assert sum(number != root for number in found) > 0.18 * 2000
