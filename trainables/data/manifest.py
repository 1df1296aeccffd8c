"""What decoded data consist of: the arrays with sizes and hashes, sealed, and their check."""

import hashlib
import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from trainables.data.request import IMAGE_COLUMN, SPLITS, DataReport
from trainables.errors import InputError, StorageError
from trainables.spec.plain_values import plain_json
from trainables.storage.local import open_plain, storage_errors
from trainables.storage.sealed_json import DamagedRecord, convert, seal, unseal
from trainables.storage.store import Store

DATA_FOLDER = ".data"
MANIFEST = "manifest.json"
KIND = "data"
DAMAGED = "damaged"
"""An object beside the arrays: somebody found one of them damaged, so they do not count."""

SUMS = ".crc32.npy"
"""Ends the name of the array of checksums, one a row, that a large array of images has."""

PART_BYTES = 64 * 2**20
"""A remote storage gets arrays in pieces of this size, so that no one holds a whole array."""


class DamagedData(StorageError):
    """A decoded array is not what was decoded; the message names its file and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayEntry:
    """What the manifest says of one ``.npy`` file."""

    dtype: str
    shape: tuple[int, ...]
    num_bytes: int
    """Of the file, header included."""

    sha256: str
    """Of the file."""

    def parts(self, name: str) -> list[str]:
        """Return the names of the file's pieces in a remote storage; they carry its hash."""
        count = max(1, -(-self.num_bytes // PART_BYTES))
        return [f"{name}.{self.sha256[:16]}.{place:04d}" for place in range(count)]


Manifest = dict[str, ArrayEntry]
"""By file name: ``train-image.npy``, ``train-<head>.npy``, of a large set also
``train-image.crc32.npy``; none for an empty split."""


def sums_name(name: str) -> str:
    """Return the name of the checksums of an array's rows."""
    return name.removesuffix(".npy") + SUMS


def write_manifest(manifest: Manifest, report: DataReport) -> bytes:
    """Return a manifest as a sealed record, with what the check of the set has told."""
    entries = {
        name: {
            "dtype": entry.dtype,
            "shape": list(entry.shape),
            "bytes": entry.num_bytes,
            "sha256": entry.sha256,
        }
        for name, entry in manifest.items()
    }
    told = {"fingerprint": report.info.fingerprint, "report": plain_json(report)}
    return seal(KIND, {**told, "arrays": entries})


def read_manifest(store: Store, fingerprint: str) -> Manifest:
    """Return the manifest of a decoded set."""
    with _reading(store, fingerprint) as values:
        found = {_plain(name): _entry(entry) for name, entry in values["arrays"].items()}
        _check_whole(found)
        return found


def read_report(store: Store, fingerprint: str) -> DataReport:
    """Return what the check of a decoded set has told; version 1 of the rules kept nothing."""
    with _reading(store, fingerprint) as values:
        return convert(values["report"], DataReport)


@contextmanager
def _reading(store: Store, fingerprint: str) -> Iterator[dict[str, Any]]:
    """Yield the values of a set's manifest; what is wrong with them is told in our words."""
    where = f"decoded data {fingerprint[:12]}... in {store.uri!r}"
    try:
        values = unseal(KIND, store.get(f"{fingerprint}/{MANIFEST}"), MANIFEST)
        if values["fingerprint"] != fingerprint:
            raise ValueError(f"it belongs to {values['fingerprint']!r}")
        yield values
    except FileNotFoundError as error:
        raise StorageError(f"{where} need to be decoded first, got no manifest") from error
    except (ValueError, KeyError, TypeError, AttributeError, StorageError) as error:
        said = "it is damaged" if isinstance(error, DamagedRecord) else str(error)
        raise StorageError(
            f"{where} need a whole manifest, got: {said}; run or resume the study, which decodes "
            "them anew"
        ) from error


def check_files(folder: Path, manifest: Manifest) -> None:
    """Make sure that every array of a set is what was decoded.

    By its SHA-256, once for each process and set: 15 MB take about 15 ms. What has checksums of
    its rows is left to who reads them; of that only the size is compared.
    """
    for name, entry in manifest.items():
        with open_array(folder / name, entry, whole=sums_name(name) not in manifest):
            pass


@contextmanager
def open_array(path: Path, entry: ArrayEntry, *, whole: bool) -> Iterator[BufferedReader]:
    """Open the file of an array, checked.

    What changes in it while it is open, or mapped, is not seen any more.
    """
    try:
        file = open(path, "rb", opener=open_plain)  # noqa: SIM115 - yielded
    except FileNotFoundError as error:
        raise damaged(path, f"needs {entry.num_bytes} bytes, got no such file") from error
    except OSError as error:
        raise damaged(path, f"cannot be opened: {error.strerror}") from error
    with file, storage_errors(f"read {str(path)!r}"):
        size = os.fstat(file.fileno()).st_size
        if size != entry.num_bytes:
            raise damaged(path, f"needs {entry.num_bytes} bytes, got {size} bytes")
        if whole and hashlib.file_digest(file, "sha256").hexdigest() != entry.sha256:
            raise damaged(path, "needs the content it was written with, got another SHA-256")
        file.seek(0)
        yield file


def damaged(path: Path | str, what: str) -> DamagedData:
    """Return the error of an array that is not what was decoded."""
    return DamagedData(
        f"decoded array {str(path)!r} {what}; run or resume the study, which makes it anew"
    )


def mark_damaged(store: Store, fingerprint: str) -> None:
    """Let the next run know that a set must be made anew; where that can be written."""
    with suppress(StorageError):
        store.put(f"{fingerprint}/{DAMAGED}", b"")


def has_files(folder: Path, manifest: Manifest) -> bool:
    """Tell whether every file of a manifest is there in its full size, and none known damaged."""
    if os.path.lexists(folder / DAMAGED):
        return False
    try:
        for name, entry in manifest.items():
            with open_array(folder / name, entry, whole=False):
                pass
    except StorageError:
        return False
    return True


def _check_whole(manifest: Manifest) -> None:
    """Refuse a manifest whose splits have different arrays: a name in it was damaged."""
    columns = {
        split: {name.removeprefix(f"{split}-") for name in manifest if name.startswith(split)}
        for split in SPLITS
    }
    first = columns[SPLITS[0]]
    is_same = all(names == first for names in columns.values())
    if (
        not is_same
        or len(manifest) != len(SPLITS) * len(first)
        or f"{IMAGE_COLUMN}.npy" not in first
    ):
        raise InputError("its splits have different arrays")


def _plain(name: str) -> str:
    if "/" in name or not name.endswith(".npy"):
        raise InputError(f"array {name!r} is no name of a file")
    return name


def _entry(values: Mapping[str, Any]) -> ArrayEntry:
    return ArrayEntry(
        dtype=str(values["dtype"]),
        shape=tuple(int(side) for side in values["shape"]),
        num_bytes=int(values["bytes"]),
        sha256=str(values["sha256"]),
    )


def row_sums(rows: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Return the CRC-32 of each row ``(rows, ...)``; some 1.7 GB/s, twice as fast as SHA-256."""
    return np.array([zlib.crc32(np.ascontiguousarray(row).data) for row in rows], "<u4")


@final
class RowSums:
    """Compares rows of images with the checksums that they had when they were decoded."""

    def __init__(self, path: Path, sums: NDArray[np.uint32]) -> None:
        self._path = path
        self._sums = sums
        self._is_known = np.zeros(len(sums), bool)

    def __call__(self, chosen: NDArray[np.int64], rows: NDArray[np.uint8]) -> None:
        """Compare rows that this process has not compared yet."""
        for place in np.flatnonzero(~self._is_known[chosen]).tolist():
            number = int(chosen[place])
            if zlib.crc32(rows[place].data) != self._sums[number]:
                folder = self._path.parent
                mark_damaged(Store(folder.parent), folder.name)
                raise damaged(self._path, f"needs row {number} as it was decoded, got another")
        self._is_known[chosen] = True
