"""The decoded arrays of a data set: their manifest, their check, their memory maps."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.data.cache import copy_to_cache, default_cache
from trainables.data.folders import discard
from trainables.data.labels import Labels
from trainables.data.manifest import (
    DATA_FOLDER,
    SUMS,
    DamagedData,
    Manifest,
    RowSums,
    damaged,
    mark_damaged,
    open_array,
    read_manifest,
    sums_name,
)
from trainables.data.request import IMAGE_COLUMN, SPLITS
from trainables.storage.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The rows of one split, in the order of the data set."""

    name: str
    """One of ``SPLITS``."""

    images: NDArray[np.uint8]
    """Shape ``(rows, height, width, channels)``, 0..255, a read-only memory map."""

    labels: dict[str, Labels]
    """By head: class ids int32 ``(rows,)``, numbers float32 ``(rows, units)``, boxes float32
    ``(rows, 4)`` as yxyx fractions; read-only memory maps."""

    check_images: RowSums | None = None
    """Compares rows of a large set when they are read; None where all have been compared."""

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A decoded data set, mapped."""

    fingerprint: str
    splits: tuple[Split, ...]
    """In the order of ``SPLITS``; one may have no rows."""

    def split(self, name: str) -> Split:
        """Return a split by name: ``train``, ``validation`` or ``test``.

        Raises:
            KeyError: If it is none of these words.
        """
        return {split.name: split for split in self.splits}[name]


def open_dataset(
    storage_uri: str, fingerprint: str, cache: Path | None = None, *, copy: bool = False
) -> Dataset:
    """Map the arrays that ``decode_dataset`` wrote, checked.

    Every file's SHA-256 is compared with the sealed manifest, but that of the images of a large
    set, whose rows have checksums of their own and are compared when they are first read
    (`trainables.training.feeding`). Bytes that change after that, while they are mapped, are not
    seen. Arrays in a remote storage, or with ``copy``, are first copied to this node, once; a
    copy that is damaged is made anew.

    Args:
        storage_uri: The storage given to ``decode_dataset``.
        fingerprint: The data set's ``DataInfo.fingerprint``.
        cache: Folder for copies, this user's alone; by default `data_cache.default_cache`.
        copy: Copy from a local folder, too: for one that several nodes share, which is slower
            to map than a node's own disk.

    Raises:
        DamagedData: If an array of the storage is not what was decoded.
        StorageError: If nothing whole of that fingerprint lies there.
        StorageFull: If the cache has no room.
    """
    store = Store(storage_uri).child(DATA_FOLDER)
    manifest = read_manifest(store, fingerprint)
    if store.root is not None and not copy:
        try:
            return _map_all(store.root / fingerprint, fingerprint, manifest)
        except DamagedData:
            mark_damaged(store, fingerprint)
            raise
    folder = copy_to_cache(store, fingerprint, manifest, cache or default_cache())
    try:
        return _map_all(folder, fingerprint, manifest)
    except DamagedData:
        discard(folder)
    copy_to_cache(store, fingerprint, manifest, folder.parent)
    return _map_all(folder, fingerprint, manifest)


def _map_all(folder: Path, fingerprint: str, manifest: Manifest) -> Dataset:
    splits = tuple(_map_split(folder, split, manifest) for split in SPLITS)
    return Dataset(fingerprint=fingerprint, splits=splits)


def _map_split(folder: Path, split: str, manifest: Manifest) -> Split:
    arrays = {
        _column(name.removeprefix(f"{split}-")): _map(folder / name, manifest)
        for name in manifest
        if name.startswith(f"{split}-")
    }
    images, sums = arrays.pop(IMAGE_COLUMN), arrays.pop(f"{IMAGE_COLUMN}{SUMS}", None)
    check = None if sums is None else RowSums(folder / f"{split}-{IMAGE_COLUMN}.npy", sums)
    return Split(name=split, images=images, check_images=check, labels=arrays)


def _column(name: str) -> str:
    """Return an array's column; checksums keep their ending, which no head's name has."""
    return name if name.endswith(SUMS) else name.removesuffix(".npy")


def _map(path: Path, manifest: Manifest) -> Any:
    """Map an array; one of no rows cannot be mapped and is made instead."""
    entry = manifest[path.name]
    with open_array(path, entry, whole=sums_name(path.name) not in manifest) as file:
        try:
            np.lib.format.read_magic(file)
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        except ValueError as error:
            raise damaged(path, f"cannot be mapped: {error}") from error
        if (dtype.str, shape) != (entry.dtype, entry.shape):
            raise damaged(path, f"needs {entry.dtype} {entry.shape}, got {dtype.str} {shape}")
        if 0 in shape:
            return np.zeros(shape, dtype=dtype)
        return np.memmap(file, dtype=dtype, mode="r", offset=file.tell(), shape=shape)
