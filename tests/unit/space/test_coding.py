"""Configs as tuples of numbers."""

import numpy as np
import pytest

from search.space.encoding import clamp, decode, encode, key_of, num_steps, untried_neighbour
from search.space.parameters import Choice, Float, Int

FILTERS = Choice(values=(64, 8, 32))
OPTIMIZERS = Choice(values=("sgd", "adam"))
UNITS = Int(low=8, high=20, step=4)
DROPOUT = Float(low=0.1, high=0.5, step=0.1)
RATE = Float(low=1e-4, high=1e-2, log=True)


@pytest.mark.parametrize(
    ("kind", "value", "number"),
    [
        pytest.param(FILTERS, 8, 0, id="numbers_by_size"),
        pytest.param(FILTERS, 64.0, 2, id="equal_number_of_another_type"),
        pytest.param(FILTERS, 16, None, id="no_choice"),
        pytest.param(OPTIMIZERS, "adam", 1, id="words_as_listed"),
        pytest.param(Choice(values=(1, "a")), True, None, id="true_is_not_one"),
        pytest.param(Choice(values=(True, False)), False, 1, id="yes_or_no"),
        pytest.param(UNITS, 12, 12, id="int"),
        pytest.param(UNITS, 13, None, id="int_between_steps"),
        pytest.param(UNITS, 24, None, id="int_above"),
        pytest.param(Int(low=1, high=9), 2.5, None, id="fraction_for_an_int"),
        pytest.param(DROPOUT, 0.1 + 0.2, 0.3, id="float_on_its_grid"),
        pytest.param(DROPOUT, 0.25, None, id="float_between_steps"),
        pytest.param(RATE, 1e-4, 1e-4, id="lower_bound"),
        pytest.param(RATE, 1e-2, 1e-2, id="upper_bound"),
        pytest.param(RATE, float("nan"), None, id="nan"),
        pytest.param(RATE, "1e-3", None, id="text"),
    ],
)
def test_a_value_is_coded_if_its_parameter_allows_it(kind, value, number):
    assert encode(kind, value) == number


@pytest.mark.parametrize("kind", [FILTERS, OPTIMIZERS])
def test_a_choice_comes_back_as_the_value_that_was_listed(kind):
    assert [decode(kind, encode(kind, value)) for value in kind.values] == list(kind.values)


@pytest.mark.parametrize(
    ("kind", "number", "expected"),
    [
        pytest.param(RATE, 9.999e-5, 1e-4, id="below"),
        pytest.param(RATE, 0.0101, 1e-2, id="above"),
        pytest.param(DROPOUT, 0.30000000000000004, 0.3, id="on_the_grid"),
        pytest.param(UNITS, 12.0, 12, id="int"),
    ],
)
def test_rounding_errors_of_a_sampler_are_mended(kind, number, expected):
    assert clamp(kind, number) == expected


def test_a_range_that_is_no_multiple_of_its_step_ends_on_the_last_step():
    assert num_steps(Int(low=1, high=10, step=4)) == 2
    assert num_steps(Float(low=0.1, high=0.5, step=0.1)) == 4


def test_a_config_lies_in_the_space_only_with_all_its_constants():
    kinds = {"units": UNITS}

    assert key_of(kinds, {"batch_size": 32}, {"units": 8, "batch_size": 32, "x": 1}) == (8,)
    assert key_of(kinds, {"batch_size": 32}, {"units": 8, "batch_size": 64}) is None
    assert key_of(kinds, {"batch_size": 32}, {"units": 8}) is None


def test_the_untried_neighbour_differs_in_one_parameter_and_by_one_step_if_it_can():
    rng = np.random.default_rng(0)
    kinds = {"units": UNITS, "optimizer": OPTIMIZERS}

    neighbour = untried_neighbour((12, 1), kinds, {(12, 1), (12, 0)}, rng)

    assert neighbour in {(8, 1), (16, 1)}


def test_the_last_untried_config_is_found_however_far_it_is():
    kinds = {"units": UNITS, "optimizer": OPTIMIZERS, "filters": FILTERS}
    every = {(u, o, f) for u in (8, 12, 16, 20) for o in (0, 1) for f in (0, 1, 2)}

    for last in sorted(every):
        found = untried_neighbour(
            (8, 0, 0), kinds, every - {last} | {(8, 0, 0)}, np.random.default_rng(1)
        )
        assert found == last


def test_there_is_no_untried_neighbour_in_an_exhausted_space():
    rng = np.random.default_rng(0)

    assert untried_neighbour((0,), {"optimizer": OPTIMIZERS}, {(0,), (1,)}, rng) == (0,)


@pytest.mark.parametrize("kind", [RATE, Float(low=-1.0, high=1.0)])
def test_a_float_always_has_another_value(kind):
    here = 1e-3

    (other,) = untried_neighbour((here,), {"rate": kind}, {(here,)}, np.random.default_rng(0))

    assert other != here
    assert kind.low <= other <= kind.high
