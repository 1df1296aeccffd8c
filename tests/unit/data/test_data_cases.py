"""Data sets as strangers have them: each is read right, or refused for the right reason."""

import base64
import io
import unicodedata

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.support.data_sets import (
    CLASS,
    NUMBER,
    as_numbers,
    columns,
    different,
    encoded,
    request,
    write,
)
from trainables.data.check import check_dataset
from trainables.errors import InputError
from trainables.spec.heads import DeclaredHead

ROWS = 30
RANDOM = np.random.default_rng(0)
STARTS = RANDOM.uniform([5, 3], [40, 20], (ROWS, 2))
SIZES = RANDOM.uniform([5, 5], [40, 20], (ROWS, 2))
CORNERS = np.concatenate([STARTS, STARTS + SIZES], axis=1)
"""As xyxy pixels of images of 50x100."""
FRACTIONS = CORNERS / [100, 50, 100, 50]


def files(folder, names):
    """Write a file of 6 rows for each name; no two images are equal."""
    images = different(6 * len(names))
    for place, name in enumerate(names):
        part = images[6 * place : 6 * place + 6]
        write(folder / f"{name}.parquet", rows=6, image=part)


def boxes(numbers, form="xyxy", scale="pixel"):
    head = DeclaredHead(name="r_output", kind="box", format=form, scale=scale)
    images = different(ROWS, height=50, width=100)
    return (CLASS, head), {"rows": ROWS, "image": images, "r_output": as_numbers(numbers)}


def told(tmp_path, *heads, is_fast=False, **change):
    """Return all that the check says of a set, its refusal or its warnings and notes."""
    try:
        path = write(tmp_path / "set.parquet", **change)
        report = check_dataset(request(path, *heads), is_fast=is_fast)
    except InputError as error:
        return str(error)
    return "\n".join(("right", *report.warnings, *report.notes))


@pytest.mark.parametrize(
    ("names", "rows"),
    [
        (["split=train/a", "split=val/a"], (6, 6, 0)),
        (["Train/a", "VAL/a"], (6, 6, 0)),
        (["train/cats/0", "train/dogs/0", "test/cats/0"], (10, 2, 6)),
        (["train", "train2"], (10, 2, 0)),
        (["train1", "test1"], (5, 1, 6)),
        (["trainSet", "testSet"], (5, 1, 6)),
        (["trainset", "testset"], (5, 1, 6)),
        (["fold=0/a", "fold=1/a"], (10, 2, 0)),
    ],
)
def test_a_split_by_names_is_honoured(tmp_path, names, rows):
    files(tmp_path, names)

    assert tuple(check_dataset(request(tmp_path)).info.rows.values()) == rows


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["validation/a", "test/a"], "need one that trains"),
        (["data-train-00000", "README"], "'data-train-00000.parquet' beside 'README.parquet'"),
        (["split=train/a", "split=holdout/a"], r"'split=holdout/a.parquet' \(no known one\)"),
        (["split=0/a", "split=1/a"], r"'split=0/a.parquet' \(no known one\)"),
        (["is_train=0/a", "is_train=1/a"], r"'is_train=0/a.parquet' \(no known one\)"),
        (["trainval", "test"], "'test.parquet' beside 'trainval.parquet'"),
    ],
)
def test_a_split_that_is_not_clear_is_refused(tmp_path, names, message):
    files(tmp_path, names)

    with pytest.raises(InputError, match=message):
        check_dataset(request(tmp_path))


@pytest.mark.parametrize("name", ["b.PARQUET", "b.pq", "b.parquet.part", "b.parquet.gz"])
def test_a_file_that_its_ending_leaves_out_is_told(tmp_path, name):
    write(tmp_path / "a.parquet")
    write(tmp_path / name)
    (tmp_path / "photo.jpg").write_bytes(b"no data of the set")

    (warning,) = check_dataset(request(tmp_path)).warnings

    assert warning.startswith(
        f"1 files beside the data do not end in .parquet and are left out: [{name!r}]"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"c_output": [0.0, 1.0] * 5}, "got type double: convert them to integers or text"),
        ({"c_output": [True, False] * 5}, "right"),
        ({"c_output": ["a", None] * 5}, "needs a label in every row, got null in row 1"),
        (
            {"c_output": ["a", "nan", "b", "", "None"] * 2},
            "as a missing label: ['', 'None', 'nan']",
        ),
        ({"c_output": ["cat", "Cat ", "dog", "dog", "dog"] * 2}, "case or blanks only"),
        (
            {"c_output": [unicodedata.normalize(form, "café") for form in ("NFC", "NFD")] * 5},
            "case or blanks only",
        ),
        ({"c_output": [1, 3, 7, 1, 3] * 2}, "has 8 classes, of which 3 occur"),
        ({"c_output": [1, 2] * 5}, "none of 0"),
        ({"c_output": [-100] * 10}, "class ids from 0 to 1, got class id -100"),
        ({"c_output": [f"file{row}" for row in range(10)]}, "is the label an id of the row?"),
        ({"c_output": pa.array([0, 1] * 5).dictionary_encode()}, "right"),
        ({"r_output": [1.7e9 + row for row in range(10)]}, "float32 can tell 1 apart"),
        ({"r_output": [3.0] * 10}, "the same label in every row"),
        ({"r_output": pa.array(range(10), pa.timestamp("s"))}, "a number or a list of numbers"),
        ({"r_output": pa.array([[np.float16(1)]] * 9 + [[np.float16(2)]])}, "right"),
        ({"image": [encoded(0 + 1, 1)] * 10}, "one object an image"),
        ({"image": pa.array([None, *different(9)], pa.binary())}, "no image in row 0"),
        ({"image": [encoded(9, 9), *different(9)]}, "9x9 (1 rows, first row 0)"),
    ],
)
def test_labels_and_images_of_other_kinds(tmp_path, change, message):
    assert message in told(tmp_path, CLASS, NUMBER, **change)


def test_one_fault_is_told_once(tmp_path):
    text = told(tmp_path, r_output=[1.7e9 + row for row in range(10)])

    assert "the same label" not in text


@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,"])
def test_images_in_base64_are_told_from_paths(tmp_path, prefix):
    pixels = RANDOM.integers(0, 256, (9, 9, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG")
    text = prefix + base64.b64encode(stream.getvalue()).decode()

    assert "an image in base64: write its bytes" in told(tmp_path, image=[text] * 10)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (boxes(CORNERS), "right"),
        (boxes(np.where(np.arange(ROWS)[:, None] == 3, np.nan, CORNERS)), "finite numbers"),
        (boxes(FRACTIONS * 1000), "divide by 1000 and set `scale: fraction`"),
        (boxes(FRACTIONS * 100, scale="fraction"), "divide by 100 and set `scale: fraction`"),
        (boxes(CORNERS[:, [2, 3, 0, 1]]), "the corners are in the other order"),
        (boxes(CORNERS[:, [1, 0, 3, 2]]), "did you mean `format: yxyx`?"),
        (boxes(np.concatenate([STARTS, SIZES], axis=1)), "did you mean `format: xywh`?"),
        (boxes(FRACTIONS), "did you mean `scale: fraction`?"),
        (boxes(CORNERS, scale="fraction"), "did you mean `scale: pixel`?"),
        (boxes(CORNERS / [50, 100, 50, 100], scale="fraction"), "boxes inside the image"),
        (boxes(np.tile([10, 10, 30, 30], (ROWS, 1))), "the same box in every row"),
    ],
)
def test_boxes_in_other_words(tmp_path, given, message):
    heads, change = given

    assert message in told(tmp_path, *heads, **change)


def test_what_is_only_known_by_decoding_is_not_claimed_before(tmp_path):
    deep = [np.full((8, 8), 100 * row, np.uint16) for row in range(10)]
    images = []
    for pixels in deep:
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, format="TIFF")
        images.append(stream.getvalue())

    assert "use as many as decoding will tell" in told(tmp_path, image=images, is_fast=True)
    assert "use 10" in told(tmp_path, image=images)


def test_shards_of_no_rows_and_of_other_field_metadata_are_one_set(tmp_path):
    images = different(20)
    table = pa.table(columns(image=images[:10]))
    pq.write_table(table, tmp_path / "a.parquet")
    pq.write_table(table.slice(0, 0), tmp_path / "b.parquet")
    marked = table.schema.set(0, table.schema.field(0).with_metadata({"made_by": "hand"}))
    other = pa.table(columns(image=images[10:])).cast(marked)
    pq.write_table(other, tmp_path / "c.parquet")

    assert check_dataset(request(tmp_path)).info.rows == {"train": 16, "validation": 4, "test": 0}
