"""A node's own copies of decoded data: made once, whole, and not for ever."""

import os
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

import trainables.data.cache as data_cache
from tests.support.data_sets import request, write
from trainables.data.check import check_dataset
from trainables.data.dataset import open_dataset
from trainables.data.decode import decode_dataset
from trainables.errors import StorageError, StorageFull

DAY = 86_400.0

OPEN = """
import os, signal, sys, time
import trainables.data.cache as data_cache
from trainables.data.dataset import open_dataset
storage, fingerprint, cache, fate = sys.argv[1:]
copy = data_cache._copy
def noted(*arguments):
    with open(cache + ".copies", "a") as file:
        file.write("copy\\n")
    if fate == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.3)  # the others come meanwhile
    copy(*arguments)
data_cache._copy = noted
print("ready", flush=True)
sys.stdin.readline()
from pathlib import Path
print(len(open_dataset(storage, fingerprint, Path(cache), copy=True).split("train")))
"""


@pytest.fixture
def decoded(tmp_path: Path) -> tuple[str, str]:
    uri = write(tmp_path / "a.parquet")
    info = check_dataset(request(uri)).info
    decode_dataset(request(uri), info.fingerprint, str(tmp_path / "shared"))
    return str(tmp_path / "shared"), info.fingerprint


def opener(decoded: tuple[str, str], cache: Path, fate: str = "live") -> "subprocess.Popen[str]":
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", OPEN, *decoded, str(cache), fate]
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_a_shared_folder_is_copied_to_the_nodes_own_disk(decoded, tmp_path):
    cache = tmp_path / "cache"

    copied = open_dataset(*decoded, cache, copy=True).split("train")

    direct = open_dataset(*decoded).split("train")
    assert np.array_equal(copied.images, direct.images)
    assert Path(copied.images.filename).parent == cache / decoded[1]
    assert Path(direct.images.filename).parent == Path(decoded[0]) / ".data" / decoded[1]


def test_of_processes_that_start_at_once_one_copies(decoded, tmp_path):
    cache = tmp_path / "cache"
    processes = [opener(decoded, cache) for _ in range(3)]

    answers = [process.communicate("\n")[0] for process in processes]

    assert answers == ["8\n"] * 3
    assert Path(f"{cache}.copies").read_text() == "copy\n"


def test_a_killed_copier_leaves_its_turn_to_the_next(decoded, tmp_path):
    cache = tmp_path / "cache"
    killed = opener(decoded, cache, "die")
    killed.communicate("\n")
    assert killed.returncode == -9

    assert len(open_dataset(*decoded, cache, copy=True).split("train")) == 8


def test_a_copier_that_never_ends_is_not_waited_for_for_ever(decoded, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    cache.mkdir()
    monkeypatch.setattr(data_cache, "WAIT_SECONDS", 0.05)
    monkeypatch.setattr(data_cache, "POLL_SECONDS", 0.01)

    with data_cache._turn(cache / f"{decoded[1]}.lock"):
        assert len(open_dataset(*decoded, cache, copy=True).split("train")) == 8


@pytest.mark.parametrize(
    ("name", "age", "is_left"),
    [
        pytest.param("f" * 64, 8 * DAY, False, id="unused_for_a_week"),
        pytest.param("f" * 64, 6 * DAY, True, id="used_this_week"),
        pytest.param(f".tmp-{'0' * 16}-{'1' * 32}", 2 * DAY, False, id="half_copied"),
        pytest.param(f".tmp-{'0' * 16}-{'1' * 32}", 0.5 * DAY, True, id="being_copied"),
        pytest.param("photos", 800 * DAY, True, id="the_users_own"),
        pytest.param(".tmp-of-the-user", 800 * DAY, True, id="the_users_own_temporary"),
        pytest.param("f" * 63, 800 * DAY, True, id="no_fingerprint"),
    ],
)
def test_old_copies_make_room(name, age, is_left, decoded, tmp_path):
    old = tmp_path / "cache" / name
    old.mkdir(parents=True)
    (old / "train-image.npy").touch()
    then = time.time() - age
    os.utime(old, (then, then))

    open_dataset(*decoded, tmp_path / "cache", copy=True)

    assert old.exists() == is_left


def test_a_copy_that_is_used_is_marked_so(decoded, tmp_path):
    cache = tmp_path / "cache"
    open_dataset(*decoded, cache, copy=True)
    os.utime(cache / decoded[1], (0, 0))

    open_dataset(*decoded, cache, copy=True)

    assert time.time() - (cache / decoded[1]).stat().st_mtime < DAY


def test_a_full_disk_is_told_before_anything_is_copied(decoded, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")(1000, 900, 100)
    monkeypatch.setattr(data_cache.shutil, "disk_usage", lambda path: usage)

    with pytest.raises(StorageFull, match=r"data cache .* needs \d+ bytes, got 100 free; make"):
        open_dataset(*decoded, tmp_path / "cache", copy=True)

    assert not (tmp_path / "cache" / decoded[1]).exists()


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda path: path.unlink(), id="missing"),
        pytest.param(lambda path: path.write_bytes(b"0" * path.stat().st_size), id="changed"),
    ],
)
def test_a_damaged_shared_folder_is_never_copied(damage, decoded, tmp_path):
    damage(Path(decoded[0]) / ".data" / decoded[1] / "train-image.npy")

    with pytest.raises(StorageError, match="decoded array"):
        open_dataset(*decoded, tmp_path / "cache", copy=True)

    assert not (tmp_path / "cache" / decoded[1]).exists()


def test_somebody_elses_folder_is_refused(decoded, tmp_path, monkeypatch):
    (tmp_path / "cache").mkdir()
    monkeypatch.setattr(data_cache.os, "getuid", lambda: os.geteuid() + 1)

    with pytest.raises(StorageError, match="needs to be a folder of this user"):
        open_dataset(*decoded, tmp_path / "cache", copy=True)


def _beside_a_file(folder: Path) -> str:
    (folder / "file").touch()
    return str(folder / "file")


def _behind_a_link_to_nothing(folder: Path) -> str:
    (folder / "link").symlink_to("/nowhere/at/all")
    return str(folder / "link")


@pytest.mark.parametrize(
    ("named", "message"),
    [
        pytest.param(_beside_a_file, "got: Not a directory; let TWOHEAD_CACHE", id="file"),
        pytest.param(_behind_a_link_to_nothing, "got: File exists; let TWOHEAD", id="link"),
        pytest.param(lambda _: "~no-such-user/x", "got '~no-such-user/x'", id="unknown_home"),
    ],
)
def test_a_named_place_where_no_folder_can_be_is_refused_in_words(
    named, message, decoded, tmp_path, monkeypatch
):
    monkeypatch.setenv(data_cache.CACHE, named(tmp_path))

    with pytest.raises(StorageError, match=message):
        open_dataset(*decoded, copy=True)


def test_a_cache_that_somebody_deletes_meanwhile_is_missed_in_words(
    decoded, tmp_path, monkeypatch
):
    def delete(cache, manifest):
        data_cache.shutil.rmtree(cache)

    monkeypatch.setattr(data_cache, "_check_room", delete)

    with pytest.raises(StorageError, match=r"cannot copy data to .*cache': its folder is gone"):
        open_dataset(*decoded, tmp_path / "cache", copy=True)
