"""NumPy and Arrow values are plain ones wherever the Python API takes a value."""

import json
from collections import UserDict

import numpy as np
import pyarrow as pa
import pytest

import search
from search.errors import InputError
from search.space.parameters import Choice, Float, Int
from search.space.space import SearchSpace
from search.study.settings import Budget, Resources
from tests.support.finished_study import write_study
from trainables.spec.heads import DeclaredHead
from trainables.spec.plain_values import plain


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param(np.int64(3), 3, id="int"),
        pytest.param(np.uint8(3), 3, id="unsigned"),
        pytest.param(np.float32(0.5), 0.5, id="float32"),
        pytest.param(np.float64(0.5), 0.5, id="float64"),
        pytest.param(np.longdouble(0.5), 0.5, id="long_double"),
        pytest.param(np.bool_(True), True, id="bool"),
        pytest.param(np.str_("adam"), "adam", id="text"),
        pytest.param(np.array(3), 3, id="without_dimensions"),
        pytest.param(np.array([8, 16]), [8, 16], id="array"),
        pytest.param(pa.scalar(3), 3, id="arrow_int"),
        pytest.param(pa.scalar(0.5, pa.float32()), 0.5, id="arrow_float"),
        pytest.param(pa.scalar("adam"), "adam", id="arrow_text"),
        pytest.param(pa.array([8, 16]), [8, 16], id="arrow_array"),
        pytest.param(UserDict({np.str_("a"): (np.int8(1), [np.int8(2)])}), {"a": (1, [2])}),
        pytest.param(np.array([{"a": np.int8(1)}, pa.scalar(2)]), [{"a": 1}, 2], id="objects"),
        pytest.param(np.array({"a": [np.int8(1)]}), {"a": [1]}, id="one_object"),
        pytest.param(None, None, id="none"),
    ],
)
def test_a_value_of_numpy_or_arrow_becomes_the_plain_one(given, expected):
    found = plain(given)

    assert found == expected
    assert type(found) is type(expected)


def test_a_pandas_series_is_a_list():
    pandas = pytest.importorskip("pandas")

    assert plain(pandas.Series([8, 16])) == [8, 16]
    assert plain({"choice": pandas.Index(["a", "b"])}) == {"choice": ["a", "b"]}


def test_a_list_that_holds_itself_is_left_to_its_reader():
    endless: list[object] = []
    endless.append(endless)

    with pytest.raises(InputError, match="image_size needs"):
        search.Study(name="s", data="d", heads={"c": {"kind": "box"}}, image_size=endless)


def study(number, text, flag, real):
    return search.Study(
        name=text("digits"),
        data=text("digits.parquet"),
        heads={text("c"): {"kind": text("classification"), "units": number(10)}},
        image_size=[number(32), number(24)],
        validation={"share": real(0.25), "seed": number(7)},
        space={
            "conv1_filters": {"int": [number(8), number(64)], "log": flag(True)},
            "dropout": {"float": [real(0.0), real(0.5)], "step": real(0.125)},
            "batch_size": {"choice": [number(16), number(32)]},
            "batch_norm": flag(False),
            "l2": real(0.25),
            "optimizer": text("sgd"),
        },
        budget={"trials": number(3), "epochs": number(2), "hours": real(1.5)},
        start_with=[{"conv1_filters": number(16), "dropout": real(0.25)}],
        resources={"cpu": number(2), "gpu": real(0.5), "concurrent": number(1)},
        seed=number(5),
        reference=flag(False),
        storage=text("/studies"),
    )


@pytest.mark.parametrize(
    "kinds",
    [
        pytest.param((np.int64, np.str_, np.bool_, np.float32), id="numpy"),
        pytest.param((np.uint8, np.str_, np.bool_, np.float64), id="numpy_small"),
        pytest.param((np.array, np.array, np.array, np.array), id="without_dimensions"),
        pytest.param((pa.scalar, pa.scalar, pa.scalar, pa.scalar), id="arrow"),
    ],
)
def test_a_study_is_the_same_of_plain_numbers_and_of_others(kinds):
    if kinds[1] is not np.str_:  # no key of a mapping: they have no hash, or another
        number, text, flag, real = kinds
        kinds = (number, lambda said: said if said == "c" else text(said), flag, real)

    made, expected = study(*kinds), study(int, str, bool, float)

    assert made == expected
    assert json.dumps(made.to_dict()) == json.dumps(expected.to_dict())


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        pytest.param(lambda: Budget(trials=np.int64(3)), Budget(trials=3), id="budget"),
        pytest.param(lambda: Resources(gpu=np.float32(0.5)), Resources(gpu=0.5), id="resources"),
        pytest.param(
            lambda: Float(low=np.float32(0.5), high=np.int8(2), log=np.bool_(True)),
            Float(low=0.5, high=2.0, log=True),
            id="float",
        ),
        pytest.param(
            lambda: Int(low=np.int8(1), high=pa.scalar(9), step=np.float64(2)),
            Int(low=1, high=9, step=2),
            id="int",
        ),
        pytest.param(
            lambda: Choice(values=np.array([8, 16])), Choice(values=(8, 16)), id="choice_array"
        ),
        pytest.param(
            lambda: DeclaredHead(name="c", kind="classification", units=np.int64(3)),
            DeclaredHead(name="c", kind="classification", units=3),
            id="head",
        ),
        pytest.param(
            lambda: study(int, str, bool, float).with_budget(trials=np.int64(9)).budget,
            Budget(trials=9, epochs=2, hours=1.5),
            id="with_budget",
        ),
    ],
)
def test_values_are_made_of_any_numbers(make, expected):
    assert repr(make()) == repr(expected)


def test_a_config_of_numpy_values_lies_in_a_space():
    space = SearchSpace.from_mapping({"filters": {"choice": [8, 16]}, "norm": True})

    assert space.contains({"filters": np.int64(16), "norm": np.bool_(True)})
    assert not space.contains({"filters": np.int64(12), "norm": np.bool_(True)})


@pytest.mark.parametrize("bad", [np.nan, np.float32("inf"), pa.scalar(float("nan"))])
def test_what_is_not_finite_is_refused_whatever_its_type(bad):
    with pytest.raises(InputError, match=r"learning_rate.*finite number, got (nan|inf)"):
        search.Study(
            name="s",
            data="d",
            heads={"c": {"kind": "box"}},
            space={"learning_rate": {"float": [1e-3, bad]}},
        )


def test_best_takes_any_numbers_as_options(tmp_path):
    result = search.load(write_study(tmp_path).folder)

    asked = result.best(exponents={np.str_("c_output"): np.float32(2)})

    assert asked == result.best(exponents={"c_output": 2.0})
    percent = result.best("lexicographic", tolerance_percent=pa.scalar(30))
    assert percent == result.best("lexicographic", tolerance_percent=30)


def test_confirm_takes_any_whole_numbers(tmp_path):
    with pytest.raises(InputError, match="seeds needs a whole number from 1 to 100, got 0"):
        search.confirm(str(tmp_path), seeds=np.int64(0))
    with pytest.raises(InputError, match="there is no study"):
        search.confirm(str(tmp_path), seeds=np.int64(2), top=pa.scalar(3))
