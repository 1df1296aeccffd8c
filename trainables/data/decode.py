"""Decodes a checked data set once, into arrays that every trial maps."""

import hashlib
import io
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.data.check import Inspection, fingerprint_of, inspect_dataset
from trainables.data.folders import (
    folder_errors,
    is_folder,
    move_into_place,
    remove_old,
    temporary_name,
)
from trainables.data.images import ImageProblem, bombs_are_errors
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
    row_sums,
    sums_name,
    write_manifest,
)
from trainables.data.parquet import Source
from trainables.data.request import IMAGE_COLUMN, SPLITS, DataInfo, DataRequest
from trainables.errors import InputError, StorageError, StorageFull
from trainables.spec.problems import Problems
from trainables.storage.store import Store

MAX_THREADS = 4
WHOLE_BYTES = 2**30
"""Images that take more have a checksum a row, compared when the row is first read: to read all
of them in every process, for their SHA-256 alone, would take seconds."""


def decode_dataset(request: DataRequest, info: DataInfo, storage_uri: str) -> None:
    """Decode a data set into ``<storage>/.data/<fingerprint>``, unless it is there undamaged.

    One ``.npy`` file per split and column: ``<split>-image.npy`` uint8 ``(n, h, w, c)``,
    ``<split>-<head>.npy``; the sealed manifest with sizes and SHA-256 comes last. It is built
    under a temporary name and renamed, so no reader sees a part of it, and any number of
    processes may decode the same set at once. Memory is bounded whatever the size of the set.

    Args:
        request: As given to ``check_dataset``.
        info: What that returned.
        storage_uri: The folder or URI of the storage.

    Raises:
        InputError: If images cannot be decoded (all are listed at once), or the data are no
            longer those that were checked.
        StorageFull: If there is no room.
        StorageError: If the storage refuses.
    """
    store = Store(storage_uri).child(DATA_FOLDER)
    if _is_intact(store, info.fingerprint):
        return
    inspection = inspect_dataset(request)
    _check_unchanged(request, info, inspection.info.fingerprint)
    with folder_errors(f"write decoded data to {store.uri!r}"), ExitStack() as stack:
        folder = stack.enter_context(_temporary_folder(store, info.fingerprint))
        _check_room(folder, inspection)
        manifest = _write_arrays(folder, inspection)
        _check_unchanged(request, info, fingerprint_of(request, Source(request.uri)))
        if store.root is None:
            _upload(store, info.fingerprint, folder, manifest)
        else:
            _finish(folder, store, info.fingerprint, manifest)


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


def _is_intact(store: Store, fingerprint: str) -> bool:
    if not _is_decoded(store, fingerprint):
        return False
    if store.root is not None:
        try:
            check_files(store.root / fingerprint, read_manifest(store, fingerprint))
        except StorageError:
            return False
    return True


def _check_unchanged(request: DataRequest, info: DataInfo, fingerprint: str) -> None:
    if fingerprint != info.fingerprint:
        raise InputError(
            f"data {request.uri!r} needs to stay as it was checked "
            f"({info.fingerprint[:12]}...), got other content ({fingerprint[:12]}...)"
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


def _check_room(folder: Path, inspection: Inspection) -> None:
    """Refuse early what the disk could not hold."""
    needed = _num_image_bytes(inspection)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise StorageFull(
            f"decoded data need {needed} bytes in {str(folder.parent)!r}, got {free} free; "
            "free some space, or set a smaller image_size"
        )


def _num_image_bytes(inspection: Inspection) -> int:
    return inspection.source.num_rows * math.prod(inspection.info.image_shape)


def _write_arrays(folder: Path, inspection: Inspection) -> Manifest:
    with ExitStack() as stack:
        writers: dict[str, ArrayWriter] = {}
        for name, dtype, shape in _layout(inspection):
            writers[name] = ArrayWriter(folder / name, dtype, shape)
            stack.callback(writers[name].close)
        for labels in inspection.labels:
            for place, split in enumerate(SPLITS):
                rows = labels.values[inspection.splits == place]
                writers[f"{split}-{labels.head.name}.npy"].write(rows)
        _write_images([_ImageWriter(writers, split) for split in SPLITS], inspection)
        return {name: writer.finish() for name, writer in writers.items()}


def _layout(inspection: Inspection) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """Yield name, dtype and shape of every array."""
    for split in SPLITS:
        rows = inspection.info.rows[split]
        yield f"{split}-{IMAGE_COLUMN}.npy", "|u1", (rows, *inspection.info.image_shape)
        if _num_image_bytes(inspection) > WHOLE_BYTES:
            yield sums_name(f"{split}-{IMAGE_COLUMN}.npy"), "<u4", (rows,)
        for labels in inspection.labels:
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


def _write_images(writers: list[_ImageWriter], inspection: Inspection) -> None:
    """Decode all images in bounded batches; after a first bad one only look for others."""
    reasons: dict[int, str] = {}
    num_threads = min(MAX_THREADS, os.cpu_count() or 1)
    with bombs_are_errors(), ThreadPoolExecutor(num_threads) as pool:
        decode = partial(_decode_or_reason, inspection)
        for start, images in inspection.column.images(inspection.source):
            decoded = list(pool.map(decode, images))
            bad = {start + i: one for i, one in enumerate(decoded) if isinstance(one, str)}
            reasons.update(bad)
            if not reasons:
                batch = np.stack([one for one in decoded if not isinstance(one, str)])
                splits = inspection.splits[start : start + len(batch)]
                for place, writer in enumerate(writers):
                    writer.write(batch[splits == place])
    source = inspection.source
    problems = Problems(f"data {source.uri!r}", source.place)
    rows = np.array(sorted(reasons), dtype=np.intp)
    problems.note_rows("every image needs to be decodable", rows, reasons.__getitem__)
    problems.refuse_any()


def _decode_or_reason(inspection: Inspection, image: Any) -> NDArray[np.uint8] | str:
    try:
        return inspection.column.decode(image, inspection.rule)
    except ImageProblem as problem:
        return str(problem)


def _finish(folder: Path, store: Store, fingerprint: str, manifest: Manifest) -> None:
    """Write the manifest last and rename the folder to its name."""
    data = write_manifest(manifest, fingerprint)
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


def _upload(store: Store, fingerprint: str, folder: Path, manifest: Manifest) -> None:
    """Put every array in pieces that are named by its content, then the manifest."""
    for name, entry in manifest.items():
        with (folder / name).open("rb") as file:
            for part in entry.parts(name):
                store.put(f"{fingerprint}/{part}", file.read(PART_BYTES))
    store.put(f"{fingerprint}/{MANIFEST}", write_manifest(manifest, fingerprint))
    store.delete(f"{fingerprint}/{DAMAGED}")
