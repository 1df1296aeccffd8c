"""What decoded data consist of: the arrays, their sizes and hashes, and the check of both."""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainables.errors import StorageError
from trainables.store import Store

DATA_FOLDER = ".data"
MANIFEST = "manifest.json"
PART_BYTES = 64 * 2**20
"""A remote storage gets arrays in pieces of this size, so that no one holds a whole array."""


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
