"""Checkpoints on a real store and on one that misbehaves."""

import hashlib
import io
import json
import os
import zipfile

import numpy as np
import pytest

from trainables.storage.store import Store
from trainables.trial.checkpoint import (
    MANIFEST,
    TRAINING,
    WEIGHTS,
    CheckpointError,
    drop_training,
    load,
    load_weights,
    save,
)

STATE = {
    "model/0000/kernel": np.arange(12, dtype=np.float32).reshape(3, 4),
    "model/0001/seed_generator_state": np.array([7, 2**31], np.uint32),
    "optimizer/0000/variable": np.array(3, np.int64),
    "empty": np.zeros((0, 5)),
}
FILES = (WEIGHTS, TRAINING, MANIFEST)
META = {"epoch": 2, "losses": {"c": 0.1 + 0.2}, "nothing": None}
FOLDER = "checkpoints/000001/001-0002"


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path))


def test_a_checkpoint_returns_what_was_saved_bit_for_bit(store):
    sha256 = save(store, FOLDER, STATE, META)

    state = load(store, FOLDER, sha256=sha256)

    assert json.loads(store.get(f"{FOLDER}/{MANIFEST}"))["manifest"]["meta"] == META
    assert bits(state) == bits(STATE)


def bits(state):
    return {name: (a.dtype, a.shape, a.tobytes()) for name, a in state.items()}


def weights_of(state):
    return {name: array for name, array in state.items() if name.startswith("model/")}


def test_the_weights_are_loaded_alone_and_stay_when_the_rest_is_dropped(store):
    sha256 = save(store, FOLDER, STATE, META)
    before = load_weights(store, FOLDER, sha256=sha256)

    drop_training(store, FOLDER)

    assert bits(before) == bits(weights_of(STATE))
    assert bits(load_weights(store, FOLDER, sha256=sha256)) == bits(before)
    with pytest.raises(CheckpointError, match=r"needs training\.npz, got no such file"):
        load(store, FOLDER, sha256=sha256)


def as_format_1(store, folder, state):
    """Write a checkpoint as it was before weights had a file of their own; return its hash."""
    data = as_numpy_writes_them(state)
    digest = hashlib.sha256(data).hexdigest()
    manifest = {
        "format": 1,
        "bytes": len(data),
        "sha256": digest,
        "arrays": {name: [str(a.dtype), list(a.shape)] for name, a in state.items()},
        "meta": META,
    }
    seal = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    store.put(f"{folder}/state.npz", data)
    store.put(f"{folder}/manifest.json", json.dumps({"seal": seal, "manifest": manifest}).encode())
    return digest


def test_a_checkpoint_with_one_file_for_all_is_loaded_as_ever(store):
    sha256 = as_format_1(store, FOLDER, STATE)

    drop_training(store, FOLDER)

    assert bits(load(store, FOLDER, sha256=sha256)) == bits(STATE)
    assert bits(load_weights(store, FOLDER, sha256=sha256)) == bits(weights_of(STATE))
    with pytest.raises(CheckpointError, match=f"needs sha256 {'0' * 64}, got {sha256}"):
        load(store, FOLDER, sha256="0" * 64)


def test_what_only_a_further_epoch_needs_is_bound_to_the_recorded_hash_too(store):
    recorded = save(store, FOLDER, STATE, META)
    changed = {**STATE, "optimizer/0000/variable": np.array(4, np.int64)}

    assert save(store, FOLDER, changed, META) != recorded


def test_equal_states_have_equal_hashes(store):
    assert save(store, "a", STATE, META) == save(store, "b", STATE, {})


def as_numpy_writes_them(arrays):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def test_pieces_are_the_bytes_that_checkpoints_always_had(store):
    numbers = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    arrays = STATE | {
        "fortran": np.asfortranarray(numbers),
        "parted": numbers[::2, ::3],
        "zeros": np.broadcast_to(np.float32(0), (7, 3)),
        "flags": np.array([True, False]),
    }

    save(store, FOLDER, arrays, META)

    weights = weights_of(arrays)
    rest = {name: array for name, array in arrays.items() if name not in weights}
    assert store.get(f"{FOLDER}/{WEIGHTS}") == as_numpy_writes_them(weights)
    assert store.get(f"{FOLDER}/{TRAINING}") == as_numpy_writes_them(rest)
    assert set(load(store, FOLDER)) == set(arrays)


def test_large_arrays_are_not_copied_on_their_way_to_the_store():
    array = np.zeros(100_000, np.float32)
    pieces = []

    class Recorder:
        uri = "memory"

        def put(self, path, data):
            pieces.extend([] if isinstance(data, bytes) else data)

        def get(self, path, *, most):
            raise FileNotFoundError(path)

    save(Recorder(), FOLDER, {"large": array}, META)

    (large,) = [piece for piece in pieces if len(piece) == array.nbytes]
    assert np.shares_memory(np.frombuffer(large, np.float32), array)


def test_the_manifest_is_written_last():
    written = []

    class Recorder:
        uri = "memory"

        def put(self, path: str, data: bytes) -> None:
            written.append(path)

        def get(self, path: str, *, most: int) -> bytes:
            raise FileNotFoundError(path)

    save(Recorder(), FOLDER, STATE, META)

    assert written == [f"{FOLDER}/{name}" for name in FILES]


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_became_longer_than_it_can_be_is_refused_unread(store, name):
    save(store, FOLDER, STATE, META)
    os.truncate(store.root / FOLDER / name, 5 * 2**40)

    with pytest.raises(CheckpointError, match=f"needs {name} as it was: .* 5497558138880 bytes"):
        load(store, FOLDER)


def test_a_manifest_of_any_depth_is_refused_in_words(store):
    save(store, FOLDER, STATE, META)
    store.put(f"{FOLDER}/{MANIFEST}", b"[" * 200_000)

    with pytest.raises(CheckpointError, match=r"needs a whole manifest\.json, got Recursion"):
        load(store, FOLDER)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_no_checkpoint(store, name):
    save(store, FOLDER, STATE, META)
    store.delete(f"{FOLDER}/{name}")

    with pytest.raises(CheckpointError, match=f"{FOLDER} needs {name}, got no such file"):
        load(store, FOLDER)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_torn_file_is_no_checkpoint(store, name, share):
    save(store, FOLDER, STATE, META)
    data = store.get(f"{FOLDER}/{name}")
    store.put(f"{FOLDER}/{name}", data[: int(len(data) * share)])

    with pytest.raises(CheckpointError, match=FOLDER):
        load(store, FOLDER)


@pytest.mark.parametrize("name", FILES)
def test_every_flipped_bit_is_noticed(store, name):
    save(store, FOLDER, STATE, META)
    data = store.get(f"{FOLDER}/{name}")
    before = load(store, FOLDER)

    for position in range(0, len(data), 7):
        flipped = bytearray(data)
        flipped[position] ^= 1 << (position % 8)
        store.put(f"{FOLDER}/{name}", bytes(flipped))
        try:
            after = load(store, FOLDER)
        except CheckpointError:
            continue
        assert repr(after) == repr(before)  # white space of the manifest


def test_a_manifest_edited_by_hand_is_noticed(store):
    save(store, FOLDER, STATE, META)
    sealed = json.loads(store.get(f"{FOLDER}/{MANIFEST}"))
    sealed["manifest"]["meta"]["epoch"] = 9
    store.put(f"{FOLDER}/{MANIFEST}", json.dumps(sealed).encode())

    with pytest.raises(CheckpointError, match="needs an unaltered manifest"):
        load(store, FOLDER)


def test_another_checkpoint_in_its_place_is_noticed(store):
    sha256 = save(store, FOLDER, STATE, META)
    save(store, FOLDER, {"other": np.zeros(3)}, META)

    with pytest.raises(CheckpointError, match=f"needs sha256 {sha256}, got"):
        load(store, FOLDER, sha256=sha256)


@pytest.mark.parametrize(
    "array",
    [
        pytest.param(np.array([{}], dtype=object), id="object"),
        pytest.param(np.zeros(2, dtype=[("a", "O")]), id="structure"),
    ],
)
def test_an_array_that_would_need_pickle_is_refused(store, array):
    with pytest.raises(CheckpointError, match=r"needs arrays of plain numbers, got .* as 'bad'"):
        save(store, FOLDER, {"bad": array}, META)

    assert store.list() == []
