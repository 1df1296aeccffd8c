"""The warning of loss weights of which only the ratios matter."""

import itertools
import warnings

import pytest

from search.errors import StudyWarning
from search.study.objective import study_warnings, warn_of_redundancy
from search.study.study import Study
from search.study.yaml_file import parse

CLASSES, BOX = {"kind": "classification"}, {"kind": "box"}
SEARCHED = {"float": [0.1, 10.0], "log": True}


def make_study(space, heads=("c_output", "r_output"), **changes):
    kinds = dict(zip(heads, itertools.cycle([CLASSES, BOX]), strict=False))
    return Study(name="s", data="d.parquet", heads=kinds, space=space, **changes)


def weights(**values):
    return {f"{head}_loss_weight": value for head, value in values.items()}


def instead(message):
    """Return the space that a warning shows, as the study file's reader takes it."""
    return parse(message[message.index("\nspace:") :], "warning")[0]["space"]


@pytest.mark.parametrize(
    "space",
    [
        pytest.param(None, id="default_space"),
        pytest.param({"learning_rate": 0.01}, id="none_named"),
        pytest.param(weights(r_output=SEARCHED), id="one_of_two"),
        pytest.param(weights(c_output=SEARCHED, r_output=2.0), id="the_first_of_two"),
        pytest.param(weights(c_output=1.0, r_output=0.0), id="constants"),
        pytest.param(
            weights(c_output={"choice": [0.5]}, r_output=SEARCHED), id="a_choice_of_one_value"
        ),
    ],
)
def test_a_space_with_a_constant_weight_gets_no_warning(space):
    assert study_warnings(make_study(space)) == ()


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        pytest.param(
            weights(c_output=SEARCHED, r_output=SEARCHED),
            weights(c_output=1.0, r_output={"float": [0.01, 100.0], "log": True}),
            id="both",
        ),
        pytest.param(
            weights(c_output={"float": [0.5, 2.0]}, r_output={"float": [0.3, 0.7], "step": 0.1}),
            weights(c_output=1.0, r_output={"float": [0.15, 1.4], "log": True}),
            id="other_ranges",
        ),
        pytest.param(
            weights(c_output={"choice": [1, 2]}, r_output={"choice": [1, 4]}),
            weights(c_output=1.0, r_output={"choice": [0.5, 1.0, 2.0, 4.0]}),
            id="choices",
        ),
        pytest.param(
            weights(c_output={"float": [0.0, 1.0]}, r_output={"float": [0.5, 1.0]}),
            weights(c_output={"float": [0.0, 2.0]}, r_output=1.0),
            id="the_first_can_be_zero",
        ),
        pytest.param(
            weights(c_output={"float": [0.0, 1.0]}, r_output={"float": [0.0, 1.0]}),
            weights(c_output=1.0, r_output={"float": [0.01, 100.0], "log": True}),
            id="both_can_be_zero",
        ),
        pytest.param(
            weights(c_output=0.0, r_output=SEARCHED), weights(r_output=1.0), id="the_only_one"
        ),
    ],
)
def test_weights_that_are_all_searched_get_a_warning_with_what_to_write_instead(space, expected):
    [message] = study_warnings(make_study(space))

    assert instead(message) == expected
    assert study_warnings(make_study({**space, **expected})) == ()


def test_of_three_searched_weights_two_ratios_are_left():
    heads = ("a", "b", "c")

    [message] = study_warnings(make_study(weights(a=SEARCHED, b=SEARCHED, c=SEARCHED), heads))

    assert "only the ratios matter" in message
    assert [name for name, kind in instead(message).items() if kind != 1.0] == [
        "b_loss_weight",
        "c_loss_weight",
    ]


@pytest.mark.parametrize(
    ("others", "effect"),
    [
        pytest.param({}, "changes nothing with adam;", id="adam"),
        pytest.param(
            {"optimizer": "sgd"}, "common to all acts like another learning rate", id="sgd"
        ),
        pytest.param(
            {"optimizer": {"choice": ["rmsprop", "sgd"]}},
            "changes nothing with rmsprop and acts like another learning rate with sgd",
            id="both",
        ),
        pytest.param({"l2": 0.01}, "changes nothing but how much l2 counts with adam", id="l2"),
    ],
)
def test_the_warning_says_what_a_common_factor_does(others, effect):
    space = {**weights(c_output=SEARCHED, r_output=SEARCHED), **others}

    assert effect in study_warnings(make_study(space))[0]


def test_a_model_of_ones_own_is_warned_of_too():
    space = weights(c_output=SEARCHED, r_output=SEARCHED)

    [message] = study_warnings(make_study(space, model="tests.support.stub_run:build"))

    assert instead(message)["c_output_loss_weight"] == 1.0


def test_from_python_it_is_a_warning_of_its_own_category():
    with pytest.warns(StudyWarning, match="only the ratio matters"):
        warn_of_redundancy(make_study(weights(c_output=SEARCHED, r_output=SEARCHED)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_redundancy(make_study(None))
