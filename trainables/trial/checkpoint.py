"""Checkpoints: arrays without pickle, then a manifest; no valid manifest, no checkpoint.

The model's own variables lie in a file of their own, so that what only a further epoch needs can
be deleted, and they stay what was recorded. Older checkpoints have one file for all.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.errors import OversizedObject, StorageError
from trainables.storage.store import Store
from trainables.training.run import WEIGHT

WEIGHTS = "weights.npz"
"""What a prediction needs."""
TRAINING = "training.npz"
"""What a further epoch needs besides; it may be gone."""
WHOLE = "state.npz"
"""Both, in checkpoints of format 1."""
MANIFEST = "manifest.json"
FORMAT = 2
LARGEST_MANIFEST = 64 * 2**20
"""Bytes; one has some 100 an array, and a config."""

State = dict[str, NDArray[Any]]
Piece = bytes | memoryview
"""Of bytes; a view must not change until it is written."""


class CheckpointError(StorageError):
    """A checkpoint is missing, torn or not what its manifest says."""


def save(
    store: Store, folder: str, state: Mapping[str, NDArray[Any]], meta: Mapping[str, Any]
) -> str:
    """Write a checkpoint, the only one of its folder, and return the SHA-256 of its arrays.

    The manifest, which holds ``meta``, comes last: a writer that dies before leaves no
    checkpoint. Raises CheckpointError if an array would need pickle.
    """
    arrays = {name: np.asarray(array) for name, array in state.items()}
    for name, array in arrays.items():
        if array.dtype.hasobject or array.dtype.isbuiltin != 1:
            raise CheckpointError(
                f"checkpoint {_where(store, folder)} needs arrays of plain numbers, "
                f"got {array.dtype} as {name!r}"
            )
    parts = {}
    for file in (WEIGHTS, TRAINING):
        part = {n: a for n, a in arrays.items() if n.startswith(WEIGHT) == (file == WEIGHTS)}
        pieces = _pack(part)
        store.put(f"{folder}/{file}", pieces)
        parts[file] = _described(part, pieces)
    manifest = {"format": FORMAT, "parts": parts, "meta": dict(meta)}
    store.put(f"{folder}/{MANIFEST}", _seal(manifest))
    return _sha256_of(manifest)


def load(store: Store, folder: str, *, sha256: str | None = None) -> State:
    """Return the arrays of a checkpoint, checked against its manifest before any is made.

    Where ``sha256``, which `save` returned, is known from elsewhere, it must be the same. Raises
    CheckpointError if a file is missing, cut, altered or not as declared.
    """
    return _load(store, folder, sha256, (WEIGHTS, TRAINING, WHOLE))


def load_weights(store: Store, folder: str, *, sha256: str | None = None) -> State:
    """Return what a prediction needs of a checkpoint, whether all else is there or not.

    It is checked as by `load`.
    """
    state = _load(store, folder, sha256, (WEIGHTS, WHOLE))
    return {name: array for name, array in state.items() if name.startswith(WEIGHT)}


def drop_training(store: Store, folder: str) -> None:
    """Delete what only a further epoch needs; of a checkpoint of format 1 nothing."""
    store.delete(f"{folder}/{TRAINING}")


def _load(store: Store, folder: str, sha256: str | None, files: Sequence[str]) -> State:
    where = f"checkpoint {_where(store, folder)}"
    manifest = _open_seal(where, _read(store, folder, MANIFEST, LARGEST_MANIFEST))
    if sha256 not in (None, found := _sha256_of(manifest)):
        raise CheckpointError(f"{where} needs sha256 {sha256}, got {found}")
    state: State = {}
    for file, part in _parts(manifest).items():
        if file in files:
            state |= _load_part(store, folder, file, part)
    return state


def _load_part(store: Store, folder: str, file: str, part: Mapping[str, Any]) -> State:
    where = f"checkpoint {_where(store, folder)}"
    data = _read(store, folder, file, part["bytes"])
    received = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    for field, value in received.items():
        if part[field] != value:
            raise CheckpointError(f"{where} needs {file} with {field} {part[field]}, got {value}")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _arrays(archive, part["arrays"])
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{where} needs the arrays of its manifest, got {error}") from error


def _parts(manifest: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """Return what is declared of each file."""
    return {WHOLE: manifest} if manifest["format"] == 1 else manifest["parts"]


def _sha256_of(manifest: Mapping[str, Any]) -> str:
    """Return the hash that is recorded of a checkpoint: of its file, or of its files' hashes."""
    if manifest["format"] == 1:
        return str(manifest["sha256"])
    digests = {file: part["sha256"] for file, part in manifest["parts"].items()}
    return _digest(json.dumps(digests, sort_keys=True))


def _described(part: State, pieces: Sequence[Piece]) -> dict[str, Any]:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return {
        "bytes": sum(map(len, pieces)),
        "sha256": digest.hexdigest(),
        "arrays": {name: [str(a.dtype), list(a.shape)] for name, a in part.items()},
    }


def _pack(arrays: State) -> list[Piece]:
    """Return the pieces of an uncompressed .npz; equal arrays give equal bytes.

    The arrays' own memory is among them: nothing large is copied.
    """
    file = _Pieces()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:  # type: ignore[call-overload]
        for name, array in arrays.items():
            header = np.lib.format.header_data_from_array_1_0(array)
            rows = array.T if header["fortran_order"] else np.ascontiguousarray(array)
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array_header_1_0(member, header)
                member.write(rows.reshape(-1).view(np.uint8).data if array.size else b"")
    return file.pieces


class _Pieces:
    """A file that keeps what is written to it as it is; what is overwritten has its old size."""

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self._places = {0: 0}
        self._position = 0

    def write(self, data: Piece) -> int:
        """Keep a piece at the present position."""
        place = self._places[self._position]
        if place < len(self.pieces) and len(self.pieces[place]) != len(data):
            raise ValueError(f"a piece needs {len(self.pieces[place])} bytes, got {len(data)}")
        if not len(data):
            return 0
        self.pieces[place : place + 1] = [data]
        self._position += len(data)
        self._places[self._position] = place + 1
        return len(data)

    def seek(self, position: int) -> int:
        """Go to the beginning of a piece, or to the end."""
        self._position = position
        return position

    def tell(self) -> int:
        """Return the present position."""
        return self._position

    def flush(self) -> None:
        """Do nothing."""


def _arrays(archive: zipfile.ZipFile, declared: Mapping[str, Any]) -> State:
    """Read the members; each header is compared before its array takes memory."""
    members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
    if set(members) != set(declared):
        raise ValueError(f"members {sorted(members)}")
    state: State = {}
    for name, info in members.items():
        with archive.open(info) as member:
            version = np.lib.format.read_magic(member)
            if version != (1, 0):
                raise ValueError(f"{name!r} in NumPy format {version}")
            shape, _, dtype = np.lib.format.read_array_header_1_0(member)
            if [str(dtype), list(shape)] != declared[name] or dtype.hasobject:
                raise ValueError(f"{name!r} as {dtype}{list(shape)}")
        with archive.open(info) as member:
            state[name] = np.lib.format.read_array(member, allow_pickle=False)
    return state


def _seal(manifest: Mapping[str, Any]) -> bytes:
    body = json.dumps(manifest, sort_keys=True)
    return json.dumps({"seal": _digest(body), "manifest": json.loads(body)}, indent=1).encode()


def _open_seal(where: str, data: bytes) -> dict[str, Any]:
    """Return the manifest in a sealed text, whose own digest it carries."""
    try:
        sealed = json.loads(data)
        manifest = sealed["manifest"]
        is_whole = sealed["seal"] == _digest(json.dumps(manifest, sort_keys=True))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{where} needs a whole {MANIFEST}, got {error!r}") from error
    if not is_whole:
        raise CheckpointError(f"{where} needs an unaltered {MANIFEST}, got another digest")
    if manifest["format"] not in (1, FORMAT):
        raise CheckpointError(f"{where} needs format 1 or {FORMAT}, got {manifest['format']!r}")
    return dict(manifest)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _read(store: Store, folder: str, name: str, most: int) -> bytes:
    try:
        return store.get(f"{folder}/{name}", most=most)
    except FileNotFoundError as error:
        where = _where(store, folder)
        raise CheckpointError(f"checkpoint {where} needs {name}, got no such file") from error
    except OversizedObject as error:  # damage as any other: an older one may be whole
        where = _where(store, folder)
        raise CheckpointError(f"checkpoint {where} needs {name} as it was: {error}") from error


def _where(store: Store, folder: str) -> str:
    return f"{store.uri.rstrip('/')}/{folder}"
