import json
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.errors import InputError
from search.space.parameters import Choice, Float, Int, ends, from_plain, to_plain
from search.space.space import SearchSpace

FINITE = st.floats(-1e6, 1e6)
POSITIVE = st.floats(1e-6, 1e6)
CONSTANTS = st.one_of(st.booleans(), st.integers(-(2**53), 2**53), FINITE, st.text(max_size=5))


def ordered(values):
    return st.lists(values, min_size=2, max_size=2).map(sorted)


KINDS = st.one_of(
    st.builds(lambda b: Float(low=b[0], high=b[1]), ordered(FINITE)),
    st.builds(lambda b: Float(low=b[0], high=b[1], log=True), ordered(POSITIVE)),
    st.builds(
        lambda b, step: Float(low=b[0], high=b[1], step=step),
        ordered(FINITE),
        st.sampled_from([0.1, 0.5, 1.0, 2.0]),
    ),
    st.builds(
        lambda b, step: Int(low=b[0], high=b[1], step=step),
        ordered(st.integers(-1000, 1000)),
        st.integers(1, 7),
    ),
    st.builds(lambda b: Int(low=b[0], high=b[1], log=True), ordered(st.integers(1, 1000))),
    st.lists(CONSTANTS, min_size=1, max_size=5, unique=True).map(lambda v: Choice(values=v)),
)


def space(**parameters):
    return SearchSpace.from_mapping(parameters)


@given(parameter=st.one_of(KINDS, CONSTANTS))
def test_a_parameter_survives_the_form_of_the_study_file_and_json(parameter):
    again = from_plain(json.loads(json.dumps(to_plain(parameter))))

    assert (type(again), again) == (type(parameter), parameter)


@given(kind=KINDS)
def test_both_ends_of_a_parameter_can_be_where_no_step_falls_short(kind):
    low, high = ends(kind)

    assert low in kind
    assert high in kind or kind.size < (kind.high - kind.low) / kind.step + 1
    assert kind.size is None or kind.size >= 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"low": 2.0}, "needs low <= high, got low=2.0, high=1.0", id="reversed"),
        pytest.param({"low": 0.0, "log": True}, "a log scale needs low > 0", id="log_at_zero"),
        pytest.param({"low": -1.0, "log": True}, "needs low > 0, got low=-1.0", id="log_below"),
        pytest.param({"log": True, "step": 0.1}, "or a step, not both, got step=0.1", id="both"),
        pytest.param({"log": True, "step": 1}, "or a step, not both, got step=1.0", id="step_one"),
        pytest.param({"step": 0}, "needs step > 0, got 0.0", id="step_zero"),
        pytest.param({"step": 1e-300}, "at most 2**53 steps", id="step_tiny"),
        pytest.param({"high": float("inf")}, "high needs a finite number, got inf", id="infinite"),
        pytest.param({"low": float("nan")}, "low needs a finite number, got nan", id="nan"),
        pytest.param({"low": -1e308, "high": 1e308}, "finite high - low", id="infinitely_wide"),
        pytest.param({"high": 10**400}, "got a whole number of 1329 bits", id="beyond_floats"),
        pytest.param({"low": True}, "low needs a finite number, got True", id="bool"),
        pytest.param({"low": "1e-3"}, "low needs a finite number, got '1e-3'", id="text"),
        pytest.param({"log": 1}, "log needs true or false, got 1", id="log_as_number"),
    ],
)
def test_float_refuses_bounds_no_sampler_could_draw_from(change, message):
    valid = Float(low=0.1, high=1.0)

    with pytest.raises(InputError, match=re.escape(message)):
        replace(valid, **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"low": 9}, "int needs low <= high, got low=9, high=8", id="reversed"),
        pytest.param({"low": 0, "log": True}, "a log scale needs low > 0", id="log_at_zero"),
        pytest.param({"log": True, "step": 2}, "or a step, not both, got step=2", id="both"),
        pytest.param({"step": 0}, "needs step > 0, got 0", id="step_zero"),
        pytest.param({"low": 1.5}, "low needs a whole number, got 1.5", id="fraction"),
        pytest.param({"high": True}, "high needs a finite number, got True", id="bool"),
        pytest.param({"step": None}, "step needs a finite number, got None", id="no_step"),
        pytest.param({"high": 2**60}, "within 2**53, got", id="beyond_exact_floats"),
        pytest.param({"high": 10**400}, "got a whole number of 1329 bits", id="beyond_floats"),
    ],
)
def test_int_refuses_bounds_no_sampler_could_draw_from(change, message):
    valid = Int(low=1, high=8)

    with pytest.raises(InputError, match=re.escape(message)):
        replace(valid, **change)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param([], "1 to 1000 values, got 0", id="empty"),
        pytest.param(range(1001), "1 to 1000 values, got 1001", id="too_many"),
        pytest.param([8, 16, 8], "values that differ, got [8, 16, 8]", id="twice"),
        pytest.param([1, 1.0], "values that differ, got [1, 1.0]", id="one_number_two_types"),
        pytest.param([0, False], "values that differ, got [0, False]", id="false_and_zero"),
        pytest.param([[1, 2]], "a number, text, true or false, got [1, 2]", id="nested"),
        pytest.param([None], "a number, text, true or false, got None", id="nothing"),
        pytest.param([float("nan")], "a finite number, got nan", id="nan"),
        pytest.param([10**400], "got a whole number of 1329 bits", id="huge"),
        pytest.param(["\ud800"], "text that UTF-8 can write", id="half_a_character"),
        pytest.param(b"ab", "a list of values, got b'ab'", id="bytes"),
        pytest.param("adam", "a list of values, got 'adam'", id="text"),
        pytest.param(8, "a list of values, got 8", id="number"),
    ],
)
def test_choice_refuses_values_that_are_not_plain_and_different(values, message):
    with pytest.raises(InputError, match=re.escape(message)):
        Choice(values=values)


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        pytest.param({"real": [0, 1]}, "needs one of {float: [low, high]}", id="unknown_kind"),
        pytest.param({}, "or a constant, got {}", id="no_kind"),
        pytest.param({"int": [0, 1], "float": [0, 1]}, "needs one of {float", id="two_kinds"),
        pytest.param({"int": [0, 1], "lgo": True}, "no option ['lgo']; it takes", id="option"),
        pytest.param({"choice": [1], "log": True}, "no option ['log']; it takes []", id="choice"),
        pytest.param({"int": [0]}, "int needs [low, high], got [0]", id="one_bound"),
        pytest.param({"int": [0, 1, 2]}, "int needs [low, high], got [0, 1, 2]", id="three"),
        pytest.param({"float": "01"}, "float needs [low, high], got '01'", id="text"),
        pytest.param({"float": [1, 2], "log": "yes"}, "true or false, got 'yes'", id="log"),
        pytest.param([1, 2], "needs a number, text, true or false, got [1, 2]", id="list"),
        pytest.param(None, "needs a number, text, true or false, got None", id="nothing"),
        pytest.param(float("inf"), "needs a finite number, got inf", id="infinite"),
    ],
)
def test_what_is_no_parameter_is_refused_with_its_name(plain, message):
    with pytest.raises(InputError, match=r"^space\.width\b.*" + re.escape(message)):
        space(width=plain)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        pytest.param([(f"p{i}", 1) for i in range(201)], "at most 200 parameters", id="too_many"),
        pytest.param([("a", 1), ("a", 2)], "names that differ, got ['a', 'a']", id="twice"),
        pytest.param([(3, 1)], "identifiers as names, got 3", id="number_as_name"),
        pytest.param([("a b", 1)], "identifiers as names, got 'a b'", id="no_identifier"),
        pytest.param([("a", object)], "space.a: constant needs a number, text", id="no_value"),
    ],
)
def test_a_space_that_exists_is_valid(parameters, message):
    with pytest.raises(InputError, match=re.escape(message)):
        SearchSpace(parameters=tuple(parameters))


def test_a_space_of_plain_parameters_is_read_as_the_study_file_is():
    plain = SearchSpace(parameters=(("width", {"int": [8, 64]}),))

    assert plain == SearchSpace(parameters=(("width", Int(low=8, high=64)),))


def test_bounds_without_fraction_are_whole_numbers():
    assert Int(low=32.0, high=64.0, step=2.0) == Int(low=32, high=64, step=2)


def test_every_problem_of_a_space_is_named_at_once():
    with pytest.raises(InputError, match=r"(?s)3 problems.*space\.a: .*space\.b: .*space\.c: "):
        space(a={"int": [5, 1]}, b={"choice": []}, c=None, d=1)


def test_a_space_tells_what_is_searched_from_what_is_constant():
    given_space = space(lr={"float": [0.1, 1]}, depth=2, norm=False, opt={"choice": ["a", "b"]})

    assert [name for name, _ in given_space.searched] == ["lr", "opt"]
    assert given_space.constants == (("depth", 2), ("norm", False))


def test_a_space_keeps_the_order_of_its_file():
    plain = {"z": {"int": [1, 9], "step": 2}, "a": {"float": [0.0, 1.0], "step": 1.0}, "m": "x"}

    assert list(SearchSpace.from_mapping(plain).to_mapping().items()) == list(plain.items())


@pytest.mark.parametrize(
    ("parameters", "size"),
    [
        pytest.param({"a": {"choice": [1, 2, 3]}, "b": {"int": [1, 4]}, "c": 5}, 12, id="finite"),
        pytest.param({"a": {"int": [0, 10], "step": 3}}, 4, id="int_step"),
        pytest.param({"a": {"float": [0.0, 0.3], "step": 0.1}}, 4, id="float_step"),
        pytest.param({"a": {"float": [0.0, 0.35], "step": 0.1}}, 4, id="step_short_of_the_end"),
        pytest.param({"a": {"float": [0.5, 0.5]}}, 1, id="one_number"),
        pytest.param({"a": {"float": [0.0, 1.0]}, "b": {"int": [1, 4]}}, None, id="continuous"),
        pytest.param({"a": 1}, 1, id="constants"),
        pytest.param({}, 1, id="empty"),
    ],
)
def test_the_size_of_a_space_is_its_number_of_configs(parameters, size):
    assert SearchSpace.from_mapping(parameters).size == size


CONFIG = {"lr": 0.5, "units": 34, "opt": "adam", "rate": 0.30000000000000004, "depth": 2}
SPACE = SearchSpace.from_mapping(
    {
        "lr": {"float": [0.1, 1.0], "log": True},
        "units": {"int": [32, 64], "step": 2},
        "opt": {"choice": ["adam", "sgd", 1]},
        "rate": {"float": [0.0, 0.5], "step": 0.1},
        "depth": 2,
    }
)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({}, id="as_it_is"),
        pytest.param({"lr": 0.1, "units": 32}, id="lower_bounds"),
        pytest.param({"lr": 1, "units": 64}, id="upper_bounds_and_an_int_as_float"),
        pytest.param({"opt": 1}, id="another_choice"),
    ],
)
def test_a_config_of_possible_values_lies_in_the_space(change):
    SPACE.check({**CONFIG, **change})

    assert SPACE.contains({**CONFIG, **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"lr": 1.01}, "lr needs a value of {'float': [0.1, 1.0], 'log'", id="above"),
        pytest.param({"lr": float("nan")}, "got nan", id="nan"),
        pytest.param({"lr": "0.5"}, "got '0.5'", id="text"),
        pytest.param({"units": 33}, "units needs a value of {'int': [32, 64]", id="off_the_grid"),
        pytest.param({"units": 34.0}, "got 34.0", id="float_as_int"),
        pytest.param({"rate": 0.35}, "rate needs a value of", id="off_the_float_grid"),
        pytest.param({"opt": True}, "'sgd', 1]}, got True", id="true_is_not_one"),
        pytest.param({"opt": "lion"}, "opt needs a value of {'choice'", id="no_choice"),
        pytest.param({"depth": 3}, "depth needs a value of 2, got 3", id="constant"),
        pytest.param({"x": 1}, "unknown parameters ['x']; the space defines", id="unknown"),
        pytest.param({3: 1}, "unknown parameters ['3']", id="no_name"),
    ],
)
def test_a_config_outside_the_space_is_refused_by_name(change, message):
    assert not SPACE.contains({**CONFIG, **change})
    with pytest.raises(InputError, match=re.escape(message)):
        SPACE.check({**CONFIG, **change})


def test_a_config_needs_every_parameter():
    with pytest.raises(InputError, match=r"config needs 'lr', a value of .*, got none"):
        SPACE.check({name: value for name, value in CONFIG.items() if name != "lr"})


DEPTHS = SearchSpace.from_mapping(
    {
        "num_conv_blocks": {"int": [1, 3]},
        "conv1_filters": {"choice": [8, 16]},
        "conv2_filters": 64,
        "conv3_filters": {"choice": [8, 16]},
    }
)


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        pytest.param({"num_conv_blocks": 1, "conv1_filters": 8}, None, id="shallow"),
        pytest.param(
            {"num_conv_blocks": 3, "conv1_filters": 8, "conv2_filters": 64, "conv3_filters": 8},
            None,
            id="deep",
        ),
        pytest.param(
            {"num_conv_blocks": 2, "conv1_filters": 8, "conv2_filters": 64, "conv3_filters": 8},
            "conv3_filters shapes nothing: num_conv_blocks is 2",
            id="filters_of_no_block",
        ),
        pytest.param(
            {"num_conv_blocks": 2, "conv1_filters": 8}, "needs 'conv2_filters'", id="missing"
        ),
        pytest.param({"conv1_filters": 8}, "needs 'num_conv_blocks'", id="no_depth"),
    ],
)
def test_filters_count_only_where_there_is_the_block(config, problem):
    assert DEPTHS.contains(config) is (problem is None)
    if problem:
        with pytest.raises(InputError, match=problem):
            DEPTHS.check(config)


def test_equal_models_are_counted_once():
    assert DEPTHS.size == 2 + 2 + 4


@pytest.mark.parametrize(
    "depth",
    [
        pytest.param(3, id="constant"),
        pytest.param({"float": [1, 3]}, id="real"),
        pytest.param({"choice": ["few", "many"]}, id="words"),
        pytest.param({"int": [1, 10**6]}, id="of_something_else"),
    ],
)
def test_nothing_depends_on_what_is_no_searched_depth(depth):
    assert SearchSpace.from_mapping({"num_conv_blocks": depth, "conv2_filters": 8}).gates == {}
