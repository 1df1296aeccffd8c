import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import trainables.data.decode as data_decode
from tests.support.data_sets import CLASS, NUMBER, different, encoded, request, write
from trainables.data.check import check_dataset
from trainables.data.dataset import open_dataset
from trainables.data.decode import decode_dataset
from trainables.errors import InputError, StorageError, StorageFull
from trainables.spec.heads import DeclaredHead
from trainables.storage.store import Store


def decoded(tmp_path, *heads, image_size=None, **change):
    """Write, check and decode a set; return its request, info and storage."""
    uri = write(tmp_path / "set" / "a.parquet", **change)
    wanted = request(uri, *heads, image_size=image_size)
    info = check_dataset(wanted).info
    storage = str(tmp_path / "storage")
    decode_dataset(wanted, info.fingerprint, storage)
    return wanted, info, storage


def folder_of(storage, info):
    return Store(storage).root / ".data" / info.fingerprint


def test_every_row_arrives_in_its_split_in_order(tmp_path):
    split = ["train", "validation", "test", "train"] * 50
    _, info, storage = decoded(tmp_path, rows=200, split=split)

    dataset = open_dataset(storage, info.fingerprint)

    assert [(one.name, len(one)) for one in dataset.splits] == [
        ("train", 100),
        ("validation", 50),
        ("test", 50),
    ]
    test = dataset.split("test")
    assert test.labels["r_output"][:, 0].tolist() == [float(row) for row in range(2, 200, 4)]
    assert test.images[:, 0, 0, 0].tolist() == list(range(2, 200, 4))
    assert dataset.split("train").labels["c_output"].tolist() == [0, 1] * 50


def test_arrays_are_read_only_maps_of_the_documented_kinds(tmp_path):
    _, info, storage = decoded(tmp_path, image=different(height=5, width=9, mode="RGB"))

    train = open_dataset(storage, info.fingerprint).split("train")

    assert isinstance(train.images, np.memmap)
    assert not train.images.flags.writeable
    assert (train.images.dtype, train.images.shape) == (np.uint8, (8, 5, 9, 3))
    assert (train.labels["c_output"].dtype, train.labels["c_output"].shape) == (np.int32, (8,))
    assert (train.labels["r_output"].dtype, train.labels["r_output"].shape) == (np.float32, (8, 1))


def test_a_split_without_rows_opens_empty(tmp_path):
    _, info, storage = decoded(tmp_path)

    test = open_dataset(storage, info.fingerprint).split("test")

    assert test.images.shape == (0, 8, 8, 1)
    assert test.labels["c_output"].shape == (0,)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_image_size_resizes_images_of_any_size(tmp_path, mode):
    images = [encoded(8 + row, 20 - row, mode, value=50 + row) for row in range(10)]
    _, info, storage = decoded(tmp_path, image=images, image_size=(6, 4))

    train = open_dataset(storage, info.fingerprint).split("train")

    assert train.images.shape[1:] == (6, 4, len(mode))
    assert (train.images // 10 == 5).all()


def test_raw_pixels_are_stored_as_they_are(tmp_path):
    field = pa.field("image", pa.list_(pa.uint8(), 12)).with_metadata(
        {"height": "2", "width": "2", "channels": "3"}
    )
    drawn = np.random.default_rng(0).integers(0, 256, (150, 12), dtype=np.uint8)
    schema = pa.schema([field, ("c_output", pa.int64()), ("split", pa.string())])
    columns = [drawn.tolist(), [0, 1] * 75, ["train"] * 100 + ["validation"] * 50]
    pq.write_table(pa.table(columns, schema=schema), tmp_path / "a.parquet")
    wanted = request(tmp_path / "a.parquet", CLASS)
    info = check_dataset(wanted).info

    decode_dataset(wanted, info.fingerprint, str(tmp_path))

    validation = open_dataset(str(tmp_path), info.fingerprint).split("validation")
    assert np.array_equal(validation.images, drawn[100:].reshape(50, 2, 2, 3))


@pytest.mark.parametrize("form", ["bytes", "struct"])
def test_all_undecodable_images_are_listed_with_their_rows(tmp_path, form):
    images = different(1300)
    images[1234] = images[1234][:-30]
    images[1299] = None
    if form == "struct":
        images = [{"bytes": one, "path": None} for one in images]

    with pytest.raises(InputError, match=r"undecodable image.*in row 1234; no image in row 1299"):
        decoded(tmp_path, rows=1300, image=images)

    assert not (tmp_path / "storage").exists()


def test_an_image_of_another_size_is_found_wherever_it_is(tmp_path):
    with pytest.raises(InputError, match=r"9x9 \(1 rows, first row 299\)"):
        decoded(tmp_path, rows=300, image=different(300, last=[encoded(9, 9)]))


def test_decoding_again_does_nothing(tmp_path):
    wanted, info, storage = decoded(tmp_path)
    before = (folder_of(storage, info) / "manifest.json").stat()
    shutil.rmtree(tmp_path / "set")

    decode_dataset(wanted, info.fingerprint, storage)

    after = (folder_of(storage, info) / "manifest.json").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_set_that_was_not_decoded_is_refused(tmp_path):
    with pytest.raises(StorageError, match="need to be decoded first"):
        open_dataset(str(tmp_path), "0" * 64)


def test_data_changed_since_the_check_are_refused(tmp_path):
    uri = write(tmp_path / "a.parquet")
    info = check_dataset(request(uri)).info
    write(tmp_path / "a.parquet", r_output=[9.0] * 10)

    with pytest.raises(InputError, match="needs to stay as it was checked"):
        decode_dataset(request(uri), info.fingerprint, str(tmp_path / "storage"))


def test_data_changed_while_decoding_are_refused(tmp_path, monkeypatch):
    uri = write(tmp_path / "a.parquet")
    info = check_dataset(request(uri)).info
    original = data_decode._write_arrays

    def write_then_change(*arguments):
        manifest = original(*arguments)
        write(tmp_path / "a.parquet", r_output=[9.0] * 10)
        return manifest

    monkeypatch.setattr(data_decode, "_write_arrays", write_then_change)

    with pytest.raises(InputError, match="needs to stay as it was checked"):
        decode_dataset(request(uri), info.fingerprint, str(tmp_path / "storage"))
    assert list((tmp_path / "storage" / ".data").iterdir()) == []


@pytest.mark.parametrize("operation", range(12))
def test_a_full_disk_at_any_write_leaves_nothing(tmp_path, monkeypatch, operation):
    uri = write(tmp_path / "a.parquet")
    info = check_dataset(request(uri)).info
    left = [operation]
    original = data_decode.ArrayWriter._put

    def put(self, data):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        original(self, data)

    monkeypatch.setattr(data_decode.ArrayWriter, "_put", put)

    with pytest.raises(StorageFull, match="no room left"):
        decode_dataset(request(uri), info.fingerprint, str(tmp_path / "storage"))
    assert list((tmp_path / "storage" / ".data").iterdir()) == []


def test_decoders_at_once_do_no_harm(tmp_path):
    uri = write(tmp_path / "a.parquet", rows=300)
    info = check_dataset(request(uri)).info
    storage = str(tmp_path / "storage")
    errors = []

    def decode():
        try:
            decode_dataset(request(uri), info.fingerprint, storage)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=decode) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    assert len(open_dataset(storage, info.fingerprint).split("train")) == 240
    assert [path.name for path in (tmp_path / "storage" / ".data").iterdir()] == [info.fingerprint]


KILLED = """
import sys, time
import trainables.data.decode as data_decode
from tests.support.data_sets import different, request
from trainables.data.check import check_dataset
from trainables.data.decode import decode_dataset

def wait(*arguments):
    print("writing", flush=True)
    time.sleep(600)

data_decode._finish = wait
uri, storage = sys.argv[1:]
decode_dataset(request(uri), check_dataset(request(uri)).info.fingerprint, storage)
"""


def test_a_killed_decoder_leaves_nothing_that_looks_finished(tmp_path):
    uri, storage = write(tmp_path / "a.parquet"), str(tmp_path / "storage")
    info = check_dataset(request(uri)).info
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, uri, storage], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"writing\n"
        process.send_signal(signal.SIGKILL)

    assert process.returncode == -signal.SIGKILL
    with pytest.raises(StorageError, match="decoded first"):
        open_dataset(storage, info.fingerprint)
    (left,) = (tmp_path / "storage" / ".data").iterdir()
    os.utime(left, (time.time() - 2 * 86_400,) * 2)
    decode_dataset(request(uri), info.fingerprint, storage)
    assert not left.exists()
    assert len(open_dataset(storage, info.fingerprint).split("train")) == 8


def test_three_heads_with_names_in_one_another_stay_apart(tmp_path):
    other = DeclaredHead(name="output", kind="regression")
    _, info, storage = decoded(tmp_path, CLASS, NUMBER, other, output=[[1.0, 2.0]] * 10)

    train = open_dataset(storage, info.fingerprint).split("train")

    assert sorted(train.labels) == ["c_output", "output", "r_output"]
    assert train.labels["output"].shape == (8, 2)
