"""The checksums of a large set's images: each row is compared when it is first read."""

import zlib
from pathlib import Path
from typing import final

import numpy as np
from numpy.typing import NDArray

from trainables.data_manifest import damaged, mark_damaged
from trainables.store import Store


def row_sums(rows: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Return the CRC-32 of each row ``(rows, ...)``; some 1.7 GB/s, twice as fast as SHA-256."""
    return np.array([zlib.crc32(np.ascontiguousarray(row).data) for row in rows], "<u4")


@final
class RowSums:
    """Compares rows of images with the checksums that they had when they were decoded.

    Args:
        path: The file of the images, for messages; in the folder of its set.
        sums: CRC-32 of each row, ``(rows,)``.
    """

    def __init__(self, path: Path, sums: NDArray[np.uint32]) -> None:
        self._path = path
        self._sums = sums
        self._is_known = np.zeros(len(sums), bool)

    def __call__(self, chosen: NDArray[np.int64], rows: NDArray[np.uint8]) -> None:
        """Compare rows that this process has not compared yet.

        Args:
            chosen: Their numbers, ``(n,)``.
            rows: What was read, ``(n, height, width, channels)``.

        Raises:
            DamagedData: If one is not what was decoded; the next run makes the set anew.
        """
        for place in np.flatnonzero(~self._is_known[chosen]).tolist():
            number = int(chosen[place])
            if zlib.crc32(rows[place].data) != self._sums[number]:
                folder = self._path.parent
                mark_damaged(Store(folder.parent), folder.name)
                raise damaged(self._path, f"needs row {number} as it was decoded, got another")
        self._is_known[chosen] = True
