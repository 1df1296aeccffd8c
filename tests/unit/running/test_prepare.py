"""What is settled, and refused, before the first trial."""

from dataclasses import replace

import numpy as np
import pytest

from search.errors import InputError
from search.running.prepare import _reference_of_function, _unused_words
from search.running.resume import _check_before_ray
from search.space.space import SearchSpace
from search.study.configs import check_space, first_configs, num_trials, whole_space
from search.study.prepared import Prepared, shared_settings
from search.study.study import Study
from trainables.data.request import DataInfo
from trainables.model.user_model import REQUIRED

HEADS = {"c_output": {"kind": "classification"}, "r_output": {"kind": "box"}}


def study(**changes):
    return Study(**{"name": "s", "data": "d.parquet", "heads": HEADS, **changes})


def data(of, *, side=32, rows=100):
    units = {"c_output": 10, "r_output": 4}
    return DataInfo(
        fingerprint="f" * 64,
        image_shape=(side, side, 1),
        heads=tuple(head.resolve(units[head.name]) for head in of.heads),
        rows={"train": rows, "validation": 10, "test": 0},
        baselines={"c_output": 2.3, "r_output": 0.1},
    )


def prepared_of(of, space=None, reference=None):
    space = of.whole_space if space is None else space
    return Prepared(data=data(of), space=space, precision="float32", reference=reference)


def check(of, **facts):
    check_space(of, replace(prepared_of(of), data=data(of, **facts)))


def test_what_a_space_does_not_name_is_at_the_references_value():
    space = dict(study(space={"dropout": {"float": [0, 0.5]}}).whole_space.parameters)

    assert (space["conv1_filters"], space["pool_size"], space["r_output_units"]) == (64, 3, 512)
    assert space["learning_rate"] == 1e-3


def test_the_reference_comes_first_and_then_what_the_user_wants_to_start_with():
    with_start = study(space={"dropout": {"float": [0, 0.5]}}, start_with=[{"dropout": 0.25}])
    first = first_configs(with_start, prepared_of(with_start))

    assert [origin for _, origin in first] == ["reference", "start_with"]
    assert [config["dropout"] for config, _ in first] == [0.0, 0.25]
    assert first[0][0].keys() == first[1][0].keys()


def test_a_config_to_start_with_is_tried_once_and_not_beside_the_same_reference():
    configs = [{}, {"dropout": 0.25}, {"dropout": 0.0}, {"dropout": 0.25, "l2": 0.0}]
    known = study(space={"dropout": {"float": [0, 0.5]}}, start_with=configs)
    first = first_configs(known, prepared_of(known))

    assert [(config["dropout"], origin) for config, origin in first] == [
        (0.0, "reference"),
        (0.25, "start_with"),
    ]


FUNCTION = {"filters": REQUIRED, "dropout": 0.1, "act": np.str_("relu"), "sizes": (3, 3)}
OWN = {
    "filters": {"int": [8, 128], "log": True},
    "dropout": {"float": [0.2, 0.5]},
    "batch_size": 64,
}
TRAINED = {
    "learning_rate": 1e-3,
    "batch_size": 32,
    "optimizer": "adam",
    "c_output_loss_weight": 1.0,
    "r_output_loss_weight": 1.0,
}


def own_study(**changes):
    return study(**{"model": "package.module:build", "space": OWN, **changes})


def test_the_reference_of_a_users_model_is_the_function_at_its_defaults():
    own = own_study()
    space = whole_space(own, FUNCTION)

    reference = _reference_of_function(own, space, FUNCTION)

    # A default outside the space holds, and one that is no plain value is the function's.
    assert reference == {"filters": 32, "dropout": 0.1, "act": "relu", **TRAINED}
    assert first_configs(own, prepared_of(own, space, reference)) == ((reference, "reference"),)
    assert prepared_of(own, space, reference).to_dict()["reference"] == reference


@pytest.mark.parametrize(
    ("searched", "value"),
    [
        pytest.param({"int": [8, 128]}, 68, id="whole"),
        pytest.param({"int": [1, 1000], "log": True}, 31, id="whole_log"),
        pytest.param({"int": [0, 10], "step": 4}, 4, id="on_its_steps"),
        pytest.param({"float": [0.01, 1.0], "log": True}, 0.1, id="real_log"),
        pytest.param({"float": [0.0, 1.0], "step": 0.4}, 0.4, id="real_on_its_steps"),
        pytest.param({"choice": ["wide", "deep"]}, "wide", id="first_choice"),
        pytest.param(7, 7, id="constant"),
    ],
)
def test_without_a_default_a_parameter_is_at_the_middle_of_the_space(searched, value):
    own = own_study(space={"filters": searched})
    reference = _reference_of_function(own, whole_space(own, FUNCTION), FUNCTION)

    assert reference["filters"] == value
    assert type(reference["filters"]) is type(value)


def test_what_start_with_leaves_out_is_the_functions_default_and_the_reference_is_tried_once():
    own = own_study(start_with=[{"filters": 16}, {"filters": 32, "batch_size": 32}])
    space = whole_space(own, {**FUNCTION, "dropout": 0.2})
    reference = _reference_of_function(own, space, {**FUNCTION, "dropout": 0.2})

    first = first_configs(own, prepared_of(own, space, reference))

    assert [origin for _, origin in first] == ["reference", "start_with"]
    assert (first[1][0]["filters"], first[1][0]["dropout"]) == (16, 0.2)


def test_a_record_that_names_no_reference_keeps_the_built_in_one_beside_a_users_model():
    own = own_study(start_with=[{}])
    recorded = prepared_of(own, whole_space(own, FUNCTION), None).to_dict()

    prepared = Prepared.from_dict(recorded)
    first = first_configs(own, prepared)

    assert "reference" not in recorded
    assert [origin for _, origin in first] == ["reference", "start_with"]
    assert first[0][0]["conv1_filters"] == 64
    settings = shared_settings(own, prepared)
    assert (settings.model, settings.reference_model) == ("package.module:build", None)


def test_a_config_to_start_with_has_the_blocks_of_the_space():
    shallow = study(
        space={"num_conv_blocks": 1, "conv1_filters": {"choice": [8, 16]}},
        start_with=[{"conv1_filters": 8}],
        reference=False,
    )
    ((config, _),) = first_configs(shallow, prepared_of(shallow))

    assert config["num_conv_blocks"] == 1
    assert "conv2_filters" not in config
    check(shallow)


DEPTHS = {
    "num_conv_blocks": {"int": [1, 3]},
    "conv1_filters": {"choice": [8, 16]},
    "conv3_filters": {"choice": [8, 16]},
    "pool_size": 2,
}


@pytest.mark.parametrize(
    ("first", "blocks"),
    [
        pytest.param({"num_conv_blocks": 1, "conv1_filters": 8}, {1: 8}, id="said"),
        pytest.param({"conv1_filters": 8}, {1: 8, 2: 64}, id="as_the_reference"),
        pytest.param({"conv3_filters": 8}, {1: 64, 2: 64, 3: 8}, id="the_highest_named"),
    ],
)
def test_a_config_to_start_with_names_the_filters_of_its_own_blocks(first, blocks):
    deep = study(space=DEPTHS, start_with=[first], reference=False)
    ((config, _),) = first_configs(deep, prepared_of(deep))

    named = {name: value for name, value in config.items() if name.endswith("_filters")}
    assert named == {f"conv{block}_filters": filters for block, filters in blocks.items()}
    assert config["num_conv_blocks"] == len(blocks)
    check(deep)


def test_the_corners_of_a_searched_depth_have_the_filters_of_their_blocks():
    deep = study(space=DEPTHS)
    lowest, highest = deep.whole_space.corners

    assert [name for name in lowest if name.startswith("conv")] == ["conv1_filters"]
    assert (highest["conv2_filters"], highest["conv3_filters"]) == (64, 16)


def test_a_study_of_few_configs_ends_when_all_have_been_tried():
    small = {"conv1_filters": {"choice": [8, 16]}, "batch_norm": {"choice": [True, False]}}
    first = [{"conv1_filters": 8, "l2": 0.1}, {"conv1_filters": 8, "batch_norm": True}]
    of = study(space=small, start_with=first, budget={"trials": 24})

    # The reference and the first of the configs to start with do not lie in the space.
    assert num_trials(of, prepared_of(of)) == 4 + 2
    assert num_trials(study(), prepared_of(study())) == 24


def test_a_sampler_that_is_not_installed_is_refused_before_anything_starts(monkeypatch):
    monkeypatch.setattr("search.study.samplers.find_spec", lambda module: None)
    of = study(sampler="gp")

    with pytest.raises(InputError, match=r"sampler 'gp' needs the module 'torch', .*\[gp\]"):
        _check_before_ray(of, data(of))


def test_corners_are_the_smallest_and_the_largest_of_every_parameter():
    space = SearchSpace.from_mapping({"a": {"int": [1, 9]}, "b": {"choice": [3, 2]}, "c": "x"})

    assert space.corners == [{"a": 1, "b": 2, "c": "x"}, {"a": 9, "b": 3, "c": "x"}]


@pytest.mark.parametrize(
    ("changes", "facts", "message"),
    [
        pytest.param(
            {"space": {"batch_size": {"choice": [32, 128]}}},
            {},
            r"space.batch_size needs at most 100, the number of training rows, got 128",
            id="batch",
        ),
        pytest.param(
            {"space": {"conv4_filters": 8}, "reference": False},
            {},
            r"32x32 pixels leave room for at most 3 convolution blocks with pool_size=3, got 4",
            id="blocks",
        ),
        pytest.param(
            {"space": {"num_conv_blocks": {"int": [1, 9]}}},
            {},
            r"^space: images of 32x32 pixels leave room for at most 3 convolution",
            id="searched_depth",
        ),
        pytest.param(
            {"space": {"pool_size": {"choice": [2, 7]}}, "reference": False},
            {},
            r"at most 1 convolution blocks with pool_size=7",
            id="pooling",
        ),
        pytest.param(
            {},
            {"side": 5},
            r"the reference trial \(`reference: false` leaves it out\): images of 5x5",
            id="reference",
        ),
    ],
)
def test_what_the_data_has_no_room_for_is_refused(changes, facts, message):
    with pytest.raises(InputError, match=message):
        check(study(**changes), **facts)


def test_few_rows_are_no_reason_to_refuse_a_batch_size_that_nobody_named():
    check(study(), rows=20)


def test_a_note_says_what_takes_the_place_of_a_models_own_training():
    weights = {"r_output_loss_weight": {"float": [0.1, 10.0], "log": True}}
    own = own_study(space={"filters": 8, "optimizer": "sgd", **weights})
    prepared = prepared_of(own, whole_space(own, FUNCTION))

    said = _unused_words(["compile", "train_step"], prepared)

    assert said == (
        "the model's own compile, train_step are not used; in the place of it trials have the "
        "optimizer (sgd) and learning_rate (0.001) of the space, the losses of the heads: "
        "c_output cross_entropy (weight 1), r_output mse (weight searched), and "
        "each head's own metrics"
    )
    assert _unused_words(["fit"], prepared).startswith("the model's own fit is not used; ")


def test_notes_are_kept_with_what_was_prepared_and_only_where_there_are_any():
    own = own_study()
    prepared = prepared_of(own, whole_space(own, FUNCTION))
    noted = replace(prepared, notes=("one", "two"))

    assert Prepared.from_dict(noted.to_dict()) == noted
    assert "notes" not in prepared.to_dict()
