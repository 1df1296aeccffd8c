"""Images that rows name by their paths: read inside of the data folder, and nothing else."""

import os

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest

import trainables.data.image_files as image_files
import trainables.data.parquet as data_parquet
from tests.support.data_sets import columns, encoded, request
from trainables.data.check import check_dataset
from trainables.data.dataset import open_dataset
from trainables.data.decode import decode_dataset
from trainables.data.image_files import ImageFile, ImageFolders, UnreadableImage
from trainables.errors import InputError
from trainables.model.preprocessing import preprocess

STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@pytest.fixture
def data(tmp_path):
    """A data folder with images in it, and a secret beside it."""
    folder = tmp_path / "data"
    for row in range(10):
        path = folder / "img" / f"{row}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(value=10 * row))
    (tmp_path / "secret.png").write_bytes(encoded(value=255))
    return folder


def save(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns(image=image)), path)


def paths(rows=10):
    return [f"img/{row}.png" for row in range(rows)]


def rows_of(names, data=None):
    return pa.array([{"bytes": data, "path": name} for name in names], STRUCT)


def refused(uri):
    with pytest.raises(InputError) as error:
        check_dataset(request(uri))
    return str(error.value)


COLUMNS = {
    "struct": rows_of(paths()),
    "struct_without_bytes": pa.array([{"path": name} for name in paths()]),
    "struct_of_null_bytes": pa.array([{"bytes": None, "path": name} for name in paths()]),
    "text": pa.array(paths()),
    "large_text": pa.array(paths(), pa.large_string()),
    "dictionary": pa.array(paths()).dictionary_encode(),
    "with_dots": pa.array([f"./{name}" for name in paths()]),
}


@pytest.mark.parametrize("kind", COLUMNS)
@pytest.mark.parametrize("is_folder", [True, False], ids=["folder", "file"])
def test_images_in_files_of_their_own_are_read(data, tmp_path, kind, is_folder):
    save(data / "a.parquet", COLUMNS[kind])
    wanted = request(data if is_folder else data / "a.parquet")

    info = check_dataset(wanted).info
    decode_dataset(wanted, info.fingerprint, str(tmp_path / "storage"))

    dataset = open_dataset(str(tmp_path / "storage"), info.fingerprint)
    values = {int(image[0, 0, 0]) for split in dataset.splits for image in split.images}
    assert info.image_shape == (8, 8, 1)
    assert values == {10 * row for row in range(10)}


def test_bytes_count_before_a_path(data):
    images = rows_of(["nowhere.png"] * 10, encoded(value=7)).to_pylist()
    images[3] = {"bytes": None, "path": "img/3.png"}
    save(data / "a.parquet", pa.array(images, STRUCT))

    found = preprocess(data / "a.parquet", image_shape=(8, 8, 1))

    assert found[:, 0, 0, 0].tolist() == [7, 7, 7, 30, 7, 7, 7, 7, 7, 7]


def test_a_path_may_begin_at_the_folder_of_its_file(data):
    save(data / "deep" / "a.parquet", pa.array([f"{row}.png" for row in range(10)]))
    for row in range(10):
        (data / "deep" / f"{row}.png").write_bytes(encoded(5, 6))

    assert check_dataset(request(data), is_fast=True).info.image_shape == (5, 6, 1)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        pytest.param("img/99.png", "no such file beside the data", id="missing"),
        pytest.param("../secret.png", "the path has '..': only files inside", id="above"),
        pytest.param("img/../../secret.png", "the path has '..'", id="above_in_the_middle"),
        pytest.param("{}/secret.png", "the path is absolute: only files inside", id="absolute"),
        pytest.param("~/secret.png", "the path is absolute", id="home"),
        pytest.param("file://{}/secret.png", "the path is a URL", id="url"),
        pytest.param("img/out.png", "a link leads out of the data folder", id="link"),
        pytest.param("out/secret.png", "a link leads out of the data folder", id="linked_folder"),
        pytest.param("img/loop.png", "its links lead to one another", id="loop"),
        pytest.param("img/pipe.png", "no plain file is there", id="pipe"),
        pytest.param("img", "no plain file is there", id="folder"),
        pytest.param("img/0.png/x", "no such file beside the data", id="file_as_folder"),
        pytest.param("", "the path is empty", id="empty"),
        pytest.param("a\0b", "the file cannot be read", id="nul"),
        pytest.param("x" * 300, "the file cannot be read: File name too long", id="long"),
        pytest.param("img/large.png", "the file has 1001 bytes, more than 1000", id="large"),
    ],
)
def test_nothing_else_is_read(data, monkeypatch, path, message):
    monkeypatch.setattr(image_files, "LARGEST_IMAGE_FILE_BYTES", 1000)
    (data / "img" / "out.png").symlink_to(data.parent / "secret.png")
    (data / "out").symlink_to(data.parent)
    (data / "img" / "loop.png").symlink_to("loop.png")
    os.mkfifo(data / "img" / "pipe.png")
    (data / "img" / "large.png").write_bytes(bytes(1001))
    bad = path.format(data.parent)
    save(data / "a.parquet", rows_of([bad, *paths()[1:]]))

    said = refused(str(data / "a.parquet"))

    assert f"got a path but no bytes, and {message}" in said
    assert "in row 0" in said


def test_links_inside_of_the_data_folder_are_followed(data):
    (data / "more").symlink_to("img")
    save(data / "a.parquet", pa.array([f"more/{row}.png" for row in range(10)]))

    assert check_dataset(request(data / "a.parquet")).info.image_shape == (8, 8, 1)


def test_the_first_row_says_what_is_wrong_where_no_image_is_found(data):
    save(data / "a.parquet", rows_of(["gone.png"] * 10))

    with pytest.raises(
        InputError,
        match=r"row 0 has a path but no bytes, and no such file beside the data \('gone.png'\)",
    ):
        check_dataset(request(data / "a.parquet"))


def test_predicting_names_an_image_that_is_not_there(data):
    save(data / "a.parquet", pa.array(["gone.png"] * 10))

    with pytest.raises(InputError, match=r"image in row 0 of data .* a path, and no such file"):
        preprocess(data / "a.parquet", image_shape=(8, 8, 1))


def fingerprint(data):
    return check_dataset(request(data), is_fast=True).info.fingerprint


@pytest.mark.parametrize("most", [2**30, 0], ids=["content", "size_and_time"])
def test_the_fingerprint_follows_the_images(data, monkeypatch, most):
    save(data / "a.parquet", rows_of(paths()))
    before = fingerprint(data)
    monkeypatch.setattr(data_parquet, "LARGEST_HASHED_BYTES", most)
    first = fingerprint(data)

    (data / "img" / "3.png").write_bytes(encoded(value=200))

    assert (first == before) == (most > 0)
    assert fingerprint(data) != first


def test_the_fingerprint_follows_the_images_of_every_file(data):
    save(data / "a.parquet", rows_of(paths(), encoded()))
    save(data / "b.parquet", pa.array([{"path": name} for name in paths()]))
    before = fingerprint(data)

    (data / "img" / "3.png").write_bytes(encoded(value=200))

    assert fingerprint(data) != before


@pytest.mark.parametrize("has_statistics", [True, False])
def test_the_fingerprint_of_images_in_the_data_knows_no_paths(data, has_statistics):
    table = pa.table(columns(image=rows_of(paths(), encoded())))
    pq.write_table(table, data / "a.parquet", write_statistics=has_statistics)
    before = fingerprint(data)

    (data / "img" / "3.png").unlink()

    assert fingerprint(data) == before


def remote(tmp_path, path):
    folder = tmp_path / "remote"
    (folder / "img").mkdir(parents=True, exist_ok=True)
    (folder / "img" / "0.png").write_bytes(encoded())
    filesystem = pafs.SubTreeFileSystem(str(folder), pafs.LocalFileSystem())
    folders = ImageFolders(filesystem=filesystem, root="", folder="deep")
    return ImageFile(path=path, folders=folders)


def test_a_remote_image_is_read_through_the_same_file_system(tmp_path):
    image = remote(tmp_path, "img/0.png")

    assert image.read() == encoded()
    assert image.size_and_time[0] == len(encoded())


@pytest.mark.parametrize(
    ("path", "message"),
    [("img/1.png", "no such file"), ("../x.png", "has '..'"), ("img", "no such file")],
)
def test_a_remote_path_leads_nowhere_else(tmp_path, path, message):
    with pytest.raises(UnreadableImage, match=f"a path, and .*{message}"):
        remote(tmp_path, path).read()
    assert remote(tmp_path, path).size_and_time == (-1, -1)
