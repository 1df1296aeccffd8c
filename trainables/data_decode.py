"""Decodes a checked data set once, into arrays that every trial maps."""

import hashlib
import io
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.data_check import Inspection, fingerprint_of, inspect_dataset
from trainables.data_files import Source
from trainables.data_images import ImageProblem, bombs_are_errors
from trainables.data_manifest import (
    DATA_FOLDER,
    MANIFEST,
    PART_BYTES,
    ArrayEntry,
    Manifest,
    has_files,
    move_into_place,
    read_manifest,
    write_manifest,
)
from trainables.data_problems import Problems
from trainables.data_values import IMAGE_COLUMN, SPLITS, DataInfo, DataRequest
from trainables.errors import InputError, StorageError, StorageFull
from trainables.local import TEMPORARY, storage_errors
from trainables.store import Store

MAX_THREADS = 4
STALE_SECONDS = 86_400.0
"""Unfinished folders of killed decoders are removed after this time."""


def decode_dataset(request: DataRequest, info: DataInfo, storage_uri: str) -> None:
    """Decode a data set into ``<storage>/.data/<fingerprint>``, unless it is there already.

    One ``.npy`` file per split and column: ``<split>-image.npy`` uint8 ``(n, h, w, c)``,
    ``<split>-<head>.npy``; the manifest with sizes and SHA-256 comes last. It is built under a
    temporary name and renamed, so no reader sees a part of it, and any number of processes may
    decode the same set at once. Memory is bounded whatever the size of the set.

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
    if _is_decoded(store, info.fingerprint):
        return
    inspection = inspect_dataset(request)
    _check_unchanged(request, info, inspection.info.fingerprint)
    with _writing(store.uri), ExitStack() as stack:
        folder = stack.enter_context(_temporary_folder(store, info.fingerprint))
        _check_room(folder, inspection)
        manifest = _write_arrays(folder, inspection)
        _check_unchanged(request, info, fingerprint_of(request, Source(request.uri)))
        if store.root is None:
            _upload(store, info.fingerprint, folder, manifest)
        else:
            _finish(folder, store, info.fingerprint, manifest)


def is_decoded(info: DataInfo, storage_uri: str) -> bool:
    """Tell whether a storage has a data set's arrays, all of them, in their whole length."""
    return _is_decoded(Store(storage_uri).child(DATA_FOLDER), info.fingerprint)


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
    except StorageError:
        return False
    return store.root is None or has_files(store.root / fingerprint, manifest)


def _check_unchanged(request: DataRequest, info: DataInfo, fingerprint: str) -> None:
    if fingerprint != info.fingerprint:
        raise InputError(
            f"data {request.uri!r} needs to stay as it was checked "
            f"({info.fingerprint[:12]}...), got other content ({fingerprint[:12]}...)"
        )


@contextmanager
def _writing(uri: str) -> Iterator[None]:
    try:
        with storage_errors(f"write decoded data to {uri!r}"):
            yield
    except FileNotFoundError as error:
        raise StorageError(f"cannot write decoded data to {uri!r}: its folder is gone") from error


@contextmanager
def _temporary_folder(store: Store, fingerprint: str) -> Iterator[Path]:
    """Make a folder to build in, beside the final place if that is local; remove it after."""
    if store.root is None:
        with tempfile.TemporaryDirectory(prefix="twohead-data-") as name:
            yield Path(name)
        return
    _remove_stale(store.root)
    folder = store.root / f"{TEMPORARY}{fingerprint[:16]}-{uuid.uuid4().hex}"
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_stale(root: Path) -> None:
    now = time.time()
    for folder in root.glob(f"{TEMPORARY}*"):
        with suppress(OSError):
            if now - folder.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)


def _check_room(folder: Path, inspection: Inspection) -> None:
    """Refuse early what the disk could not hold."""
    height, width, channels = inspection.info.image_shape
    needed = inspection.source.num_rows * height * width * channels
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise StorageFull(
            f"decoded data need {needed} bytes in {str(folder.parent)!r}, got {free} free; "
            "free some space, or set a smaller image_size"
        )


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
        _write_images([writers[f"{split}-{IMAGE_COLUMN}.npy"] for split in SPLITS], inspection)
        return {name: writer.finish() for name, writer in writers.items()}


def _layout(inspection: Inspection) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """Yield name, dtype and shape of every array."""
    for split in SPLITS:
        rows = inspection.info.rows[split]
        yield f"{split}-{IMAGE_COLUMN}.npy", "|u1", (rows, *inspection.info.image_shape)
        for labels in inspection.labels:
            dtype = "<i4" if labels.head.kind == "classification" else "<f4"
            yield f"{split}-{labels.head.name}.npy", dtype, (rows, *labels.values.shape[1:])


def _write_images(writers: list[ArrayWriter], inspection: Inspection) -> None:
    """Decode all images in bounded batches; after a first bad one only look for others.

    Raises:
        InputError: With all images that cannot be used.
    """
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
    problems = Problems(source.uri, source.place)
    rows = np.array(sorted(reasons), dtype=np.intp)
    problems.add_rows("every image needs to be decodable", rows, reasons.__getitem__)
    problems.raise_if_any()


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
    move_into_place(folder, target, lambda: _is_decoded(store, fingerprint))
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
