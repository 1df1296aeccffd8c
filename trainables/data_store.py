"""The decoded arrays of a data set: their manifest, their check, their memory maps."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.data_baselines import Labels
from trainables.data_cache import copy_to_cache, default_cache
from trainables.data_manifest import DATA_FOLDER, ArrayEntry, Manifest, check_file, read_manifest
from trainables.data_values import IMAGE_COLUMN, SPLITS
from trainables.errors import StorageError
from trainables.store import Store


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
    storage_uri: str,
    fingerprint: str,
    cache: Path | None = None,
    *,
    verify: bool = False,
    copy: bool = False,
) -> Dataset:
    """Map the arrays that ``decode_dataset`` wrote.

    The size of every file is compared with the manifest. Arrays in a remote storage, or with
    ``copy``, are first copied to this node, once, and their SHA-256 is compared as well.

    Args:
        storage_uri: The storage given to ``decode_dataset``.
        fingerprint: The data set's ``DataInfo.fingerprint``.
        cache: Folder for copies; by default one of this user's in the system's
            folder for temporary files.
        verify: Compare the SHA-256 of local files, too; reads all of them.
        copy: Copy from a local folder, too: for one that several nodes share, which is slower
            to map than a node's own disk.

    Raises:
        StorageError: If nothing whole of that fingerprint lies there.
        StorageFull: If the cache has no room.
    """
    store = Store(storage_uri).child(DATA_FOLDER)
    manifest = read_manifest(store, fingerprint)
    if store.root is not None and not copy:
        folder = store.root / fingerprint
    else:
        folder = copy_to_cache(store, fingerprint, manifest, cache or default_cache())
    for name, entry in manifest.items():
        check_file(folder / name, entry, verify=verify)
    splits = tuple(_map_split(folder, split, manifest) for split in SPLITS)
    return Dataset(fingerprint=fingerprint, splits=splits)


def _map_split(folder: Path, split: str, manifest: Manifest) -> Split:
    arrays = {
        name.removeprefix(f"{split}-").removesuffix(".npy"): _map(folder / name, entry)
        for name, entry in manifest.items()
        if name.startswith(f"{split}-")
    }
    images = arrays.pop(IMAGE_COLUMN)
    return Split(name=split, images=images, labels=arrays)


def _map(path: Path, entry: ArrayEntry) -> Any:
    """Map an array; one of no rows cannot be mapped and is made instead."""
    if 0 in entry.shape:
        return np.zeros(entry.shape, dtype=entry.dtype)
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise StorageError(f"decoded array {str(path)!r} cannot be mapped: {error}") from error
    if (array.dtype.str, array.shape) != (entry.dtype, entry.shape):
        raise StorageError(
            f"decoded array {str(path)!r} needs {entry.dtype} {entry.shape}, "
            f"got {array.dtype.str} {array.shape}"
        )
    return array
