"""What a study minimises, and what it refuses to."""

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from search.errors import InputError
from search.results.pareto import front_mask
from search.study.objective import _weighted_total, every_head, objective_of
from search.study.study import Study

HEADS = {"c_output": {"kind": "classification"}, "r_output": {"kind": "box"}}
SEARCHED = {"float": [0.1, 10.0], "log": True}
CONSTANT = {"c_output_loss_weight": 1.0, "r_output_loss_weight": 4.0}
LOSSES = {"c_output": 0.5, "r_output": 0.25}


def make_study(**changes):
    return Study(**{"name": "s", "data": "d.parquet", "heads": HEADS, **changes})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({}, LOSSES, id="every_head_by_default"),
        pytest.param({"objective": "heads"}, LOSSES, id="every_head"),
        pytest.param({"objective": ["r_output"]}, {"r_output": 0.25}, id="one_head"),
        pytest.param({"objective": "total", "space": CONSTANT}, {"total": 1.5}, id="total"),
        pytest.param(
            {"objective": "total", "space": {"learning_rate": 0.01}},
            {"total": 0.75},
            id="total_of_weights_that_nothing_is_said_of",
        ),
        pytest.param(
            {"objective": "total", "model": "tests.support.stub_run:build", "space": CONSTANT},
            {"total": 1.5},
            id="total_of_a_model_of_ones_own",
        ),
    ],
)
def test_losses_by_head_become_what_the_study_minimises(changes, expected):
    assert objective_of(make_study(**changes)).values(LOSSES) == expected


def test_the_baseline_of_a_total_is_the_same_sum():
    total = _weighted_total({"c_output": 1.0, "r_output": 4.0})

    assert total.values({"c_output": 2.0, "r_output": 0.5}) == {"total": 4.0}
    assert total.in_words() == "total (1 x c_output + 4 x r_output)"


def test_a_list_of_all_heads_in_their_order_is_the_default():
    assert make_study(objective=["c_output", "r_output"]).objective == "heads"
    assert make_study(objective=["r_output", "c_output"]).objective == ("r_output", "c_output")


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        pytest.param("sum", "objective needs 'heads', 'total' or a list of heads", id="word"),
        pytest.param("c_output", "a list of heads such as [c_output], got 'c_output'", id="text"),
        pytest.param([], "or a list of heads such as [c_output], got []", id="none"),
        pytest.param(None, "or a list of heads such as [c_output], got None", id="nothing"),
        pytest.param(["x"], "needs heads among ['c_output', 'r_output'], got ['x']", id="head"),
        pytest.param([["c_output"]], "needs heads among", id="nested"),
        pytest.param(
            ["c_output", "c_output"], "objective needs heads that differ, got ", id="twice"
        ),
    ],
)
def test_an_objective_that_there_is_not_is_refused(objective, message):
    with pytest.raises(InputError, match=re.escape(message)):
        make_study(objective=objective)


@pytest.mark.parametrize(
    ("changes", "got"),
    [
        pytest.param({}, "in the default space: ", id="default_space"),
        pytest.param(
            {"space": {"r_output_loss_weight": SEARCHED}},
            "got r_output_loss_weight: {'float': [0.1, 10.0], 'log': True} in the space: ",
            id="range",
        ),
        pytest.param(
            {"space": {"c_output_loss_weight": {"choice": [1, 2]}}}, "{'choice': ", id="choice"
        ),
        pytest.param(
            {
                "model": "tests.support.stub_run:build",
                "space": {"r_output_loss_weight": SEARCHED, "width": {"int": [1, 2]}},
            },
            "got r_output_loss_weight: ",
            id="model_of_ones_own",
        ),
        pytest.param(
            {"space": CONSTANT, "start_with": [{"r_output_loss_weight": 0.5}]},
            "needs r_output_loss_weight to be 4.0, as in the space, for 'total', got 0.5 in "
            "start_with[0]: ",
            id="first_config",
        ),
    ],
)
def test_a_total_with_weights_that_vary_is_refused_and_the_message_says_why(changes, got):
    why = ".*win by shrinking the weight, not by a better model. Leave `objective` out.*constant"

    with pytest.raises(InputError, match=f"{re.escape(got)}{why}"):
        make_study(objective="total", **changes)


def test_a_first_config_may_repeat_the_weight_of_the_space_under_a_total():
    study = make_study(objective="total", space=CONSTANT, start_with=[{"r_output_loss_weight": 4}])

    assert objective_of(study).values(LOSSES) == {"total": 1.5}


def test_a_head_may_not_have_the_name_of_the_total():
    heads = {"total": {"kind": "regression"}}

    with pytest.raises(InputError, match="needs no head of that name to be 'total'"):
        make_study(heads=heads, objective="total", space={"learning_rate": 0.01})
    assert make_study(heads=heads, objective=["total"]).objective == "heads"


def test_a_changed_objective_is_a_difference_between_studies():
    study = make_study(space=CONSTANT)

    changed = replace(study, objective="total")

    assert changed.differences(study) == [("objective", "total", "heads")]
    assert Study.from_dict(changed.to_dict()) == changed


@given(
    losses=arrays(np.float64, (6, 3), elements=st.floats(0, 1e300)),
    weights=st.tuples(*[st.floats(0, 1e3)] * 3),
    some=st.sets(st.sampled_from("abc"), min_size=1),
)
def test_the_front_of_all_heads_holds_the_best_of_any_objective(losses, weights, some):
    """So a trial that keeps its front's weights has kept those of the smallest total."""
    points = [dict(zip("abc", row, strict=True)) for row in losses.tolist()]
    kept = front_mask(losses)
    total = _weighted_total(dict(zip("abc", weights, strict=True)))
    for objective in (total, every_head(sorted(some))):
        values = np.array([list(objective.values(point).values()) for point in points])
        on_front = {tuple(row) for row in values[front_mask(values)].tolist()}

        assert on_front == {tuple(row) for row in values[front_mask(values) & kept].tolist()}


@given(
    losses=st.tuples(*[st.floats(0, 1e6)] * 2),
    factor=st.floats(1e-3, 1e3),
)
def test_a_total_does_not_change_with_the_unit_of_a_head_whose_weight_is_in_it(losses, factor):
    here = _weighted_total({"c": 1.0, "r": 2.0}).values({"c": losses[0], "r": losses[1]})
    there = _weighted_total({"c": 1.0, "r": 2.0 / factor}).values(
        {"c": losses[0], "r": losses[1] * factor}
    )

    assert there["total"] == pytest.approx(here["total"])
