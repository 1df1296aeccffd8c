import io
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.data_sets import CLASS, NUMBER, columns, different, request, write
from trainables.data.check import check_dataset, conclude, inspect_dataset
from trainables.errors import InputError


def check(tmp_path, *heads, image_size=None, **change):
    uri = write(tmp_path / "set.parquet", **change)
    return check_dataset(request(uri, *heads, image_size=image_size)).info


def test_rows_are_counted_in_their_own_file(tmp_path):
    write(tmp_path / "set" / "a.parquet", rows=4)
    write(tmp_path / "set" / "deep" / "b.parquet", rows=6, c_output=[0, 1, -5, 0, 1, 0])

    with pytest.raises(InputError, match=r"class id -5 in row 2 of 'deep/b.parquet'"):
        check_dataset(request(tmp_path / "set"))


def test_a_folder_is_read_in_the_order_of_names_without_hidden_ones(tmp_path):
    write(tmp_path / "b.parquet", rows=2, r_output=[3.0, 4.0])
    write(tmp_path / "a.parquet", rows=2, r_output=[1.0, 2.0])
    write(tmp_path / "_temporary" / "c.parquet", rows=2)
    write(tmp_path / ".d.parquet", rows=2)
    (tmp_path / "notes.txt").write_text("x")

    found = conclude(inspect_dataset(request(tmp_path, NUMBER)), None)

    assert found.labels[0].values.ravel().tolist() == [1.0, 2.0, 3.0, 4.0]


def test_a_pipe_is_refused_and_never_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.parquet")

    with pytest.raises(InputError, match="needs to be a file or a folder, got a pipe"):
        check_dataset(request(tmp_path / "pipe.parquet"))
    write(tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"needs plain files, got pipes.*'pipe.parquet'"):
        check_dataset(request(tmp_path))


def test_a_link_to_the_data_is_followed(tmp_path):
    write(tmp_path / "disk" / "a.parquet")
    (tmp_path / "data").symlink_to(tmp_path / "disk")
    (tmp_path / "a.parquet").symlink_to(tmp_path / "disk" / "a.parquet")

    whole, one = request(tmp_path / "data"), request(tmp_path / "a.parquet")

    assert (
        check_dataset(whole).info.rows
        == check_dataset(one).info.rows
        == {
            "train": 8,
            "validation": 2,
            "test": 0,
        }
    )


def test_files_with_other_columns_are_named(tmp_path):
    write(tmp_path / "a.parquet")
    write(tmp_path / "b.parquet", c_output=["x", "y"] * 5)

    with pytest.raises(InputError, match=r"'c_output' is int64 in 'a.parquet', got string in 'b"):
        check_dataset(request(tmp_path))


def test_uris_of_files_are_read(tmp_path):
    uri = write(tmp_path / "set.parquet")

    assert check_dataset(request(f"file://{uri}")).info == check_dataset(request(uri)).info


def parquet_bytes():
    stream = io.BytesIO()
    pq.write_table(pa.table(columns()), stream, write_page_checksum=True)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(b"", "got: 0 bytes", id="empty"),
        pytest.param(b"hello world, hello", "without a Parquet footer", id="foreign"),
        pytest.param(parquet_bytes()[:-20], "without a Parquet footer", id="truncated"),
        pytest.param(b"PAR1" + parquet_bytes()[40:], "a whole Parquet file", id="beheaded"),
    ],
)
def test_a_file_that_is_no_whole_parquet_is_refused(tmp_path, data, message):
    (tmp_path / "a.parquet").write_bytes(data)

    with pytest.raises(InputError, match=message):
        check_dataset(request(tmp_path / "a.parquet"))


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        pytest.param("missing.parquet", "needs to exist", id="missing"),
        pytest.param("", "needs at least one", id="empty_folder"),
        pytest.param("nothing://there/a", "can be opened", id="scheme"),
    ],
)
def test_a_place_without_data_is_refused(tmp_path, uri, message):
    place = uri if "://" in uri else tmp_path / uri

    with pytest.raises(InputError, match=message):
        check_dataset(request(place))


def test_a_set_without_rows_is_refused(tmp_path):
    uri = write(tmp_path / "a.parquet", rows=0, image=pa.array([], pa.binary()))

    with pytest.raises(InputError, match="needs at least 2 rows, got none"):
        check_dataset(request(uri))


class Evil(pa.ExtensionType):
    """An extension type whose code must never run."""

    def __init__(self):
        super().__init__(pa.int64(), "twohead.evil")

    def __arrow_ext_serialize__(self):
        return b"payload"

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type, serialized):
        raise AssertionError("code of a data file ran")


@pytest.fixture
def _evil_is_registered():
    pa.register_extension_type(Evil())
    yield
    pa.unregister_extension_type("twohead.evil")


def write_with_evil(path, name):
    storage = pa.ExtensionArray.from_storage(Evil(), pa.array([0, 1] * 5))
    values = {"image": different(), "c_output": [0, 1] * 5, name: storage}
    pq.write_table(pa.table(values), path)


@pytest.mark.usefixtures("_evil_is_registered")
def test_labels_of_an_extension_type_are_refused_and_its_code_never_runs(tmp_path):
    write_with_evil(tmp_path / "a.parquet", "c_output")

    with pytest.raises(InputError, match="plain column types, got an Arrow extension type in 'c_"):
        check_dataset(request(tmp_path / "a.parquet", CLASS))


@pytest.mark.parametrize("padding", range(4))
@pytest.mark.usefixtures("_evil_is_registered")
def test_the_code_of_an_extension_type_that_nobody_asked_for_never_runs(tmp_path, padding):
    write_with_evil(tmp_path / "a.parquet", "x" * padding)

    assert check_dataset(request(tmp_path / "a.parquet", CLASS)).info.rows["train"] == 8


@pytest.mark.parametrize("target", [".", "..", "../..", "deep"])
def test_links_that_lead_in_circles_are_refused(tmp_path, target):
    write(tmp_path / "data" / "deep" / "a.parquet")
    link = tmp_path / "data" / "deep" / "up"
    link.symlink_to(tmp_path / "data" if target == "deep" else target)
    (tmp_path / "data" / "other").symlink_to(tmp_path)

    with pytest.raises(InputError, match=r"needs folders that end, got the link '.*' to a folder"):
        check_dataset(request(tmp_path / "data"))


def test_circles_in_hidden_folders_and_of_files_do_no_harm(tmp_path):
    write(tmp_path / "a.parquet")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "up").symlink_to("..")
    (tmp_path / "self").symlink_to("self")

    assert check_dataset(request(tmp_path)).info.rows["train"] == 8


def test_a_folder_that_is_reached_in_two_ways_is_no_circle(tmp_path):
    write(tmp_path / "a" / "x.parquet")
    (tmp_path / "b").symlink_to("a")

    assert check_dataset(request(tmp_path)).info.rows["train"] == 16
