import math

import pytest

from tests.support.data_sets import CLASS, NUMBER, as_numbers, request, write
from trainables.data.check import check_dataset
from trainables.data.request import DataRequest
from trainables.spec.heads import DeclaredHead


def check(tmp_path, *heads, image_size=None, **change):
    uri = write(tmp_path / "set.parquet", **change)
    return check_dataset(request(uri, *heads, image_size=image_size)).info


def test_baselines_are_the_losses_of_the_best_constant(tmp_path):
    split = ["train"] * 6 + ["validation"] * 4
    info = check(
        tmp_path,
        CLASS,
        NUMBER,
        split=split,
        c_output=[0, 0, 0, 0, 1, 1, 0, 0, 0, 1],
        r_output=[1.0, 1, 1, 3, 3, 3, 2.0, 2, 4, 4],
    )

    expected = -(3 * math.log(4 / 6) + math.log(2 / 6)) / 4
    assert info.baselines["c_output"] == pytest.approx(expected, rel=1e-12)
    assert info.baselines["r_output"] == pytest.approx(2.0, rel=1e-12)


def test_a_class_unseen_in_training_keeps_the_baseline_finite(tmp_path):
    info = check(
        tmp_path, CLASS, split=["train"] * 9 + ["validation"], c_output=[0] * 5 + [1] * 4 + [2]
    )

    assert info.baselines["c_output"] == pytest.approx(-math.log(0.5 / 9.5))


def test_the_baseline_of_a_box_is_the_median_box_with_the_heads_loss(tmp_path):
    head = DeclaredHead(name="r_output", kind="box", loss="giou")
    train, other = [0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]
    info = check(
        tmp_path,
        head,
        split=["train"] * 9 + ["validation"],
        r_output=as_numbers([train] * 8 + [other] * 2),
    )

    assert info.baselines["r_output"] == pytest.approx(1.5)


def test_a_constant_label_has_the_smallest_baseline(tmp_path):
    assert check(tmp_path, NUMBER, r_output=[1.0] * 10).baselines["r_output"] == 1e-12


FINGERPRINT_CHANGES = [
    pytest.param({"heads": (NUMBER, CLASS)}, True, id="order_of_heads"),
    pytest.param({"image_size": (4, 4)}, True, id="image_size"),
    pytest.param({"validation_seed": 1}, True, id="split_seed"),
    pytest.param({"validation_share": 0.3}, True, id="split_share"),
    pytest.param(
        {"heads": (CLASS, DeclaredHead(name="r_output", kind="regression", loss="huber"))},
        False,
        id="loss",
    ),
]


@pytest.mark.parametrize(("change", "is_other"), FINGERPRINT_CHANGES)
def test_the_fingerprint_names_what_shapes_the_decoded_set(tmp_path, change, is_other):
    uri = write(tmp_path / "a.parquet")
    base = {"uri": uri, "heads": (CLASS, NUMBER), "image_size": None}

    first = check_dataset(DataRequest(**base)).info.fingerprint
    second = check_dataset(DataRequest(**base | change)).info.fingerprint

    assert (first != second) is is_other


def test_the_fingerprint_follows_the_content_and_not_the_place(tmp_path):
    first, copy = (write(tmp_path / name / "a.parquet") for name in ("one", "two"))
    other = write(tmp_path / "three" / "a.parquet", r_output=[7.0] * 10)

    prints = [check_dataset(request(uri)).info.fingerprint for uri in (first, copy, other)]

    assert prints[0] == prints[1]
    assert prints[0] != prints[2]


def test_the_split_rule_is_no_part_of_a_fingerprint_with_a_split_column(tmp_path):
    uri = write(tmp_path / "a.parquet", split=["train"] * 8 + ["validation"] * 2)

    first, second = (check_dataset(request(uri, validation_seed=seed)).info for seed in (0, 1))

    assert first == second
