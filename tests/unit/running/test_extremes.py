"""Which trainings of a study are measured."""

from search.running.probe import candidates
from search.study.configs import whole_space
from search.study.prepared import Prepared
from search.study.study import Study
from trainables.data.request import DataInfo

HEADS = {"c_output": {"kind": "classification"}, "r_output": {"kind": "box"}}


def study(**changes):
    return Study(**{"name": "s", "data": "d.parquet", "heads": HEADS, **changes})


def prepared(of, parameters=None, side=64):
    units = {"c_output": 10, "r_output": 4}
    data = DataInfo(
        fingerprint="f" * 64,
        image_shape=(side, side, 1),
        heads=tuple(head.resolve(units[head.name]) for head in of.heads),
        rows={"train": 100, "validation": 10, "test": 0},
        baselines={"c_output": 2.3, "r_output": 0.1},
    )
    return Prepared(data=data, space=whole_space(of, parameters), precision="float32")


def found(of, **facts):
    return candidates(of, prepared(of, **facts))


def test_of_the_default_space_the_smallest_the_widest_and_the_largest_are_measured():
    smallest, widest, largest = found(study())

    shapes = ("conv1_filters", "conv2_filters", "c_output_units", "r_output_units", "pool_size")
    assert [smallest.config[name] for name in shapes] == [8, 8, 32, 32, 3]
    assert [largest.config[name] for name in shapes] == [64, 64, 256, 512, 2]
    assert [widest.config[name] for name in shapes] == [64, 64, 32, 32, 2]
    assert largest.size.total > widest.size.total > smallest.size.total > 0


def test_all_are_measured_with_the_largest_batch():
    space = {"batch_size": {"choice": [16, 64, 32]}, "conv1_filters": {"choice": [8, 16]}}

    measured = found(study(space=space, reference=False))

    assert [one.config["batch_size"] for one in measured] == [64, 64]


def test_a_reference_that_is_larger_than_the_space_counts():
    space = {"conv1_filters": 4, "conv2_filters": 4, "batch_size": 8, "pool_size": 3}
    *_, beyond = found(study(space=space))

    assert beyond.is_reference
    assert beyond.name == "the reference trial (`reference: false` leaves it out)"
    assert len(found(study(space=space, reference=False))) == 1


def test_a_config_to_start_with_that_is_larger_than_the_space_counts():
    first = [{"batch_size": 32}, {"batch_size": 64}]
    space = {"conv1_filters": {"choice": [4, 8]}, "conv2_filters": 4, "batch_size": 8}
    *_, beyond = found(study(space=space, start_with=first, reference=False))

    assert beyond.config["batch_size"] == 64
    assert beyond.name.endswith("of start_with")


def test_of_a_searched_depth_all_are_counted_and_configs_name_their_own_blocks():
    space = {
        "num_conv_blocks": {"int": [1, 3]},
        "conv1_filters": {"choice": [8, 16]},
        "pool_size": 2,
    }
    smallest, *_, largest = found(study(space=space, reference=False))

    # One block leaves the most pixels for the dense layers, and so the most weights.
    assert largest.config["num_conv_blocks"] == 1
    assert "conv2_filters" not in largest.config
    assert smallest.config["num_conv_blocks"] == 3


def test_of_a_users_own_model_the_corners_and_what_is_tried_first_are_measured():
    own = study(
        model="package.module:build",
        space={"width": {"int": [4, 9]}},
        start_with=[{"width": 5}],
    )
    names = [one.config.get("width") for one in found(own, parameters={"width": 4})]

    assert names == [4, 9, 5, None]
    assert [one.is_reference for one in found(own, parameters={"width": 4})][-1]
