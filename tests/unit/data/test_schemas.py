"""Files of one set need not be written alike, only mean the same."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.data_sets import CLASS, NUMBER, columns, encoded, request
from tests.unit.data.test_data_check import raw_images
from trainables.data.check import check_dataset, conclude, inspect_dataset
from trainables.data.schemas import _unify_types
from trainables.errors import InputError


def save(folder, name, table):
    folder.mkdir(exist_ok=True)
    pq.write_table(table, folder / name)


def table(**change):
    return pa.table(columns(**change))


def as_type(column, kind):
    return pa.array(column).cast(kind)


@pytest.mark.parametrize(
    ("one", "other", "unified"),
    [
        pytest.param(pa.int32(), pa.int64(), pa.int64(), id="integers"),
        pytest.param(pa.uint8(), pa.int8(), pa.int16(), id="signs"),
        pytest.param(pa.int64(), pa.float32(), pa.float64(), id="integer_and_float"),
        pytest.param(pa.float32(), pa.float64(), pa.float64(), id="floats"),
        pytest.param(pa.decimal128(3, 1), pa.float32(), pa.float64(), id="decimal"),
        pytest.param(pa.string(), pa.large_string(), pa.large_string(), id="text"),
        pytest.param(pa.string_view(), pa.string(), pa.string(), id="text_view"),
        pytest.param(pa.dictionary(pa.int8(), pa.string()), pa.string(), pa.string(), id="dict"),
        pytest.param(pa.binary(), pa.large_binary(), pa.large_binary(), id="bytes"),
        pytest.param(pa.binary_view(), pa.large_binary(), pa.large_binary(), id="bytes_view"),
        pytest.param(pa.null(), pa.string(), pa.string(), id="nothing_known"),
        pytest.param(
            pa.list_(pa.float32()),
            pa.large_list(pa.int64()),
            pa.large_list(pa.float64()),
            id="list",
        ),
        pytest.param(
            pa.list_(pa.float32(), 4),
            pa.list_(pa.field("item", pa.float32(), nullable=False)),
            pa.list_(pa.float32()),
            id="fixed_list",
        ),
        pytest.param(
            pa.list_(pa.int8(), 4), pa.list_(pa.int16(), 4), pa.list_(pa.int16(), 4), id="fixed"
        ),
        pytest.param(
            pa.struct([("bytes", pa.binary()), ("path", pa.null())]),
            pa.struct([("bytes", pa.large_binary()), ("path", pa.string())]),
            pa.struct([("bytes", pa.large_binary()), ("path", pa.string())]),
            id="struct",
        ),
        pytest.param(
            pa.struct([("bytes", pa.binary()), ("more", pa.int8())]),
            pa.struct([("bytes", pa.binary()), ("more", pa.string())]),
            pa.struct([("bytes", pa.binary())]),
            id="struct_with_more",
        ),
        pytest.param(pa.string(), pa.int64(), None, id="text_and_number"),
        pytest.param(pa.bool_(), pa.int64(), None, id="bool_and_number"),
        pytest.param(pa.list_(pa.int8()), pa.int8(), None, id="list_and_number"),
        pytest.param(pa.list_(pa.int8()), pa.list_(pa.string()), None, id="lists_of_other_kinds"),
        pytest.param(
            pa.binary(), pa.struct([("bytes", pa.binary())]), None, id="bytes_and_struct"
        ),
        pytest.param(
            pa.struct([("bytes", pa.binary())]),
            pa.struct([("bytes", pa.int8())]),
            None,
            id="structs",
        ),
    ],
)
def test_types_are_unified_as_arrow_does(one, other, unified):
    assert _unify_types(one, other) == _unify_types(other, one) == unified


@pytest.mark.parametrize(
    ("kind", "column"),
    [
        pytest.param(pa.int32(), "c_output", id="int32"),
        pytest.param(pa.uint16(), "c_output", id="uint16"),
        pytest.param(pa.float32(), "r_output", id="float32"),
        pytest.param(pa.large_binary(), "image", id="large_binary"),
        pytest.param(pa.binary_view(), "image", id="binary_view"),
    ],
)
def test_the_same_values_in_another_type_are_one_set(tmp_path, kind, column):
    save(tmp_path, "a.parquet", table())
    save(tmp_path, "b.parquet", table(**{column: as_type(columns()[column], kind)}))

    found = conclude(inspect_dataset(request(tmp_path)), None)

    assert found.info.rows == {"train": 16, "validation": 4, "test": 0}
    assert found.labels[0].values.tolist() == [0, 1] * 10
    assert found.labels[1].values[10:].tolist() == [[float(row)] for row in range(10)]


@pytest.mark.parametrize(
    "kind",
    [pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())],
    ids=["large", "view", "dictionary"],
)
def test_text_of_any_layout_is_one_column(tmp_path, kind):
    save(tmp_path, "a.parquet", table(c_output=["x", "y"] * 5))
    save(tmp_path, "b.parquet", table(c_output=pa.array(["y", "x"] * 5).cast(kind)))

    found = conclude(inspect_dataset(request(tmp_path, CLASS)), None)

    assert found.labels[0].head.classes == ("x", "y")
    assert found.labels[0].values.tolist() == [0, 1] * 5 + [1, 0] * 5


def test_lists_of_any_layout_are_one_column(tmp_path):
    kinds = [pa.list_(pa.float64()), pa.list_(pa.float32(), 2), pa.large_list(pa.int32())]
    for number, kind in enumerate(kinds):
        save(tmp_path, f"{number}.parquet", table(r_output=pa.array([[1, number]] * 10, kind)))

    found = conclude(inspect_dataset(request(tmp_path, NUMBER)), None)

    assert found.labels[0].values[::10].tolist() == [[1, 0], [1, 1], [1, 2]]


def test_order_nullability_metadata_and_further_columns_decide_nothing(tmp_path):
    first = table()
    required = pa.schema([f.with_nullable(False) for f in first.schema])
    described = [f.with_metadata({"comment": f.name}) for f in first.schema]
    save(tmp_path, "a.parquet", first)
    save(tmp_path, "b.parquet", first.cast(required).select([2, 0, 1]))
    save(tmp_path, "c.parquet", first.cast(pa.schema(described)).append_column("x", [["y"] * 10]))
    save(tmp_path, "d.parquet", first.append_column("x", [[1] * 10]))

    assert sum(check_dataset(request(tmp_path), is_fast=True).info.rows.values()) == 40


def test_a_file_without_rows_has_no_say(tmp_path):
    save(tmp_path, "0.parquet", pa.table({"other": pa.array([], pa.null())}))
    save(tmp_path, "1.parquet", table())
    save(tmp_path, "2.parquet", table(c_output=["x"] * 10).slice(0, 0))

    found = conclude(inspect_dataset(request(tmp_path)), None)

    assert found.source.place(3) == "row 3 of '1.parquet'"
    assert found.labels[0].values.tolist() == [0, 1] * 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(
            {"c_output": ["x", "y"] * 5},
            "'c_output' is int64 in 'a.parquet', got string in 'b.parquet'",
            id="kind",
        ),
        pytest.param(
            {"c_output": None},
            "'c_output' is int64 in 'a.parquet', got absent in 'b.parquet'",
            id="missing",
        ),
        pytest.param(
            {"split": ["train"] * 10},
            "'split' is absent in 'a.parquet', got string in 'b.parquet'",
            id="missing_in_the_first",
        ),
        pytest.param(
            {"image": [{"bytes": encoded()}] * 10},
            "'image' is binary in 'a.parquet', got struct<bytes: binary> in 'b.parquet'",
            id="image",
        ),
    ],
)
def test_files_of_different_kinds_are_refused(tmp_path, change, message):
    save(tmp_path, "a.parquet", table())
    save(tmp_path, "b.parquet", table(**change))
    save(tmp_path, "c.parquet", table())

    with pytest.raises(InputError, match=f"all files need the same columns: {message}"):
        check_dataset(request(tmp_path))


def without_shape(raw):
    return raw.cast(pa.schema([field.remove_metadata() for field in raw.schema]))


def test_the_shape_of_raw_pixels_in_one_file_counts_for_all(tmp_path):
    save(tmp_path, "a.parquet", without_shape(raw_images()))
    save(tmp_path, "b.parquet", raw_images(comment="of b"))
    save(tmp_path, "c.parquet", raw_images(comment="of c"))

    assert check_dataset(request(tmp_path), is_fast=True).info.image_shape == (4, 6, 3)


def test_two_shapes_of_raw_pixels_are_refused(tmp_path):
    save(tmp_path, "a.parquet", raw_images())
    save(tmp_path, "b.parquet", raw_images(height="6", width="4"))

    with pytest.raises(InputError, match=r"same field metadata: 'image' has .*'a.parquet', got "):
        check_dataset(request(tmp_path))


def with_names(names, column="c_output", **change):
    features = {column: {"_type": "ClassLabel", "names": names}, "image": {"_type": "Image"}}
    info = json.dumps({"info": {"features": features}})
    return table(**change).replace_schema_metadata({"huggingface": info})


def test_names_of_class_labels_are_those_of_the_head(tmp_path):
    save(tmp_path, "a.parquet", with_names(["cat", "dog", "owl"]))
    save(tmp_path, "b.parquet", table())

    found = conclude(inspect_dataset(request(tmp_path)), None)

    assert found.labels[0].head.classes == ("cat", "dog", "owl")
    assert found.labels[0].values.tolist() == [0, 1] * 10
    assert found.source.class_names("c_output") == ("cat", "dog", "owl")
    assert found.source.class_names("r_output") is None


@pytest.mark.parametrize(
    ("names", "ids", "message"),
    [
        pytest.param(
            ["cat", "dog"],
            [0, 1, 2, 0, 1] * 2,
            r"class ids from 0 to 1 \(the data name 2 classes\), got class id 2 in row 2",
            id="beyond",
        ),
        pytest.param(
            ["cat", "dog"],
            [0, -1] * 5,
            r"got class id -1 \(no label, as `datasets` writes it\) in row 1",
            id="no_label",
        ),
        pytest.param(
            ["cat", "cat"], [0, 1] * 5, r"names that differ, got twice \['cat'\]", id="twice"
        ),
        pytest.param(["cat"], [0] * 10, "needs 2 to 100000 classes, got only", id="one"),
    ],
)
def test_ids_without_a_name_are_refused(tmp_path, names, ids, message):
    save(tmp_path, "a.parquet", with_names(names, c_output=ids))

    with pytest.raises(InputError, match=message):
        check_dataset(request(tmp_path))


def test_other_names_of_the_same_ids_are_refused(tmp_path):
    save(tmp_path, "a.parquet", with_names(["cat", "dog"]))
    save(tmp_path, "b.parquet", with_names(["dog", "cat"]))

    with pytest.raises(
        InputError, match=r"same class names: .* \['cat', 'dog'\] in 'a.parquet', got \['dog', "
    ):
        check_dataset(request(tmp_path))


@pytest.mark.parametrize(
    "metadata",
    [
        b"",
        b"[" * 100_000,
        b"[]",
        b'{"info": {"features": [1]}}',
        b'{"info": {"features": {"c_output": {"_type": "ClassLabel", "names": [1]}}}}',
        b'{"info": {"features": {"c_output": {"_type": "ClassLabel", "num_classes": 2}}}}',
        b"\xff",
    ],
)
def test_other_metadata_name_no_classes(tmp_path, metadata):
    save(tmp_path, "a.parquet", table().replace_schema_metadata({"huggingface": metadata}))

    assert conclude(inspect_dataset(request(tmp_path)), None).labels[0].head.classes == ()
