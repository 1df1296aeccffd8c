"""Checkpoints on a real store and on one that misbehaves."""

import json

import numpy as np
import pytest

from trainables.checkpoint import ARRAYS, MANIFEST, CheckpointError, load, save
from trainables.store import Store

STATE = {
    "model/0000/kernel": np.arange(12, dtype=np.float32).reshape(3, 4),
    "model/0001/seed_generator_state": np.array([7, 2**31], np.uint32),
    "optimizer/0000/variable": np.array(3, np.int64),
    "empty": np.zeros((0, 5)),
}
META = {"epoch": 2, "losses": {"c": 0.1 + 0.2}, "nothing": None}
FOLDER = "checkpoints/000001/001-0002"


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path))


def test_a_checkpoint_returns_what_was_saved_bit_for_bit(store):
    sha256 = save(store, FOLDER, STATE, META)

    state, meta = load(store, FOLDER, sha256=sha256)

    assert meta == META
    assert {name: (a.dtype, a.shape, a.tobytes()) for name, a in state.items()} == {
        name: (a.dtype, a.shape, a.tobytes()) for name, a in STATE.items()
    }


def test_equal_states_have_equal_hashes(store):
    assert save(store, "a", STATE, META) == save(store, "b", STATE, {})


def test_the_manifest_is_written_last():
    written = []

    class Recorder:
        uri = "memory"

        def put(self, path: str, data: bytes) -> None:
            written.append(path)

        def get(self, path: str) -> bytes:
            raise FileNotFoundError(path)

    save(Recorder(), FOLDER, STATE, META)

    assert written == [f"{FOLDER}/{ARRAYS}", f"{FOLDER}/{MANIFEST}"]


@pytest.mark.parametrize("name", [ARRAYS, MANIFEST])
def test_a_missing_file_is_no_checkpoint(store, name):
    save(store, FOLDER, STATE, META)
    store.delete(f"{FOLDER}/{name}")

    with pytest.raises(CheckpointError, match=f"{FOLDER} needs {name}, got no such file"):
        load(store, FOLDER)


@pytest.mark.parametrize("name", [ARRAYS, MANIFEST])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_torn_file_is_no_checkpoint(store, name, share):
    save(store, FOLDER, STATE, META)
    data = store.get(f"{FOLDER}/{name}")
    store.put(f"{FOLDER}/{name}", data[: int(len(data) * share)])

    with pytest.raises(CheckpointError, match=FOLDER):
        load(store, FOLDER)


@pytest.mark.parametrize("name", [ARRAYS, MANIFEST])
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
