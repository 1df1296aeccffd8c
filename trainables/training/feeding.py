"""Brings the rows of a split to the compiled functions: held whole, or read in chunks ahead."""

import mmap
import os
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trainables.data.dataset import Split
from trainables.errors import StorageError
from trainables.model.backend import Tensor, tf, visible_gpus
from trainables.spec.heads import HeadSpec
from trainables.storage.local import open_plain

RESIDENT_BYTES = 256 * 2**20
"""A split whose images take less is held whole where it is not known what there is room for."""
RESIDENT_SHARE = 0.5
"""Of the memory that a process may take: what the images of a split that is held may."""
CHUNK_BYTES = 32 * 2**20
"""About what a chunk of images takes; there are two, one in use and one that is filled."""
ALIGNMENT = 64
"""Bytes; TensorFlow works on memory that is aligned so."""
LABEL_TYPES = {"classification": "int32", "regression": "float32", "box": "float32"}
Order = NDArray[np.int64]
"""Row numbers in the order in which they are taken, ``(rows,)``."""
Images = NDArray[np.uint8]
"""``(rows, height, width, channels)``."""


class Block(NamedTuple):
    """Rows that lie in memory and the order in which to take them."""

    images: Tensor
    labels: tuple[Tensor, ...]
    """In the order of the heads."""
    order: Tensor


class ResidentFeed:
    """Holds all rows as tensors, made once; on a CPU the images stay where they lie mapped."""

    def __init__(self, rows: Split, heads: Sequence[HeadSpec]) -> None:
        self.num_rows = len(rows.images)
        if isinstance(rows.images.base, mmap.mmap):
            # At random a map is read in small pieces: on a cold disk that takes thrice as long.
            rows.images.base.madvise(mmap.MADV_WILLNEED)
        if rows.check_images is not None:
            rows.check_images(np.arange(self.num_rows), rows.images)
        self._images = _to_device()(rows.images)
        self._labels = tuple(map(tf.convert_to_tensor, _labels(rows, heads)))

    def blocks(self, order: Order, batch_size: int) -> Iterator[Block]:
        """Yield the whole split as one block."""
        yield Block(self._images, self._labels, tf.convert_to_tensor(order))


class ChunkedFeed:
    """Reads rows in chunks, the next one in a thread while the last one is used."""

    def __init__(
        self, rows: Split, heads: Sequence[HeadSpec], *, chunk_bytes: int = CHUNK_BYTES
    ) -> None:
        self.num_rows = len(rows.images)
        self._shape = rows.images.shape[1:]
        self._labels = _labels(rows, heads)
        self._capacity = max(1, chunk_bytes * self.num_rows // max(1, rows.images.nbytes))
        self._read = _row_reader(rows.images)
        self._check = rows.check_images
        self._to_device = _to_device()

    def blocks(self, order: Order, batch_size: int) -> Iterator[Block]:
        """Yield blocks that hold ``order``'s rows; all but the last hold whole batches.

        A block is only valid until the next is asked for. Raises StorageError if rows cannot be
        read.
        """
        size = max(1, self._capacity // batch_size) * batch_size
        chunks = [order[start : start + size] for start in range(0, max(1, len(order)), size)]
        # Made anew for every pass: between two of them the memory is free for other things.
        buffers = [_aligned_images((len(rows), *self._shape), ALIGNMENT) for rows in chunks[:2]]
        with ThreadPoolExecutor(1, thread_name_prefix="twohead-feed") as pool:
            coming = pool.submit(self._gather, chunks[0], buffers[0])
            for place, rows in enumerate(chunks, 1):
                images = coming.result()
                if place < len(chunks):
                    coming = pool.submit(self._gather, chunks[place], buffers[place % 2])
                labels = tuple(tf.convert_to_tensor(column[rows]) for column in self._labels)
                yield Block(images, labels, tf.range(len(rows), dtype="int64"))

    def _gather(self, chosen: Order, buffer: Images) -> Tensor:
        images = buffer[: len(chosen)]
        self._read(chosen, images)
        if self._check is not None:
            self._check(chosen, images)
        return self._to_device(images)


Feed = ResidentFeed | ChunkedFeed
"""Gives the rows of one split as blocks; either kind the same batches."""


def make_feed(rows: Split, heads: Sequence[HeadSpec], *, memory_bytes: int | None = None) -> Feed:
    """Return the feed that suits the size of a split."""
    limit = RESIDENT_SHARE * memory_bytes if memory_bytes else RESIDENT_BYTES
    return ResidentFeed(rows, heads) if rows.images.nbytes < limit else ChunkedFeed(rows, heads)


def _to_device() -> Callable[[Images], Tensor]:
    """Return what makes images a tensor where this process trains."""
    return tf.convert_to_tensor if visible_gpus() else _lent


def _lent(images: Images) -> Tensor:
    """Return images as a tensor on the CPU over the same memory, if that can be.

    ``tf.constant`` and ``convert_to_tensor`` copy what they are given (tensorflow 2.21).
    """
    if not images.flags.c_contiguous or images.ctypes.data % ALIGNMENT or not images.size:
        return tf.convert_to_tensor(images)
    return tf.experimental.dlpack.from_dlpack(np.asarray(_Lent(images)).__dlpack__())


class _Lent:
    """Shows a read-only array as one that may be written, as which alone DLPack lends it.

    A tensor is never written to; should it be, a map that is read-only would not let it.
    """

    def __init__(self, images: Images) -> None:
        self._images = images
        interface = images.__array_interface__
        self.__array_interface__ = {**interface, "data": (interface["data"][0], False)}


def _labels(rows: Split, heads: Sequence[HeadSpec]) -> list[NDArray[np.generic]]:
    return [rows.labels[head.name].astype(LABEL_TYPES[head.kind], copy=False) for head in heads]


ReadRows = Callable[[Order, Images], None]
"""Writes the rows of these numbers, in this order, into an array of as many."""


def _row_reader(images: Images) -> ReadRows:
    """Return what reads rows of these images: of a whole map from its file, else from memory."""
    if isinstance(images, np.memmap) and isinstance(images.base, mmap.mmap):
        return _FileRows(images)
    return partial(_take, images)


def _aligned_images(shape: tuple[int, ...], alignment: int) -> Images:
    """Return uninitialised images whose memory begins at a multiple of ``alignment`` bytes."""
    num_bytes = int(np.prod(shape))
    raw = np.empty(num_bytes + alignment, np.uint8)
    start = -raw.ctypes.data % alignment
    return raw[start : start + num_bytes].reshape(shape)


def _take(images: Images, chosen: Order, into: Images) -> None:
    # With mode="raise" NumPy would gather into a second buffer first.
    np.take(images, chosen, axis=0, out=into, mode="clip")


class _FileRows:
    """Reads rows from the file of a map.

    Through the map, what was read would count as this process's memory, a failing disk would
    kill it instead of raising, and rows would be read in small pieces, one after the other.
    """

    def __init__(self, images: "np.memmap[tuple[int, ...], np.dtype[np.uint8]]") -> None:
        self._path = str(images.filename)
        self._first = images.offset
        self._row_bytes = images[0].nbytes
        try:
            self._handle = open_plain(self._path)
        except OSError as error:
            raise self._unreadable(error) from error
        weakref.finalize(self, os.close, self._handle)

    def __call__(self, chosen: Order, into: Images) -> None:
        """Read rows; see `ReadRows`."""
        size, memory = self._row_bytes, into.reshape(-1).data
        places = np.argsort(chosen)
        starts = self._first + chosen * size
        try:
            for start in starts[places].tolist():  # the disk hears of all before it is waited for
                os.posix_fadvise(self._handle, start, size, os.POSIX_FADV_WILLNEED)
            for place in places.tolist():
                self._read(int(starts[place]), memory[place * size : (place + 1) * size])
        except OSError as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: OSError) -> StorageError:
        return StorageError(f"cannot read images of {self._path!r}: {error.strerror or error}")

    def _read(self, position: int, into: memoryview) -> None:
        while into:
            count = os.preadv(self._handle, [into], position)
            if not count:
                raise StorageError(f"images of {self._path!r} need to stay as they are, got fewer")
            into, position = into[count:], position + count
