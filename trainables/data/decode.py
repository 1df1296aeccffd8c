"""Decodes a checked data set once, into arrays that every trial maps."""

import hashlib
import io
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.data.check import (
    CheckedData,
    Inspection,
    check_dataset,
    conclude,
    fingerprint_of,
    inspect_dataset,
    with_depth,
)
from trainables.data.folders import (
    folder_errors,
    is_folder,
    move_into_place,
    remove_old,
    temporary_name,
)
from trainables.data.manifest import (
    DAMAGED,
    DATA_FOLDER,
    MANIFEST,
    PART_BYTES,
    ArrayEntry,
    Manifest,
    check_files,
    has_files,
    read_manifest,
    read_report,
    row_sums,
    sums_name,
    write_manifest,
)
from trainables.data.parquet import Source
from trainables.data.pixels import Pixels, decode_all
from trainables.data.request import IMAGE_COLUMN, SPLITS, DataInfo, DataReport, DataRequest
from trainables.errors import InputError, StorageError, StorageFull
from trainables.storage.store import Store

WHOLE_BYTES = 2**30
"""Images that take more have a checksum a row, compared when the row is first read: to read all
of them in every process, for their SHA-256 alone, would take seconds."""


def decode_dataset(request: DataRequest, fingerprint: str, storage_uri: str) -> DataReport:
    """Check a data set and decode it into ``<storage>/.data/<fingerprint>``.

    One ``.npy`` file per split and column: ``<split>-image.npy`` uint8 ``(n, h, w, c)``,
    ``<split>-<head>.npy``; the sealed manifest with sizes and SHA-256 comes last. It is built
    under a temporary name and renamed, so no reader sees a part of it, and any number of
    processes may decode the same set at once. Memory is bounded whatever the size of the set.

    Args:
        request: As given to ``inspect_dataset``.
        fingerprint: What the set had then.
        storage_uri: The folder or URI of the storage.

    Raises:
        InputError: With every problem of the set, or if the data are no longer those that were
            looked at.
        StorageFull: If there is no room.
        StorageError: If the storage refuses.
    """
    store = Store(storage_uri).child(DATA_FOLDER)
    if _is_intact(store, fingerprint) and (known := _report(store, fingerprint)):
        return known
    inspection = with_depth(inspect_dataset(request))
    _check_unchanged(request, fingerprint, fingerprint_of(request, inspection.source))
    try:
        guess = conclude(inspection, None)
    except InputError:
        return check_dataset(request)  # refuses all that there is to refuse
    with folder_errors(f"write decoded data to {store.uri!r}"), ExitStack() as stack:
        folder = stack.enter_context(_temporary_folder(store, fingerprint))
        checked, manifest = _write_settled(folder, inspection, guess)
        _check_unchanged(request, fingerprint, fingerprint_of(request, Source(request.uri)))
        if store.root is None:
            _upload(store, folder, manifest, checked.report)
        else:
            _finish(folder, store, manifest, checked.report)
    return checked.report


def decoded_report(fingerprint: str, storage_uri: str) -> DataReport | None:
    """Return what was told of a set that a storage has decoded; None if it has none of it."""
    store = Store(storage_uri).child(DATA_FOLDER)
    return _report(store, fingerprint) if _is_decoded(store, fingerprint) else None


def is_decoded(info: DataInfo, storage_uri: str) -> bool:
    """Tell whether a storage has a data set's arrays, all of them, in their whole length.

    Takes next to no time; `is_intact` reads them.
    """
    return _is_decoded(Store(storage_uri).child(DATA_FOLDER), info.fingerprint)


def is_intact(info: DataInfo, storage_uri: str) -> bool:
    """Tell whether a storage has a data set's arrays, as far as can be told without long reading.

    The SHA-256 of local files is compared, but that of the images of a set over
    ``WHOLE_BYTES``; those of a remote storage are compared by each node that copies them.
    """
    return _is_intact(Store(storage_uri).child(DATA_FOLDER), info.fingerprint)


class ArrayWriter:
    """Writes one ``.npy`` file row by row; a full disk is an error, never a torn map."""

    def __init__(self, path: Path, dtype: str, shape: tuple[int, ...]) -> None:
        self._file = path.open("xb")
        self._dtype = np.dtype(dtype)
        self._shape = shape
        self._digest = hashlib.sha256()
        self._bytes = 0
        header = io.BytesIO()
        layout = {"descr": self._dtype.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(header, layout)
        try:
            self._put(header.getbuffer())
        except OSError:
            self.close()
            raise

    def write(self, rows: NDArray[Any]) -> None:
        """Append rows ``(n, *shape[1:])``."""
        if len(rows):
            self._put(np.ascontiguousarray(rows, dtype=self._dtype).data.cast("B"))

    def finish(self) -> ArrayEntry:
        """Make the file durable and return its manifest entry."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return ArrayEntry(
            dtype=self._dtype.str,
            shape=self._shape,
            num_bytes=self._bytes,
            sha256=self._digest.hexdigest(),
        )

    def close(self) -> None:
        """Release the file, whatever its state."""
        with suppress(OSError):
            self._file.close()

    def _put(self, data: memoryview) -> None:
        self._file.write(data)
        self._digest.update(data)
        self._bytes += len(data)


def _is_decoded(store: Store, fingerprint: str) -> bool:
    try:
        manifest = read_manifest(store, fingerprint)
        if store.root is None:
            return not store.exists(f"{fingerprint}/{DAMAGED}")
    except StorageError:
        return False
    folder = store.root / fingerprint
    return is_folder(folder) and has_files(folder, manifest)


def _report(store: Store, fingerprint: str) -> DataReport | None:
    try:
        return read_report(store, fingerprint)
    except StorageError:
        return None


def _is_intact(store: Store, fingerprint: str) -> bool:
    if not _is_decoded(store, fingerprint):
        return False
    if store.root is not None:
        try:
            check_files(store.root / fingerprint, read_manifest(store, fingerprint))
        except StorageError:
            return False
    return True


def _check_unchanged(request: DataRequest, before: str, now: str) -> None:
    if now != before:
        raise InputError(
            f"data {request.uri!r} needs to stay as it was checked ({before[:12]}...), got other "
            f"content ({now[:12]}...)"
        )


@contextmanager
def _temporary_folder(store: Store, fingerprint: str) -> Iterator[Path]:
    """Make a folder to build in, beside the final place if that is local; remove it after."""
    if store.root is None:
        with tempfile.TemporaryDirectory(prefix="twohead-data-") as name:
            yield Path(name)
        return
    store.make()
    remove_old(store.root)
    folder = store.root / temporary_name(fingerprint)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _check_room(folder: Path, checked: CheckedData) -> None:
    """Refuse early what the disk could not hold."""
    needed = _num_image_bytes(checked)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise StorageFull(
            f"decoded data need {needed} bytes in {str(folder.parent)!r}, got {free} free; "
            "free some space, or set a smaller image_size"
        )


def _num_image_bytes(checked: CheckedData) -> int:
    return sum(checked.info.rows.values()) * math.prod(checked.info.image_shape)


def _write_settled(
    folder: Path, inspection: Inspection, guess: CheckedData
) -> tuple[CheckedData, Manifest]:
    """Write the arrays of the splits that hold once all images are decoded.

    Which images are equal or cannot be decoded is known only then. Most often there are none, and
    what was written by the splits without them holds; else it is written again.
    """
    _check_room(folder, guess)
    while True:
        manifest, pixels = _write_arrays(folder, guess)
        checked = conclude(inspection, pixels)
        if np.array_equal(checked.splits, guess.splits):
            return checked, manifest
        for name in manifest:
            (folder / name).unlink()
        guess = checked


def _write_arrays(folder: Path, checked: CheckedData) -> tuple[Manifest, Pixels]:
    with ExitStack() as stack:
        writers: dict[str, ArrayWriter] = {}
        for name, dtype, shape in _layout(checked):
            writers[name] = ArrayWriter(folder / name, dtype, shape)
            stack.callback(writers[name].close)
        for labels in checked.labels:
            for place, split in enumerate(SPLITS):
                rows = labels.values[checked.splits == place]
                writers[f"{split}-{labels.head.name}.npy"].write(rows)
        images = [_ImageWriter(writers, split) for split in SPLITS]

        def take(rows: NDArray[np.intp], decoded: NDArray[np.uint8]) -> None:
            for place, writer in enumerate(images):
                writer.write(decoded[checked.splits[rows] == place])

        pixels = decode_all(checked.source, checked.column, checked.rule, take)
        return {name: writer.finish() for name, writer in writers.items()}, pixels


def _layout(checked: CheckedData) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """Yield name, dtype and shape of every array."""
    for split in SPLITS:
        rows = checked.info.rows[split]
        yield f"{split}-{IMAGE_COLUMN}.npy", "|u1", (rows, *checked.info.image_shape)
        if _num_image_bytes(checked) > WHOLE_BYTES:
            yield sums_name(f"{split}-{IMAGE_COLUMN}.npy"), "<u4", (rows,)
        for labels in checked.labels:
            dtype = "<i4" if labels.head.kind == "classification" else "<f4"
            yield f"{split}-{labels.head.name}.npy", dtype, (rows, *labels.values.shape[1:])


class _ImageWriter:
    """Writes the images of a split and, where the layout has them, the checksums of its rows."""

    def __init__(self, writers: Mapping[str, ArrayWriter], split: str) -> None:
        name = f"{split}-{IMAGE_COLUMN}.npy"
        self._images = writers[name]
        self._sums = writers.get(sums_name(name))

    def write(self, rows: NDArray[np.uint8]) -> None:
        """Append images ``(n, height, width, channels)``."""
        self._images.write(rows)
        if self._sums is not None:
            self._sums.write(row_sums(rows))


def _finish(folder: Path, store: Store, manifest: Manifest, report: DataReport) -> None:
    """Write the manifest last and rename the folder to its name."""
    data, fingerprint = write_manifest(manifest, report), report.info.fingerprint
    with (folder / MANIFEST).open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    _sync_folder(folder)
    target = folder.parent / fingerprint
    move_into_place(folder, target, lambda: _is_intact(store, fingerprint))
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _upload(store: Store, folder: Path, manifest: Manifest, report: DataReport) -> None:
    """Put every array in pieces that are named by its content, then the manifest."""
    fingerprint = report.info.fingerprint
    for name, entry in manifest.items():
        with (folder / name).open("rb") as file:
            for part in entry.parts(name):
                store.put(f"{fingerprint}/{part}", file.read(PART_BYTES))
    store.put(f"{fingerprint}/{MANIFEST}", write_manifest(manifest, report))
    store.delete(f"{fingerprint}/{DAMAGED}")
