import math
import re

import pyarrow as pa
import pytest

from tests.support.data_sets import BOX, CLASS, NUMBER, different, encoded, request, write
from trainables.data.check import check_dataset
from trainables.errors import InputError
from trainables.spec.heads import DeclaredHead


def check(tmp_path, *heads, image_size=None, **change):
    uri = write(tmp_path / "set.parquet", **change)
    return check_dataset(request(uri, *heads, image_size=image_size)).info


def boxes(wrong=None, row=3):
    values = [[0.1, 0.2, 0.5, 0.8]] * 10
    return [*values[:row], wrong, *values[row + 1 :]] if wrong else values


@pytest.mark.parametrize(
    ("heads", "change", "message"),
    [
        pytest.param(
            [DeclaredHead(name="c_output", kind="classification", units=10)],
            {"c_output": [*range(9), 10]},
            "needs class ids from 0 to 9 (units: 10), got class id 10 in row 9",
            id="class_id_beyond_units",
        ),
        pytest.param(
            [CLASS], {"c_output": [-1, *[1] * 9]}, "got class id -1 in row 0", id="negative_id"
        ),
        pytest.param(
            [DeclaredHead(name="c_output", kind="classification", units=3)],
            {"c_output": ["a", "b"] * 5},
            "units: 3, got 2: ['a', 'b']",
            id="units_and_names",
        ),
        pytest.param(
            [CLASS],
            {"c_output": [1] * 10},
            "got only the class 1: leave this head out",
            id="one_class",
        ),
        pytest.param([CLASS], {"c_output": ["a"] * 10}, "got only the class 'a'", id="one_name"),
        pytest.param([CLASS], {"c_output": [0.5] * 10}, "got type double", id="class_floats"),
        pytest.param(
            [CLASS], {"c_output": [None, *[1] * 9]}, "got null in row 0", id="null_class"
        ),
        pytest.param(
            [CLASS], {"c_output": [10**9, *[1] * 9]}, "got class id 1000000000", id="huge_id"
        ),
        pytest.param(
            [NUMBER], {"r_output": [math.nan, *[1.0] * 9]}, "got [nan] in row 0", id="nan"
        ),
        pytest.param(
            [NUMBER], {"r_output": [1e39, *[1.0] * 9]}, "got [1e+39] in row 0", id="float32"
        ),
        pytest.param([NUMBER], {"r_output": ["a"] * 10}, "got type string", id="number_text"),
        pytest.param(
            [NUMBER],
            {"r_output": pa.array([[]] * 10, pa.list_(pa.float64()))},
            "got empty lists",
            id="empty_lists",
        ),
        pytest.param(
            [NUMBER],
            {"r_output": [[1.0], [1.0, 2.0], *[[1.0]] * 8]},
            "needs 1 numbers a row, got 2 numbers: [1.0, 2.0] in row 1",
            id="lengths",
        ),
        pytest.param(
            [DeclaredHead(name="r_output", kind="regression", units=2)],
            {},
            "units: 2, got 1",
            id="regression_units",
        ),
        pytest.param([BOX], {}, "needs a list of 4 numbers a row, got type double", id="no_box"),
        pytest.param(
            [BOX], {"r_output": boxes([0.1, 0.2, 0.3])}, "needs 4 numbers a row", id="short_box"
        ),
        pytest.param(
            [BOX],
            {"r_output": boxes([0.1, math.nan, 0.3, 0.4])},
            "got [0.1, nan, 0.3, 0.4] in row 3",
            id="nan_box",
        ),
        pytest.param(
            [BOX],
            {"r_output": boxes([0.5, 0.2, 0.1, 0.8])},
            "needs a height and a width above 0, got [0.5, 0.2, 0.1, 0.8] in row 3",
            id="reversed_box",
        ),
        pytest.param(
            [BOX],
            {"r_output": boxes([0.1, 0.2, 0.5, 1.8])},
            "inside the image, got [0.1, 0.2, 0.5, 1.8] (image 8x8) in row 3",
            id="box_outside",
        ),
        pytest.param(
            [DeclaredHead(name="r_output", kind="box", scale="pixel")],
            {"r_output": [[0, 0, 8, 10]] * 10},
            "got [0.0, 0.0, 8.0, 10.0] (image 8x8) in row 0",
            id="pixel_box_outside",
        ),
        pytest.param(
            [DeclaredHead(name="other", kind="regression")],
            {},
            "head 'other' needs a column of that name, got ['c_output', 'r_output']",
            id="no_column",
        ),
        pytest.param([], {"image": None}, "images need a column 'image'", id="no_image"),
        pytest.param(
            [],
            {"image": ["text"] * 10},
            "no image in row 0" if False else "row 0 has a path, and no such file beside",
            id="image_text",
        ),
        pytest.param([], {"image": [b"x"] * 10}, "none with a readable header", id="no_header"),
        pytest.param(
            [],
            {"image": [encoded(), encoded(9, 7), *[encoded()] * 8]},
            "8x8 (9 rows, first row 0), 9x7 (1 rows, first row 1); set image_size: [",
            id="sizes_differ",
        ),
        pytest.param([], {"split": ["train"] * 10}, "row 'validation', got none", id="no_val"),
        pytest.param(
            [], {"split": [*["train"] * 9, "val"]}, "got 'val' in row 9", id="split_word"
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_row(tmp_path, heads, change, message):
    with pytest.raises(InputError, match=re.escape(message)):
        check(tmp_path, *heads, **change)


def test_all_problems_come_in_one_error(tmp_path):
    with pytest.raises(InputError) as error:
        check(
            tmp_path,
            c_output=[-1, *[1] * 9],
            r_output=[math.nan] * 10,
            image=[encoded(), *different(9, height=9, width=9)],
            split=["val"] * 10,
        )

    text = str(error.value)
    assert text.startswith(f"data {str(tmp_path / 'set.parquet')!r}: 5 problems")
    assert "class id -1" in text
    assert "[nan] in row 4; 10 such rows in all" in text
    assert "9x9" in text
    assert "'val'" in text
