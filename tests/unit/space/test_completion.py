import re

import pytest

from search.errors import InputError
from search.space.completion import complete, default_space, read_first, read_named
from search.space.parameters import Choice, Float, Int
from search.space.space import SearchSpace
from trainables.model.user_model import REQUIRED
from trainables.spec.heads import DeclaredHead, HeadSpec
from trainables.spec.parameters import reference_config
from trainables.spec.problems import MOST_SHOWN, PlacedError
from trainables.spec.trial import TrialSpec

HEADS = (
    DeclaredHead(name="c_output", kind="classification"),
    DeclaredHead(name="r_output", kind="box"),
)


def space(**parameters):
    return SearchSpace.from_mapping(parameters)


def test_the_default_space_searches_filters_widths_rate_and_the_second_weight():
    found = default_space(HEADS).to_mapping()

    expected = {
        "conv1_filters": {"choice": [8, 16, 32, 64]},
        "conv2_filters": {"choice": [8, 16, 32, 64]},
        "c_output_units": {"int": [32, 256], "log": True},
        "r_output_units": {"int": [32, 512], "log": True},
        "c_output_loss_weight": 1.0,
        "r_output_loss_weight": {"float": [0.1, 10.0], "log": True},
        "learning_rate": {"float": [0.0003, 0.01], "log": True},
        "batch_size": 64,
    }
    assert {name: found[name] for name in expected} == expected


def test_the_default_space_names_everything_that_shapes_a_trial():
    assert set(default_space(HEADS).to_mapping()) == set(reference_config(HEADS))


@pytest.mark.parametrize("num_heads", [1, 3])
def test_the_default_space_weighs_every_head_but_the_first(num_heads):
    heads = tuple(DeclaredHead(name=f"h{i}", kind="regression") for i in range(num_heads))

    found = dict(default_space(heads).parameters)

    assert found["h0_loss_weight"] == 1.0
    assert all(isinstance(found[f"h{i}_loss_weight"], Float) for i in range(1, num_heads))
    assert sum(name.endswith("_units") for name in found) == num_heads


def test_what_a_space_does_not_name_is_at_the_reference():
    whole = complete(space(learning_rate={"float": [1e-4, 1e-2], "log": True}), HEADS)

    assert whole.contains(
        {
            "conv1_filters": 64,
            "conv2_filters": 64,
            "kernel_size": 3,
            "pool_size": 3,
            "dropout": 0.0,
            "batch_norm": False,
            "l2": 0.0,
            "c_output_units": 256,
            "r_output_units": 512,
            "learning_rate": 1e-3,
            "batch_size": 32,
            "optimizer": "adam",
            "c_output_loss_weight": 1.0,
            "r_output_loss_weight": 1.0,
        }
    )


@pytest.mark.parametrize(
    ("named", "blocks"),
    [
        pytest.param({}, 2, id="as_the_reference"),
        pytest.param({"conv1_filters": 8}, 2, id="one_named"),
        pytest.param({"conv3_filters": 8}, 3, id="the_highest_named"),
        pytest.param({"num_conv_blocks": 4}, 4, id="said"),
        pytest.param({"num_conv_blocks": 1, "conv1_filters": 8}, 1, id="fewer_than_the_reference"),
    ],
)
def test_the_depth_is_said_or_follows_from_the_blocks_named(named, blocks):
    names = [name for name, _ in complete(space(**named), HEADS).parameters]

    assert sum(name.startswith("conv") for name in names) == blocks


@pytest.mark.parametrize(
    ("named", "message"),
    [
        pytest.param(
            {"lr": 0.1}, "space.lr shapes nothing; did you mean 'learning_rate'?", id="unknown"
        ),
        pytest.param({"learnin_rate": 0.1}, "did you mean 'learning_rate'?", id="misspelt"),
        pytest.param(
            {"x_units": 8}, "space.x_units shapes nothing; known are [", id="head_of_none"
        ),
        pytest.param(
            {"num_conv_blocks": 2, "conv3_filters": 8},
            "conv3_filters shapes nothing: num_conv_blocks is 2",
            id="too_deep",
        ),
        pytest.param({"conv0_filters": 8}, "conv0_filters shapes nothing", id="block_zero"),
        pytest.param(
            {"conv01_filters": 8}, "conv01_filters shapes nothing", id="block_with_a_zero"
        ),
        pytest.param(
            {"num_conv_blocks": {"int": [0, 3]}},
            "space.num_conv_blocks needs whole numbers from 1 to 50, got {'int': [0, 3]}",
            id="depth",
        ),
        pytest.param(
            {"num_conv_blocks": {"float": [1, 3]}}, "as a choice or an int", id="float_depth"
        ),
        pytest.param(
            {"num_conv_blocks": {"choice": ["deep"]}}, "1 to 50, got 'deep'", id="depth_in_words"
        ),
        pytest.param(
            {"num_conv_blocks": {"int": [1, 3]}, "conv4_filters": 8},
            "conv4_filters shapes nothing: num_conv_blocks is at most 3",
            id="deeper_than_searched",
        ),
        pytest.param({"num_conv_blocks": 0}, "whole numbers from 1 to 50", id="no_block"),
        pytest.param(
            {"conv1_filters": {"int": [0, 8]}}, "65536, got {'int': [0, 8]}", id="filters"
        ),
        pytest.param(
            {"conv1_filters": {"float": [8, 64]}},
            "as a choice or an int, got {'float'",
            id="float_filters",
        ),
        pytest.param({"c_output_units": 0}, "c_output_units needs whole numbers", id="units"),
        pytest.param({"batch_size": {"choice": [32, 0]}}, "got 0", id="batch"),
        pytest.param({"batch_size": True}, "got True", id="bool_batch"),
        pytest.param(
            {"dropout": {"float": [0.0, 1.0]}},
            "in [0, 1), got {'float': [0.0, 1.0]}",
            id="dropout",
        ),
        pytest.param({"l2": -0.1}, "l2 needs numbers >= 0, got -0.1", id="l2"),
        pytest.param(
            {"learning_rate": {"float": [0, 1]}}, "> 0, got {'float': [0.0, 1.0]}", id="rate"
        ),
        pytest.param({"r_output_loss_weight": -1}, ">= 0, got -1", id="weight"),
        pytest.param(
            {"pool_size": 0}, "pool_size needs whole numbers from 1 to 65536, got 0", id="pool"
        ),
        pytest.param({"optimizer": {"choice": ["adam", "lion"]}}, "got 'lion'", id="optimizer"),
        pytest.param({"batch_norm": 1}, "true or false, got 1", id="batch_norm"),
        pytest.param(
            {"batch_norm": {"int": [0, 1]}}, "true or false, as a choice or a constant", id="range"
        ),
        pytest.param({"conv51_filters": 8}, "at most 50 convolution blocks, got 51", id="deep"),
        pytest.param({"conv999999999_filters": 8}, "at most 50 convolution", id="very_deep"),
        pytest.param({f"conv{'9' * 5000}_filters": 8}, "shapes nothing", id="beyond_numbers"),
        pytest.param({"num_conv_blocks": 10**18}, "whole numbers from 1 to 50", id="many_blocks"),
        pytest.param({"kernel_size": 2.5}, "kernel_size needs whole numbers", id="half_a_pixel"),
        pytest.param({"c_output_units": {"int": [8, 10**9]}}, "from 1 to 65536", id="huge"),
        pytest.param(
            {"c_output_loss_weight": 0, "r_output_loss_weight": 0.0},
            "space needs a loss weight > 0 for at least one head",
            id="no_weight",
        ),
    ],
)
def test_a_parameter_that_shapes_nothing_or_cannot_be_is_refused(named, message):
    with pytest.raises(InputError, match=re.escape(message)):
        complete(space(**named), HEADS)


USER = {"filters": REQUIRED, "dropout": 0.1, "callback": None}


def test_a_users_function_adds_its_parameters_and_training_ours():
    whole = complete(space(filters={"int": [8, 64]}), HEADS, model_parameters=USER)

    assert [name for name, _ in whole.parameters] == [
        "filters",
        "dropout",
        "learning_rate",
        "batch_size",
        "optimizer",
        "c_output_loss_weight",
        "r_output_loss_weight",
    ]


@pytest.mark.parametrize(
    ("named", "message"),
    [
        pytest.param({}, "space needs 'filters': the model function gives it no", id="missing"),
        pytest.param(
            {"filters": 8, "conv1_filters": 8},
            "space.conv1_filters shapes nothing",
            id="of_our_model",
        ),
        pytest.param({"filters": 8, "filter": 8}, "did you mean 'filters'?", id="misspelt"),
        pytest.param(
            {"filters": 8, "batch_size": 0},
            "whole numbers from 1 to 2147483647, got 0",
            id="training",
        ),
    ],
)
def test_a_space_for_a_users_function_is_checked_against_its_parameters(named, message):
    with pytest.raises(InputError, match=re.escape(message)):
        complete(space(**named), HEADS, model_parameters=USER)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        pytest.param({"learning_rate": REQUIRED}, "parameter of the training", id="training"),
        pytest.param({"c_output_loss_weight": 1}, "parameter of the training", id="weight"),
        pytest.param({"epoch": 3}, "the table of trials has a column of this name", id="column"),
        pytest.param({"seconds_idle": 3}, "has a column of this name", id="seconds"),
    ],
)
def test_a_users_function_cannot_take_what_is_ours(parameters, message):
    with pytest.raises(InputError, match=rf"^model\.{next(iter(parameters))} .*{message}"):
        complete(space(), HEADS, model_parameters=parameters)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param("number", "space.number needs another name: the table", id="column"),
        pytest.param("val_x", "space.val_x needs another name: the table", id="metric"),
        pytest.param("heads", "every model function is given this", id="given"),
    ],
)
def test_a_space_for_a_users_function_has_no_taken_names(name, message):
    with pytest.raises(InputError, match=re.escape(message)):
        read_named({name: 1}, HEADS, is_builtin=False)


def test_what_a_users_parameters_may_be_is_the_users_affair():
    named = {"dropout": 40, "conv1_filters": "many", "kernel_size": -1, "c_output_units": 0.5}

    assert read_named(named, HEADS, is_builtin=False) == named


@pytest.mark.parametrize(
    ("named", "read"),
    [
        pytest.param({"batch_size": 64.0}, {"batch_size": 64}, id="whole"),
        pytest.param({"r_output_loss_weight": 1}, {"r_output_loss_weight": 1.0}, id="real"),
        pytest.param({"l2": Int(low=0, high=1)}, {"l2": Int(low=0, high=1)}, id="int_of_reals"),
        pytest.param(
            {"conv1_filters": Choice(values=(8, 16.0))},
            {"conv1_filters": Choice(values=(8, 16))},
            id="choice_of_whole",
        ),
        pytest.param(
            {"dropout": Choice(values=(0, 0.5))},
            {"dropout": Choice(values=(0.0, 0.5))},
            id="choice_of_reals",
        ),
        pytest.param({"num_conv_blocks": 3.0}, {"num_conv_blocks": 3}, id="depth"),
        pytest.param({"batch_norm": True}, {"batch_norm": True}, id="bool"),
    ],
)
def test_values_are_read_in_the_type_that_their_parameter_has(named, read):
    found = read_named(named, HEADS, is_builtin=True)

    assert repr(found) == repr(read)


@pytest.mark.parametrize("name", ["conv1", "learning", "batch", "num_conv_blocks", "pool", "l2"])
def test_a_head_may_be_called_as_a_part_of_the_model_is(name):
    heads = (DeclaredHead(name=name, kind="classification"), HEADS[1])
    named = {f"{name}_units": 32, f"{name}_loss_weight": 2.0, "conv1_filters": 8}

    config = complete(space(**named), heads).to_mapping()

    resolved = (heads[0].resolve(3), heads[1].resolve(4))
    spec = TrialSpec.from_config(config, image_shape=(32, 32, 1), heads=resolved)
    assert (spec.model.head_units, spec.loss_weights) == ((32, 512), (2.0, 1.0))
    assert spec.model.conv_filters == (8, 64)


@pytest.mark.parametrize("depth", [1, 3])
def test_a_whole_config_of_any_depth_is_one_that_a_trial_parses(depth):
    config = complete(space(num_conv_blocks=depth, pool_size=2), HEADS).to_mapping()

    heads = (HeadSpec(name="c_output", kind="classification", units=3), HEADS[1].resolve(4))
    spec = TrialSpec.from_config(config, image_shape=(32, 32, 1), heads=heads)
    assert len(spec.model.conv_filters) == depth


SPACE = complete(
    space(
        conv1_filters={"choice": [8, 16]},
        batch_size=64,
        learning_rate={"float": [0.001, 0.01], "log": True},
        c_output_units={"int": [32, 64], "step": 8},
    ),
    HEADS,
)


@pytest.mark.parametrize(
    ("config", "read"),
    [
        pytest.param({}, {}, id="nothing"),
        pytest.param({"batch_size": 32.0, "l2": 1}, {"batch_size": 32, "l2": 1.0}, id="constants"),
        pytest.param({"conv1_filters": 8.0}, {"conv1_filters": 8}, id="choice"),
        pytest.param({"learning_rate": 0.01}, {"learning_rate": 0.01}, id="bound"),
        pytest.param({"c_output_units": 33}, {"c_output_units": 33}, id="off_the_steps"),
        pytest.param({"num_conv_blocks": 2.0}, {"num_conv_blocks": 2}, id="depth"),
    ],
)
def test_a_first_config_lies_in_the_space_but_for_its_constants(config, read):
    found = read_first(config, SPACE, HEADS, is_builtin=True, at=("start_with", 0))

    assert repr(found) == repr(read)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        pytest.param({"l2": [0.1]}, "start_with[3].l2: config needs a number, text", id="list"),
        pytest.param({"l2": Float(low=0, high=1)}, "start_with[3].l2: config needs", id="kind"),
        pytest.param({"l2": {"float": [0, 1]}}, "l2 needs a single value; ranges", id="range"),
        pytest.param({3: 1}, "start_with[3].'3' shapes nothing: it is no name", id="number"),
        pytest.param({"lr": 1}, "did you mean 'learning_rate'?", id="short"),
        pytest.param({"conv3_filters": 8}, "the space has 2 convolution blocks", id="block"),
        pytest.param({"num_conv_blocks": 1}, "needs 2, as many convolution blocks", id="depth"),
        pytest.param({"conv1_filters": 9}, "{'choice': [8, 16]}, as in the space", id="choice"),
        pytest.param({"learning_rate": 0.1}, "as in the space, got 0.1", id="outside"),
        pytest.param({"c_output_units": 33.5}, "needs whole numbers", id="fraction"),
        pytest.param({"l2": "a" * 999}, f"numbers >= 0, got '{'a' * 199}...", id="long"),
    ],
)
def test_a_first_config_is_refused_with_its_place(config, message):
    with pytest.raises(InputError, match=re.escape(message)):
        read_first(config, SPACE, HEADS, is_builtin=True, at=("start_with", 3))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        pytest.param({"mine": 9}, "start_with[0].mine needs a value of {'int': [1, 8]}", id="out"),
        pytest.param({"mine": 2.5}, "as in the space, got 2.5", id="fraction"),
        pytest.param({"kind": True}, "as in the space, got True", id="true_is_not_one"),
        pytest.param({"epoch": 3}, "start_with[0].epoch needs another name", id="column"),
        pytest.param({"batch_size": 0}, "start_with[0].batch_size needs whole", id="training"),
    ],
)
def test_a_first_config_for_a_users_function_is_checked_as_far_as_it_is_known(config, message):
    named = space(mine={"int": [1, 8]}, kind={"choice": [1, "a"]})

    with pytest.raises(InputError, match=re.escape(message)):
        read_first(config, named, HEADS, is_builtin=False, at=("start_with", 0))


def test_many_problems_are_counted_after_the_first():
    named = {f"x{number}": 1 for number in range(MOST_SHOWN + 5)}

    with pytest.raises(PlacedError, match=rf"^{MOST_SHOWN + 5} problems") as caught:
        complete(space(**named), HEADS)

    assert str(caught.value).splitlines()[-1] == "  - and 5 more"
    assert len(caught.value.problems) == MOST_SHOWN + 5


DEEP = complete(
    space(num_conv_blocks={"choice": [1, 3]}, conv3_filters={"choice": [8, 16]}), HEADS
)


def test_blocks_that_a_searched_depth_can_have_are_at_the_reference_unless_named():
    blocks = {n: p for n, p in DEEP.to_mapping().items() if n.startswith("conv")}

    assert blocks == {
        "conv1_filters": 64,
        "conv2_filters": 64,
        "conv3_filters": {"choice": [8, 16]},
    }
    assert DEEP.size == 1 + 2


@pytest.mark.parametrize(
    ("config", "message"),
    [
        pytest.param(
            {"num_conv_blocks": 1, "conv2_filters": 8},
            "start_with[0].conv2_filters shapes nothing: num_conv_blocks is 1",
            id="constant_of_no_block",
        ),
        pytest.param(
            {"num_conv_blocks": 1, "conv3_filters": 8},
            "start_with[0].conv3_filters shapes nothing: num_conv_blocks is 1",
            id="searched_of_no_block",
        ),
        pytest.param({"num_conv_blocks": 2}, "needs a value of {'choice': [1, 3]}", id="depth"),
        pytest.param({"num_conv_blocks": True}, "from 1 to 50, got True", id="yes"),
        pytest.param({"num_conv_blocks": "3", "conv3_filters": 8}, "got '3'", id="text"),
        pytest.param(
            {"conv4_filters": 8}, "the space has at most 3 convolution blocks", id="beyond"
        ),
    ],
)
def test_a_first_config_names_no_filters_of_a_block_that_it_does_not_have(config, message):
    with pytest.raises(InputError, match=re.escape(message)):
        read_first(config, DEEP, HEADS, is_builtin=True, at=("start_with", 0))


def test_a_first_config_of_any_depth_of_the_space_is_taken():
    deep = {"num_conv_blocks": 3.0, "conv2_filters": 8, "conv3_filters": 16}

    read = read_first(deep, DEEP, HEADS, is_builtin=True, at=("start_with", 0))

    assert repr(read) == "{'num_conv_blocks': 3, 'conv2_filters': 8, 'conv3_filters': 16}"


def test_a_users_function_needs_a_default_for_what_a_config_may_not_name():
    named = space(num_conv_blocks={"int": [1, 2]}, conv2_filters={"choice": [8, 16]})
    function = {"num_conv_blocks": REQUIRED, "conv2_filters": REQUIRED}

    with pytest.raises(InputError, match=r"^model\.conv2_filters needs a default in the model"):
        complete(named, HEADS, model_parameters=function)

    assert complete(named, HEADS, model_parameters={**function, "conv2_filters": 8}).size
