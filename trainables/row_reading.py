"""Reads chosen rows of decoded images, of a file without mapping what is read; checks them."""

import mmap
import os
import weakref
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from trainables.errors import StorageError
from trainables.local_files import open_plain

Images = NDArray[np.uint8]
"""``(rows, height, width, channels)``."""

Order = NDArray[np.int64]

ReadRows = Callable[[Order, Images], None]
"""Writes the rows of these numbers, in this order, into an array of as many."""

CheckRows = Callable[[Order, Images], None]
"""Raises ``StorageError`` if rows, given with their numbers, are not what was decoded."""


def row_reader(images: Images, check: CheckRows | None = None) -> ReadRows:
    """Return what reads rows of these images: of a whole map from its file, else from memory.

    Args:
        images: The rows.
        check: Called with what was read; None if there is nothing to check any more.
    """
    if isinstance(images, np.memmap) and isinstance(images.base, mmap.mmap):
        read: ReadRows = _FileRows(images)
    else:
        read = partial(_take, images)
    return read if check is None else partial(_read_checked, read, check)


def aligned_images(shape: tuple[int, ...], alignment: int) -> Images:
    """Return uninitialised images whose memory begins at a multiple of ``alignment`` bytes."""
    num_bytes = int(np.prod(shape))
    raw = np.empty(num_bytes + alignment, np.uint8)
    start = -raw.ctypes.data % alignment
    return raw[start : start + num_bytes].reshape(shape)


def _take(images: Images, chosen: Order, into: Images) -> None:
    # With mode="raise" NumPy would gather into a second buffer first.
    np.take(images, chosen, axis=0, out=into, mode="clip")


def _read_checked(read: ReadRows, check: CheckRows, chosen: Order, into: Images) -> None:
    read(chosen, into)
    check(chosen, into)


def _open(path: str) -> int:
    try:
        return open_plain(path)
    except OSError as error:
        raise StorageError(f"cannot read images of {path!r}: {error.strerror}") from error


class _FileRows:
    """Reads rows from the file of a map.

    Through the map, what was read would count as this process's memory, a failing disk would
    kill it instead of raising, and rows would be read in small pieces, one after the other.
    """

    def __init__(self, images: "np.memmap[tuple[int, ...], np.dtype[np.uint8]]") -> None:
        self._path = str(images.filename)
        self._first = images.offset
        self._row_bytes = images[0].nbytes
        self._handle = _open(self._path)
        weakref.finalize(self, os.close, self._handle)

    def __call__(self, chosen: Order, into: Images) -> None:
        """Read rows; see `ReadRows`.

        Raises:
            StorageError: If the file refuses or is shorter than it was.
        """
        size, memory = self._row_bytes, into.reshape(-1).data
        places = np.argsort(chosen)
        starts = self._first + chosen * size
        try:
            for start in starts[places].tolist():  # the disk hears of all before it is waited for
                os.posix_fadvise(self._handle, start, size, os.POSIX_FADV_WILLNEED)
            for place in places.tolist():
                self._read(int(starts[place]), memory[place * size : (place + 1) * size])
        except OSError as error:
            raise StorageError(
                f"cannot read images of {self._path!r}: {error.strerror or error}"
            ) from error

    def _read(self, position: int, into: memoryview) -> None:
        while into:
            count = os.preadv(self._handle, [into], position)
            if not count:
                raise StorageError(f"images of {self._path!r} need to stay as they are, got fewer")
            into, position = into[count:], position + count
