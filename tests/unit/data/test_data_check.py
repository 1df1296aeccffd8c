import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.data_sets import BOX, CLASS, NUMBER, different, encoded, request, write
from trainables.data.check import check_dataset, conclude, inspect_dataset
from trainables.data.request import DataInfo
from trainables.errors import InputError
from trainables.spec.heads import DeclaredHead
from trainables.spec.plain_values import plain_json
from trainables.storage.sealed_json import convert


def check(tmp_path, *heads, image_size=None, **change):
    uri = write(tmp_path / "set.parquet", **change)
    return check_dataset(request(uri, *heads, image_size=image_size)).info


def labels(tmp_path, head, **change):
    uri = write(tmp_path / "set.parquet", **change)
    return conclude(inspect_dataset(request(uri, head)), None).labels[0]


def boxes(wrong=None, row=3):
    values = [[0.1, 0.2, 0.5, 0.8]] * 10
    return [*values[:row], wrong, *values[row + 1 :]] if wrong else values


def test_a_valid_set_is_described(tmp_path):
    info = check(tmp_path)

    assert info.image_shape == (8, 8, 1)
    assert [(head.name, head.units) for head in info.heads] == [("c_output", 2), ("r_output", 1)]
    assert info.rows == {"train": 8, "validation": 2, "test": 0}
    assert convert(plain_json(info), DataInfo) == info


@pytest.mark.parametrize(
    ("column", "classes", "ids"),
    [
        pytest.param(["b", "a"] * 5, ("a", "b"), [1, 0], id="strings"),
        pytest.param(
            pa.array(["b", "a"] * 5).dictionary_encode(), ("a", "b"), [1, 0], id="dictionary"
        ),
        pytest.param(pa.array(["b", "a"] * 5, pa.large_string()), ("a", "b"), [1, 0], id="large"),
        pytest.param([True, False] * 5, (), [1, 0], id="bools"),
        pytest.param(pa.array([1, 0] * 5, pa.uint8()), (), [1, 0], id="bytes"),
    ],
)
def test_classes_may_be_text_or_numbers(tmp_path, column, classes, ids):
    found = labels(tmp_path, CLASS, c_output=column)

    assert found.head.classes == classes
    assert found.head.units == 2
    assert found.values.dtype == np.int32
    assert found.values[:2].tolist() == ids


def test_units_declared_beyond_the_highest_id_are_kept(tmp_path):
    head = DeclaredHead(name="c_output", kind="classification", units=7)

    assert labels(tmp_path, head).head.units == 7


@pytest.mark.parametrize(
    ("column", "units"),
    [
        pytest.param([1] * 10, 1, id="integers"),
        pytest.param(pa.array(np.arange(10, dtype=np.float16)), 1, id="half_floats"),
        pytest.param([[1.0, 2.0, 3.0]] * 10, 3, id="lists"),
        pytest.param(pa.array([[1, 2]] * 10, pa.list_(pa.int8(), 2)), 2, id="fixed_lists"),
        pytest.param(pa.array([[1.0]] * 10, pa.large_list(pa.float32())), 1, id="large_lists"),
    ],
)
def test_regression_labels_may_be_numbers_or_lists(tmp_path, column, units):
    found = labels(tmp_path, NUMBER, r_output=column)

    assert found.head.units == units
    assert found.values.shape == (10, units)
    assert found.values.dtype == np.float32


@pytest.mark.parametrize(
    ("form", "scale", "given_box"),
    [
        pytest.param("yxyx", "fraction", [0.25, 0.5, 0.75, 1.0], id="yxyx"),
        pytest.param("xyxy", "pixel", [8, 2, 16, 6], id="xyxy_pixel"),
        pytest.param("xywh", "pixel", [8, 2, 8, 4], id="xywh_pixel"),
        pytest.param("cxcywh", "fraction", [0.75, 0.5, 0.5, 0.5], id="cxcywh"),
    ],
)
@pytest.mark.parametrize("is_fixed", [False, True], ids=["lists", "fixed_lists"])
def test_boxes_become_yxyx_fractions_of_the_stored_image(
    tmp_path, form, scale, given_box, is_fixed
):
    head = DeclaredHead(name="r_output", kind="box", format=form, scale=scale)
    kind = pa.list_(pa.float32(), 4) if is_fixed else pa.list_(pa.float64())

    found = labels(
        tmp_path, head, image=[encoded(8, 16)] * 10, r_output=pa.array([given_box] * 10, kind)
    )

    assert found.values.tolist() == [[0.25, 0.5, 0.75, 1.0]] * 10
    assert found.values.dtype == np.float32


def test_pixel_boxes_use_the_size_before_resizing(tmp_path):
    head = DeclaredHead(name="r_output", kind="box", format="xywh", scale="pixel")
    uri = write(
        tmp_path / "a.parquet",
        image=[encoded(8, 8), encoded(16, 32)] * 5,
        r_output=[[0, 0, 8, 8]] * 10,
    )

    found = conclude(inspect_dataset(request(uri, CLASS, head, image_size=(4, 4))), None)

    assert found.labels[1].values[:2].tolist() == [[0, 0, 1, 1], [0, 0, 0.5, 0.25]]


def test_dust_outside_of_the_image_is_clipped(tmp_path):
    found = labels(tmp_path, BOX, r_output=boxes([-1e-7, 0.0, 1.0 + 1e-7, 1.0]))

    assert found.values[3].tolist() == [0.0, 0.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("images", "shape"),
    [
        pytest.param(different(height=17, width=17), (17, 17, 1), id="17x17_grey"),
        pytest.param(different(height=17, width=17, mode="RGB"), (17, 17, 3), id="17x17_colour"),
        pytest.param(different(height=5, width=9, form="JPEG"), (5, 9, 1), id="not_square_jpeg"),
        pytest.param(different(mode="RGB", last=[encoded()]), (8, 8, 3), id="some_grey"),
        pytest.param(
            [{"bytes": one, "path": "a.png"} for one in different()], (8, 8, 1), id="hf_struct"
        ),
        pytest.param(pa.array(different(), pa.large_binary()), (8, 8, 1), id="large_binary"),
    ],
)
def test_the_images_tell_their_shape(tmp_path, images, shape):
    assert check(tmp_path, image=images).image_shape == shape


def raw_images(rows=10, shape=(4, 6, 3), **metadata):
    field = pa.field("image", pa.list_(pa.uint8(), math.prod(shape)))
    given = dict(zip(("height", "width", "channels"), map(str, shape), strict=True)) | metadata
    table = pa.table(
        [[[row] * math.prod(shape) for row in range(rows)], [0, 1] * (rows // 2), [0.5] * rows],
        schema=pa.schema(
            [field.with_metadata(given), ("c_output", pa.int64()), ("r_output", pa.float64())]
        ),
    )
    return table


def test_fixed_size_lists_are_images_when_their_metadata_say_so(tmp_path):
    pq.write_table(raw_images(), tmp_path / "a.parquet")

    assert check_dataset(request(tmp_path / "a.parquet")).info.image_shape == (4, 6, 3)


@pytest.mark.parametrize(
    "metadata",
    [
        pytest.param({"height": "5"}, id="product"),
        pytest.param({"channels": "x"}, id="no_number"),
        pytest.param({"height": "3", "channels": "4"}, id="four_channels"),
    ],
)
def test_fixed_size_lists_with_other_metadata_are_refused(tmp_path, metadata):
    pq.write_table(raw_images(**metadata), tmp_path / "a.parquet")

    with pytest.raises(InputError, match="height, width and channels"):
        check_dataset(request(tmp_path / "a.parquet"))
