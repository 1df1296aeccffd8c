"""Decoded data that are not what was decoded are never trained on: found, said, made anew."""

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import trainables.data.cache as data_cache
import trainables.data.decode as data_decode
from tests.support.data_sets import request, write
from trainables.data.check import check_dataset
from trainables.data.dataset import open_dataset
from trainables.data.decode import decode_dataset, is_decoded, is_intact
from trainables.data.manifest import DamagedData
from trainables.data.request import DataInfo, DataRequest
from trainables.errors import StorageError

ARRAYS = [
    f"{split}-{column}.npy"
    for split in ("train", "validation")
    for column in ("image", "c_output", "r_output")
]


class Decoded:
    """A small set, decoded; half of it may lie in a cache."""

    def __init__(self, folder: Path) -> None:
        self.request: DataRequest = request(write(folder / "a.parquet"))
        self.info: DataInfo = check_dataset(self.request).info
        self.storage = str(folder / "storage")
        self.cache = folder / "cache"
        self.decode()

    def decode(self) -> None:
        decode_dataset(self.request, self.info.fingerprint, self.storage)

    @property
    def folder(self) -> Path:
        return Path(self.storage) / ".data" / self.info.fingerprint

    def content(self, *, copy: bool = False) -> list[object]:
        found = open_dataset(self.storage, self.info.fingerprint, self.cache, copy=copy)
        return [
            (split.name, split.images.tolist(), {n: v.tolist() for n, v in split.labels.items()})
            for split in found.splits
        ]


@pytest.fixture
def decoded(tmp_path: Path) -> Decoded:
    return Decoded(tmp_path)


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Decoded:
    """The same as a set over a gigabyte is decoded."""
    monkeypatch.setattr(data_decode, "WHOLE_BYTES", 0)
    return Decoded(tmp_path)


def flip(path: Path, place: int = -1) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def replace_by(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        path.unlink()
        make(path)

    return damage


DAMAGES = [
    pytest.param(flip, id="last_bit"),
    pytest.param(lambda path: flip(path, 0), id="first_bit"),
    pytest.param(lambda path: flip(path, 64), id="bit_of_the_header"),
    pytest.param(lambda path: os.truncate(path, 10), id="cut"),
    pytest.param(lambda path: path.write_bytes(b""), id="empty"),
    pytest.param(lambda path: path.write_bytes(bytes(path.stat().st_size)), id="zeros"),
    pytest.param(lambda path: path.write_bytes(path.read_bytes() + b"x"), id="longer"),
    pytest.param(Path.unlink, id="missing"),
    pytest.param(replace_by(os.mkfifo), id="pipe"),
    pytest.param(replace_by(lambda path: path.symlink_to("/etc/passwd")), id="link"),
    pytest.param(replace_by(Path.mkdir), id="folder"),
]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["train-image.npy", "validation-r_output.npy"])
def test_damaged_arrays_are_named_and_the_next_run_makes_them_anew(
    name: str, damage: Callable[[Path], None], decoded: Decoded
) -> None:
    before = decoded.content()
    damage(decoded.folder / name)

    with pytest.raises(
        DamagedData, match=rf"decoded array '.*{name}' .*; run or resume the study"
    ):
        decoded.content()
    assert not is_intact(decoded.info, decoded.storage)
    decoded.decode()

    assert is_intact(decoded.info, decoded.storage)
    assert decoded.content() == before


@pytest.mark.parametrize("name", ARRAYS)
def test_every_array_is_compared_before_it_is_used(name: str, decoded: Decoded) -> None:
    flip(decoded.folder / name)

    with pytest.raises(DamagedData, match=name):
        decoded.content()


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_copy_is_made_anew(damage: Callable[[Path], None], decoded: Decoded) -> None:
    before = decoded.content(copy=True)
    damage(decoded.cache / decoded.info.fingerprint / "train-image.npy")

    assert decoded.content(copy=True) == before
    assert is_intact(decoded.info, decoded.storage)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_manifest_is_refused_and_made_anew(
    damage: Callable[[Path], None], decoded: Decoded
) -> None:
    before = decoded.content()
    damage(decoded.folder / "manifest.json")

    with pytest.raises(StorageError, match="decoded data"):
        decoded.content()
    decoded.decode()

    assert decoded.content() == before


def test_a_changed_manifest_is_never_believed(decoded: Decoded) -> None:
    manifest = decoded.folder / "manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"train-c_output', b'"train-d_output'))

    with pytest.raises(StorageError, match="need a whole manifest, got: it is damaged"):
        decoded.content()


@pytest.mark.slow
def test_a_damaged_row_of_a_large_set_is_found_when_it_is_first_read(large: Decoded) -> None:
    from trainables.training.feeding import ChunkedFeed  # loads TensorFlow

    before = large.content()
    image = large.folder / "train-image.npy"
    flip(image, image.stat().st_size - 1)  # of the last of 8 rows
    train = open_dataset(large.storage, large.info.fingerprint).split("train")
    feed = ChunkedFeed(train, ())

    list(feed.blocks(np.array([3, 1]), 2))
    with pytest.raises(DamagedData, match=r"train-image.npy' needs row 7 as it was decoded"):
        list(feed.blocks(np.array([1, 7]), 2))

    assert not is_decoded(large.info, large.storage)
    large.decode()
    assert large.content() == before


@pytest.mark.parametrize(
    "name", [n for n in ARRAYS if "image" not in n] + ["train-image.crc32.npy"]
)
def test_of_a_large_set_all_but_the_images_is_compared_as_a_whole(
    name: str, large: Decoded
) -> None:
    flip(large.folder / name)

    with pytest.raises(DamagedData, match=name):
        large.content()


def test_a_row_is_compared_once_in_a_process(large: Decoded) -> None:
    train = open_dataset(large.storage, large.info.fingerprint).split("train")
    assert train.check_images is not None
    rows = np.arange(8)
    train.check_images(rows, train.images)

    train.check_images(rows, np.zeros_like(train.images))


def test_a_damaged_copy_of_a_large_set_is_made_anew_by_the_next_process(large: Decoded) -> None:
    before = large.content(copy=True)
    copied = open_dataset(large.storage, large.info.fingerprint, large.cache, copy=True)
    train = copied.split("train")
    flip(large.cache / large.info.fingerprint / "train-image.npy")
    assert train.check_images is not None

    with pytest.raises(DamagedData, match="cache"):
        train.check_images(np.arange(8), train.images)

    assert large.content(copy=True) == before


def test_a_damaged_storage_is_never_copied_and_made_anew(large: Decoded) -> None:
    before = large.content()
    flip(large.folder / "train-image.npy")

    with pytest.raises(DamagedData, match="train-image"):
        large.content(copy=True)
    large.decode()

    assert large.content(copy=True) == before


def test_the_users_own_folders_are_left_alone(
    decoded: Decoded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = tmp_path / "scratch"
    (named / "thesis" / "chapter").mkdir(parents=True)
    for path in (named, named / "thesis", named / "thesis" / "chapter"):
        os.utime(path, (0, 0))
    monkeypatch.setenv("TWOHEAD_CACHE", str(named))

    open_dataset(decoded.storage, decoded.info.fingerprint, copy=True)

    assert (named / "thesis" / "chapter").is_dir()
    ours = named / f"twohead-data-{os.getuid()}"
    assert (ours / decoded.info.fingerprint / "train-image.npy").is_file()
    assert stat.S_IMODE(ours.stat().st_mode) == 0o700


def test_the_folder_for_temporary_files_may_hold_a_trap(
    decoded: Decoded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody can take the name of the usual cache first, to have another's files deleted."""
    (tmp_path / "shared").mkdir()
    victim = tmp_path / "victim" / ("f" * 64)
    victim.mkdir(parents=True)
    os.utime(victim, (0, 0))
    usual = tmp_path / "shared" / f"twohead-data-{os.getuid()}"
    usual.symlink_to(victim.parent)
    monkeypatch.setattr(data_cache.tempfile, "gettempdir", lambda: str(tmp_path / "shared"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "own"))

    open_dataset(decoded.storage, decoded.info.fingerprint, copy=True)

    assert list(victim.parent.iterdir()) == [victim]
    assert (tmp_path / "own" / usual.name / decoded.info.fingerprint).is_dir()


def test_a_cache_that_is_a_link_is_refused(decoded: Decoded, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    decoded.cache.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(StorageError, match="needs to be a folder, got a link"):
        decoded.content(copy=True)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_lock_that_is_a_link_is_refused(decoded: Decoded, tmp_path: Path) -> None:
    decoded.cache.mkdir(mode=0o700)
    (decoded.cache / f"{decoded.info.fingerprint}.lock").symlink_to(tmp_path / "made")

    with pytest.raises(StorageError, match="it is a symbolic link"):
        decoded.content(copy=True)
    assert not (tmp_path / "made").exists()


def test_a_set_that_is_a_link_makes_room_and_what_it_leads_to_stays(
    decoded: Decoded, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x").touch()
    decoded.cache.mkdir(mode=0o700)
    (decoded.cache / decoded.info.fingerprint).symlink_to(tmp_path / "elsewhere")

    decoded.content(copy=True)

    assert (tmp_path / "elsewhere" / "x").exists()
    assert not (decoded.cache / decoded.info.fingerprint).is_symlink()


@pytest.mark.parametrize(
    ("name", "is_left"),
    [
        pytest.param(f".tmp-{'0' * 16}-{'1' * 32}", False, id="half_decoded"),
        pytest.param(".tmp-of-the-user", True, id="the_users_own"),
        pytest.param("f" * 64, True, id="another_set"),
    ],
)
def test_decoding_removes_only_what_killed_decoders_left(
    name: str, is_left: bool, decoded: Decoded, tmp_path: Path
) -> None:
    old = decoded.folder.parent / name
    old.mkdir()
    os.utime(old, (0, 0))
    linked = decoded.folder.parent / f".tmp-{'2' * 32}"
    (tmp_path / "elsewhere").mkdir()
    os.utime(tmp_path / "elsewhere", (0, 0))
    linked.symlink_to(tmp_path / "elsewhere")
    flip(decoded.folder / "train-image.npy")

    decoded.decode()

    assert old.exists() == is_left
    assert (tmp_path / "elsewhere").is_dir()


@pytest.mark.parametrize("name", [".data", ".data/set"])
def test_nothing_is_decoded_or_removed_behind_a_link(
    name: str, decoded: Decoded, tmp_path: Path
) -> None:
    linked = Path(decoded.storage) / name.replace("set", decoded.info.fingerprint)
    shutil.rmtree(linked)
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / f".tmp-{'2' * 32}").mkdir(parents=True)
    os.utime(elsewhere / f".tmp-{'2' * 32}", (0, 0))
    linked.symlink_to(elsewhere)

    with pytest.raises(StorageError, match="it is a symbolic link"):
        decoded.content()
    if name == ".data":
        with pytest.raises(StorageError, match="it is a symbolic link"):
            decoded.decode()
    else:
        decoded.decode()
        assert decoded.content()

    assert [path.name for path in elsewhere.iterdir()] == [f".tmp-{'2' * 32}"]
