"""The decoded arrays of a data set: their manifest, their check, their memory maps."""

import hashlib
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.data_baselines import Labels
from trainables.data_values import IMAGE_COLUMN, SPLITS
from trainables.errors import StorageError
from trainables.local import TEMPORARY, storage_errors
from trainables.store import Store

DATA_FOLDER = ".data"
MANIFEST = "manifest.json"
PART_BYTES = 64 * 2**20
"""A remote storage gets arrays in pieces of this size, so that no one holds a whole array."""

_CHUNK_BYTES = 2**20


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
"""By file name: ``train-image.npy``, ``train-<head>.npy``; none for an empty split."""


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
    storage_uri: str, fingerprint: str, cache: Path | None = None, *, verify: bool = False
) -> Dataset:
    """Map the arrays that ``decode_dataset`` wrote.

    The size of every file is compared with the manifest. Arrays in a remote storage are first
    copied to this node, once, and their SHA-256 is compared as well.

    Args:
        storage_uri: The storage given to ``decode_dataset``.
        fingerprint: The data set's ``DataInfo.fingerprint``.
        cache: Folder for copies of remote arrays; by default one of this user's in the system's
            folder for temporary files.
        verify: Compare the SHA-256 of local files, too; reads all of them.

    Raises:
        StorageError: If nothing whole of that fingerprint lies there.
        StorageFull: If the cache has no room.
    """
    store = Store(storage_uri).child(DATA_FOLDER)
    manifest = read_manifest(store, fingerprint)
    if store.root is not None:
        folder = store.root / fingerprint
    else:
        folder = _copy_to_cache(store, fingerprint, manifest, cache or _default_cache())
    for name, entry in manifest.items():
        check_file(folder / name, entry, verify=verify)
    splits = tuple(_map_split(folder, split, manifest) for split in SPLITS)
    return Dataset(fingerprint=fingerprint, splits=splits)


def write_manifest(manifest: Mapping[str, ArrayEntry], fingerprint: str) -> bytes:
    """Return a manifest as JSON bytes."""
    entries = {
        name: {
            "dtype": entry.dtype,
            "shape": list(entry.shape),
            "bytes": entry.num_bytes,
            "sha256": entry.sha256,
        }
        for name, entry in manifest.items()
    }
    text = json.dumps({"fingerprint": fingerprint, "arrays": entries}, indent=1, sort_keys=True)
    return f"{text}\n".encode()


def read_manifest(store: Store, fingerprint: str) -> Manifest:
    """Return the manifest of a decoded set.

    Raises:
        StorageError: If there is none, or not a whole one of this fingerprint.
    """
    where = f"decoded data {fingerprint[:12]}... in {store.uri!r}"
    try:
        values = json.loads(store.get(f"{fingerprint}/{MANIFEST}"))
        if values["fingerprint"] != fingerprint:
            raise ValueError(f"it belongs to {values['fingerprint']!r}")
        return {_plain(name): _entry(entry) for name, entry in values["arrays"].items()}
    except FileNotFoundError as error:
        raise StorageError(f"{where} need to be decoded first, got no manifest") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StorageError(f"{where} need a whole manifest: {error}; delete the folder") from error


def check_file(path: Path, entry: ArrayEntry, *, verify: bool) -> None:
    """Compare a file with its manifest entry.

    Raises:
        StorageError: If it is missing, has another size or, with ``verify``, another content.
    """
    size = path.stat().st_size if path.is_file() else -1
    if size != entry.num_bytes:
        got = f"{size} bytes" if size >= 0 else "no such file"
        raise StorageError(f"decoded array {str(path)!r} needs {entry.num_bytes} bytes, got {got}")
    if verify and _hash_file(path) != entry.sha256:
        raise StorageError(f"decoded array {str(path)!r} needs the content it was written with")


def has_files(folder: Path, manifest: Manifest) -> bool:
    """Tell whether every file of a manifest is there in its full size."""
    paths = {folder / name: entry for name, entry in manifest.items()}
    return all(p.is_file() and p.stat().st_size == e.num_bytes for p, e in paths.items())


def _plain(name: str) -> str:
    if "/" in name or not name.endswith(".npy"):
        raise ValueError(f"array {name!r} is no name of a file")
    return name


def _entry(values: Mapping[str, Any]) -> ArrayEntry:
    return ArrayEntry(
        dtype=str(values["dtype"]),
        shape=tuple(int(side) for side in values["shape"]),
        num_bytes=int(values["bytes"]),
        sha256=str(values["sha256"]),
    )


def _hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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


def _default_cache() -> Path:
    return Path(tempfile.gettempdir()) / f"twohead-data-{os.getuid()}"


def _copy_to_cache(store: Store, fingerprint: str, manifest: Manifest, cache: Path) -> Path:
    """Copy remote arrays to a folder that appears whole; return it."""
    target = cache / fingerprint
    if has_files(target, manifest):
        return target
    temporary = cache / f"{TEMPORARY}{fingerprint[:16]}-{uuid.uuid4().hex}"
    with storage_errors(f"copy data to {str(cache)!r}"):
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        if cache.stat().st_uid != os.getuid():
            raise StorageError(f"data cache {str(cache)!r} needs to be a folder of this user")
        temporary.mkdir()
        try:
            for name, entry in manifest.items():
                _download(store, fingerprint, name, entry, temporary / name)
                check_file(temporary / name, entry, verify=True)
            move_into_place(temporary, target, lambda: has_files(target, manifest))
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return target


def _download(store: Store, fingerprint: str, name: str, entry: ArrayEntry, path: Path) -> None:
    with path.open("xb") as file:
        for part in entry.parts(name):
            try:
                file.write(store.get(f"{fingerprint}/{part}"))
            except FileNotFoundError as error:
                raise StorageError(f"decoded array {name!r} lacks its part {part!r}") from error


def move_into_place(source: Path, target: Path, is_whole: Callable[[], bool]) -> None:
    """Rename a finished folder to its name; keep a whole one that was there before it.

    Args:
        source: The finished folder, beside the target.
        target: Its name.
        is_whole: Tells whether what already has that name is good; else it makes room.

    Raises:
        OSError: If the file system refuses.
    """
    try:
        source.rename(target)
    except OSError:
        if not target.is_dir():
            raise
        if is_whole():
            return
        aside = source.with_name(f"{source.name}-old")
        target.rename(aside)
        source.rename(target)
        shutil.rmtree(aside, ignore_errors=True)
