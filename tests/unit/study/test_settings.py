import math
import re
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.errors import InputError
from search.study.settings import Budget, Resources, Validation, read_value


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param({}, Budget(trials=24, epochs=9, hours=None), id="defaults"),
        pytest.param({"trials": 24.0}, Budget(trials=24), id="float_without_fraction"),
        pytest.param({"hours": 0.5}, Budget(hours=0.5), id="hours"),
    ],
)
def test_a_budget_is_read_from_a_mapping(fields, expected):
    assert repr(read_value(Budget, "budget", fields)) == repr(expected)


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        pytest.param(Budget, {"trials": 0}, "budget.trials needs a whole number", id="trials"),
        pytest.param(Budget, {"trials": 1_000_001}, "from 1 to 1000000, got 1000001", id="many"),
        pytest.param(Budget, {"epochs": True}, "budget.epochs needs", id="bool"),
        pytest.param(Budget, {"epochs": "9"}, "100000, got '9'", id="text"),
        pytest.param(Budget, {"epochs": 2.5}, "100000, got 2.5", id="fraction"),
        pytest.param(Budget, {"trials": math.nan}, "got nan", id="nan_trials"),
        pytest.param(Budget, {"hours": 0}, "budget.hours needs a number > 0", id="no_hours"),
        pytest.param(Budget, {"hours": math.nan}, "got nan", id="nan"),
        pytest.param(Budget, {"hours": math.inf}, "got inf", id="infinite"),
        pytest.param(Budget, {"hours": 10**400}, "a whole number of 1329 bits", id="huge_hours"),
        pytest.param(Budget, {"hours": "1:30"}, "got '1:30'", id="clock"),
        pytest.param(Resources, {"cpu": 0}, "resources.cpu needs", id="no_cpu"),
        pytest.param(Resources, {"cpu": None}, "got None", id="null"),
        pytest.param(
            Resources, {"gpu": 0.3}, "'auto', 0, 0.25, 0.5 or a whole number, got 0.3", id="gpu"
        ),
        pytest.param(Resources, {"gpu": "Auto"}, "got 'Auto'", id="gpu_in_capitals"),
        pytest.param(Resources, {"cpu": "all"}, "'auto' or a whole number from 1", id="cpu_text"),
        pytest.param(Resources, {"gpu": "1/4"}, "got '1/4'", id="gpu_as_text"),
        pytest.param(Resources, {"gpu": -1}, "got -1", id="negative_gpu"),
        pytest.param(Resources, {"gpu": True}, "got True", id="gpu_as_bool"),
        pytest.param(Resources, {"gpu": [0.25]}, "got [0.25]", id="gpu_as_list"),
        pytest.param(Resources, {"gpu": math.nan}, "got nan", id="gpu_nan"),
        pytest.param(Resources, {"gpu": 10**400}, "a whole number of 1329 bits", id="huge_gpu"),
        pytest.param(Resources, {"concurrent": 0}, "'auto' or a whole number >= 1", id="none"),
        pytest.param(Resources, {"concurrent": "all"}, "got 'all'", id="all"),
        pytest.param(
            Resources, {"wait_minutes": -1}, "wait_minutes needs a number from 0", id="past"
        ),
        pytest.param(Resources, {"wait_minutes": "long"}, "got 'long'", id="no_time"),
        pytest.param(Validation, {"share": 0}, "validation.share needs", id="share"),
        pytest.param(Validation, {"share": 1.0}, "in (0, 1), got 1.0", id="whole_share"),
        pytest.param(Validation, {"share": math.nan}, "got nan", id="share_nan"),
        pytest.param(Validation, {"seed": 2**32}, "from 0 to 4294967295", id="seed"),
        pytest.param(Budget, {"trails": 3}, "did you mean 'trials'? Known are", id="misspelt"),
        pytest.param(Budget, {3: 3}, "budget has no key 3; known are", id="number_as_key"),
        pytest.param(Budget, [3], "budget needs a mapping with keys of", id="list"),
        pytest.param(Budget, None, "got None", id="nothing"),
    ],
)
def test_what_is_out_of_range_is_refused_with_its_key(kind, fields, message):
    with pytest.raises(InputError, match=re.escape(message)):
        read_value(kind, kind.__name__.lower(), fields)


def test_all_problems_of_a_mapping_come_at_once():
    with pytest.raises(
        InputError, match=r"(?s)^3 problems.*trails.*budget\.epochs.*budget\.hours"
    ):
        read_value(Budget, "budget", {"trails": 3, "epochs": 0, "hours": -1})


@pytest.mark.parametrize(
    ("given", "is_open", "expected"),
    [
        pytest.param({}, False, (1, 0), id="the_defaults_are_numbers"),
        pytest.param({"gpu": "auto"}, True, (1, 0.5), id="gpu"),
        pytest.param({"cpu": "auto", "gpu": 1}, True, (4, 1), id="cpu"),
        pytest.param({"cpu": "auto", "gpu": "auto"}, True, (4, 0.5), id="both"),
    ],
)
def test_what_says_auto_is_open_until_it_is_settled_and_the_rest_stays(given, is_open, expected):
    resources = Resources(**given, concurrent=3)
    settled = resources.settled(cpu=4, gpu=0.5)

    assert resources.is_open == is_open
    assert (settled.cpu, settled.gpu, settled.concurrent, settled.is_open) == (*expected, 3, False)


@pytest.mark.parametrize("gpu", [0, 0.25, 0.5, 1, 8, 2.0])
def test_a_share_of_a_gpu_is_a_quarter_a_half_or_a_whole_number(gpu):
    assert Resources(gpu=gpu).gpu == gpu


@pytest.mark.parametrize(
    ("here", "there", "fields"),
    [
        pytest.param({}, {}, (), id="same"),
        pytest.param({"trials": 3}, {"trials": 2}, (), id="grown"),
        pytest.param({"trials": 2}, {"trials": 3}, ("trials",), id="shrunk"),
        pytest.param({"epochs": 1, "trials": 1}, {}, ("trials", "epochs"), id="both"),
        pytest.param({"hours": 1}, {"hours": 2}, ("hours",), id="fewer_hours"),
        pytest.param({"hours": 1}, {}, ("hours",), id="a_limit_where_there_was_none"),
        pytest.param({}, {"hours": 1}, (), id="no_limit_any_more"),
    ],
)
def test_a_budget_tells_of_what_it_has_less(here, there, fields):
    assert Budget(**here).less_than(Budget(**there)) == fields


HOSTILE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@pytest.mark.parametrize("kind", [Budget, Resources, Validation])
@given(given=HOSTILE | st.dictionaries(st.sampled_from(["trials", "gpu", "share"]), HOSTILE))
def test_anything_gives_a_value_or_an_input_error(kind, given):
    try:
        value = read_value(kind, "place", given)
    except InputError:
        return

    assert read_value(kind, "place", asdict(value)) == value
