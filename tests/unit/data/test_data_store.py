import shutil

import numpy as np
import pyarrow.fs as pafs
import pytest

import trainables.data.dataset as data_store
import trainables.data.decode as data_decode
import trainables.data.manifest as data_manifest
from tests.support.data_sets import request, write
from trainables.data.check import check_dataset
from trainables.data.dataset import open_dataset
from trainables.data.decode import decode_dataset
from trainables.errors import StorageError, StorageFull
from trainables.storage.store import Store


@pytest.fixture
def remote(tmp_path, monkeypatch):
    """A storage behind a URI that is no local path; parts of 100 bytes."""
    (tmp_path / "far").mkdir()
    far = pafs.SubTreeFileSystem(str(tmp_path / "far"), pafs.LocalFileSystem())

    def open_store(uri):
        return Store(uri, filesystem=far)

    for module in (data_store, data_decode):
        monkeypatch.setattr(module, "Store", open_store)
    monkeypatch.setattr(data_manifest, "PART_BYTES", 100)
    monkeypatch.setattr(data_decode, "PART_BYTES", 100)
    return "far://bucket/studies"


def test_a_remote_set_is_copied_once_to_the_cache(tmp_path, remote):
    uri = write(tmp_path / "a.parquet")
    info = check_dataset(request(uri)).info
    cache = tmp_path / "cache"

    decode_dataset(request(uri), info.fingerprint, remote)
    first = open_dataset(remote, info.fingerprint, cache)
    inode = (cache / info.fingerprint / "train-image.npy").stat().st_ino
    again = open_dataset(remote, info.fingerprint, cache)

    assert first.split("train").images.shape == (8, 8, 8, 1)
    assert np.array_equal(first.split("train").images, again.split("train").images)
    assert (cache / info.fingerprint / "train-image.npy").stat().st_ino == inode
    assert sorted(path.name for path in cache.iterdir()) == [
        info.fingerprint,
        f"{info.fingerprint}.lock",
    ]


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda part: part.unlink(), id="part_is_missing"),
        pytest.param(lambda part: part.write_bytes(b"0" * part.stat().st_size), id="part_differs"),
    ],
)
def test_a_damaged_remote_set_is_never_mapped(tmp_path, remote, damage):
    uri = write(tmp_path / "a.parquet")
    info = check_dataset(request(uri)).info
    decode_dataset(request(uri), info.fingerprint, remote)
    damage(next(tmp_path.glob("far/**/train-image.npy.*.0001")))

    with pytest.raises(StorageError, match="decoded array"):
        open_dataset(remote, info.fingerprint, tmp_path / "cache")
    left = [path.name for path in (tmp_path / "cache").iterdir()]
    assert left == [f"{info.fingerprint}.lock"]


def test_too_little_room_is_told_before_anything_is_decoded(tmp_path, monkeypatch):
    uri = write(tmp_path / "a.parquet")
    info = check_dataset(request(uri)).info
    usage = shutil._ntuple_diskusage(1000, 900, 100)
    monkeypatch.setattr(data_decode.shutil, "disk_usage", lambda path: usage)

    with pytest.raises(StorageFull, match=r"need 640 bytes .* got 100 free"):
        decode_dataset(request(uri), info.fingerprint, str(tmp_path / "storage"))
