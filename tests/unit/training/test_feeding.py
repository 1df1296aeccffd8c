"""Rows reach the compiled functions the same whether they are held or read ahead in chunks."""

import gc
import os
import resource
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.trials import (
    BOX,
    CLASSES,
    RICH,
    figures,
    fresh,
    make_data,
    make_spec,
    same,
)
from trainables.data.dataset import Dataset, Split
from trainables.data.manifest import DamagedData, RowSums, row_sums
from trainables.errors import StorageError
from trainables.model.backend import configure_process
from trainables.training import feeding
from trainables.training import feeding as row_reading
from trainables.training import keras_run as training
from trainables.training import program as compiled
from trainables.training.feeding import ChunkedFeed, ResidentFeed, make_feed
from trainables.training.keras_run import KerasRun

pytestmark = pytest.mark.slow

HEADS = (CLASSES, BOX)
ROW_BYTES = 17 * 17


@pytest.fixture(autouse=True)
def fresh_process():
    compiled._kept.clear()
    training._feeds.clear()


def mapped(data, folder):
    """Return the same data with its images in files, mapped as a decoded set is."""
    splits = []
    for rows in data.splits:
        np.save(folder / f"{rows.name}.npy", rows.images)
        images = np.load(folder / f"{rows.name}.npy", mmap_mode="r")
        splits.append(replace(rows, images=images))
    return Dataset(fingerprint=f"{data.fingerprint} mapped", splits=tuple(splits))


@pytest.mark.parametrize("kind", [ResidentFeed, ChunkedFeed])
def test_rows_with_checksums_are_compared_before_they_are_used(kind, tmp_path):
    rows = mapped(make_data(HEADS), tmp_path).split("train")
    path = Path(rows.images.filename)
    rows = replace(rows, check_images=RowSums(path, row_sums(rows.images)))
    order = np.arange(len(rows.images))[::-1].copy()
    assert sum(len(block.order) for block in kind(rows, HEADS).blocks(order, 8)) == len(order)
    rows = replace(rows, check_images=RowSums(path, row_sums(rows.images)))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)

    with pytest.raises(DamagedData, match=f"needs row {len(order) - 1} as it was decoded"):
        list(kind(rows, HEADS).blocks(order, 8))


def feeders():
    return [one for one in threading.enumerate() if one.name.startswith("twohead-feed")]


@pytest.mark.parametrize("rows", [1, 40], ids="chunk_of_{}".format)
def test_chunks_from_a_file_train_to_the_same_bits_as_rows_that_are_held(
    rows, tmp_path, monkeypatch
):
    spec, data = make_spec(**RICH), make_data(HEADS)
    held = fresh(spec, data)
    expected = figures(held, 2), held.state()
    monkeypatch.setattr(feeding, "RESIDENT_BYTES", 0)
    chunk = {"chunk_bytes": rows * ROW_BYTES}
    monkeypatch.setattr(ChunkedFeed.__init__, "__kwdefaults__", chunk)

    training._feeds.clear()
    streamed = KerasRun(spec=spec, dataset=mapped(data, tmp_path), seed=3)

    assert isinstance(streamed._train, ChunkedFeed)
    assert figures(streamed, 2) == expected[0]
    assert same(streamed.state(), expected[1])
    assert feeders() == []


def test_images_that_are_held_stay_where_they_are_mapped(tmp_path):
    rows = mapped(make_data(HEADS), tmp_path).split("train")

    (block,) = ResidentFeed(rows, HEADS).blocks(np.arange(50), 16)

    held = np.asarray(memoryview(block.images))
    assert held.ctypes.data == rows.images.ctypes.data
    assert np.array_equal(held, rows.images)


@pytest.mark.parametrize(
    ("memory", "kind"),
    [
        pytest.param(None, ResidentFeed, id="unknown"),
        pytest.param(2 * 50 * ROW_BYTES + 2, ResidentFeed, id="room"),
        pytest.param(2 * 50 * ROW_BYTES, ChunkedFeed, id="no_room"),
    ],
)
def test_what_is_held_follows_the_memory_that_is_given(memory, kind):
    rows = make_data(HEADS).split("train")

    assert isinstance(make_feed(rows, HEADS, memory_bytes=memory), kind)


def test_no_more_than_two_chunks_are_held_at_once(tmp_path, monkeypatch):
    made, aligned_images = [], feeding._aligned_images
    monkeypatch.setattr(
        feeding,
        "_aligned_images",
        lambda *args: made.append(aligned_images(*args)) or made[-1],
    )
    feed = ChunkedFeed(
        mapped(make_data(HEADS), tmp_path).split("train"), HEADS, chunk_bytes=8 * ROW_BYTES
    )

    blocks = [len(block.order) for block in feed.blocks(np.arange(50), 4)]

    assert blocks == [8, 8, 8, 8, 8, 8, 2]
    assert [buffer.nbytes for buffer in made] == [8 * ROW_BYTES] * 2


def test_the_next_chunk_is_read_while_the_last_one_is_used(tmp_path):
    feed = ChunkedFeed(
        mapped(make_data(HEADS), tmp_path).split("train"), HEADS, chunk_bytes=16 * ROW_BYTES
    )
    is_second_read, read, calls = threading.Event(), feed._read, []

    def watched(chosen, into):
        read(chosen, into)
        calls.append(threading.current_thread())
        if len(calls) == 2:
            is_second_read.set()

    feed._read = watched
    blocks = feed.blocks(np.arange(50), 16)
    first = next(blocks).images.numpy()

    assert is_second_read.wait(60)
    assert np.array_equal(first, feed_rows(tmp_path)[:16])
    assert threading.main_thread() not in calls
    blocks.close()
    assert feeders() == []


def feed_rows(folder):
    return np.load(folder / "train.npy")


def test_a_file_that_was_cut_is_an_error_of_the_storage_and_leaves_no_thread(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(feeding, "RESIDENT_BYTES", 0)
    monkeypatch.setattr(ChunkedFeed.__init__, "__kwdefaults__", {"chunk_bytes": 16 * ROW_BYTES})
    run = KerasRun(spec=make_spec(), dataset=mapped(make_data(HEADS), tmp_path), seed=3)
    os.truncate(tmp_path / "train.npy", 128 + 20 * ROW_BYTES)

    with pytest.raises(StorageError, match=r"images of .*train\.npy' need to stay as they are"):
        run.run_epoch()

    gc.collect()
    assert feeders() == []


def test_a_disk_that_fails_is_an_error_of_the_storage(tmp_path, monkeypatch):
    rows = mapped(make_data(HEADS), tmp_path).split("train")
    feed = ChunkedFeed(rows, HEADS)

    def fail(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(row_reading.os, "preadv", fail)

    with pytest.raises(StorageError, match=r"cannot read images of .*: Input/output error"):
        next(feed.blocks(np.arange(50), 16))


@pytest.mark.parametrize(("is_held", "works"), [(False, True), (True, False)])
def test_a_set_larger_than_the_memory_that_is_left_trains_in_chunks(is_held, works, tmp_path):
    """The kernel grants 160 MiB more of its own memory than what is used after one epoch.

    Copied into memory, as a map of private pages is, the 256 MiB of images do not fit.
    """
    np.lib.format.open_memmap(tmp_path / "train.npy", "w+", np.uint8, (4096, 256, 256, 1)).flush()

    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.unit.training.test_feeding",
            str(tmp_path),
            str(int(is_held)),
        ],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )

    assert ("trained" in done.stdout) == works, done.stderr[-2000:]
    assert works or "MemoryError" in done.stderr


def train_under_a_limit(folder, is_held):
    images = np.load(f"{folder}/train.npy", mmap_mode="r")

    def data(name, rows):
        labels = {"c_output": np.arange(len(rows), dtype=np.int32) % 3}
        made = (Split(name=one, images=rows, labels=labels) for one in ("train", "validation"))
        return Dataset(fingerprint=name, splits=tuple(made))

    configure_process(num_threads=1)
    shape = (256, 256, 1)
    config = {"conv1_filters": 1, "conv2_filters": 1, "pool_size": 8, "batch_size": 64}
    spec = make_spec((CLASSES,), shape, **config)
    feeding.RESIDENT_BYTES = 0
    KerasRun(spec=spec, dataset=data("few", images[:128].copy()), seed=3).run_epoch()
    with open("/proc/self/status") as status:
        used = next(int(line.split()[1]) for line in status if line.startswith("VmData"))
    limit = used * 1024 + 160 * 2**20
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    rows = np.array(images) if is_held else images
    KerasRun(spec=spec, dataset=data("all", rows), seed=3).run_epoch()
    print("trained")


if __name__ == "__main__":
    train_under_a_limit(sys.argv[1], bool(int(sys.argv[2])))
