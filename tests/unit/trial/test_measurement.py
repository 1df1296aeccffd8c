import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.support.faulty_files import MemoryFiles, empty_disk
from tests.support.scripted_study import measured
from trainables.errors import InputError, StorageError
from trainables.storage.sealed_json import DamagedRecord, NewerFormat, seal
from trainables.storage.store import Store
from trainables.trial.measurement import Measurement, place, read, write

ONE = measured(3, 2, 5, 1)

floats = st.floats(allow_nan=True, allow_infinity=True)
names = st.text(max_size=8)
measurements = st.builds(
    Measurement,
    number=st.integers(0, 10**7),
    attempt=st.integers(1, 2000),
    epoch=st.integers(1, 20000),
    generation=st.integers(1, 10**7),
    losses=st.dictionaries(names, floats, min_size=1, max_size=3),
    metrics=st.dictionaries(names, floats, max_size=3),
    loss=floats,
    seconds=st.dictionaries(names, floats, max_size=3),
    node=st.text(max_size=8),
)


def memory_store() -> Store:
    return Store("/study", files=MemoryFiles(empty_disk()))


@given(measurements)
def test_what_is_written_is_what_is_read(one: Measurement) -> None:
    found = Measurement.from_json(one.to_json())

    assert repr(found) == repr(one)  # NaN equals itself there
    assert found.to_json() == one.to_json()
    assert place(one.path) == (one.generation, one.number, one.attempt, one.epoch)


def test_the_name_sorts_by_generation_number_attempt_and_epoch() -> None:
    assert ONE.path == "epochs/000001-000003-002-0005.json"


def test_a_record_that_does_not_say_its_node_is_read() -> None:
    body = ONE.to_dict()
    del body["node"]

    assert Measurement.from_dict(body).node == ""


def test_nan_and_infinities_are_kept() -> None:
    one = replace(ONE, losses={"a": math.nan, "b": math.inf, "c": -math.inf}, loss=math.nan)

    found = Measurement.from_json(one.to_json())

    assert math.isnan(found.losses["a"])
    assert math.isnan(found.loss)
    assert (found.losses["b"], found.losses["c"]) == (math.inf, -math.inf)
    assert b"NaN" not in one.to_json()


def test_numpy_numbers_become_plain_ones() -> None:
    one = replace(ONE, loss=np.float32(0.5), losses={"a": np.float64(0.1)})

    found = Measurement.from_json(one.to_json())

    assert [type(v) for v in (found.loss, found.losses["a"])] == [float, float]
    assert (found.loss, found.losses["a"]) == (0.5, 0.1)


def test_head_order_is_kept() -> None:
    one = replace(ONE, losses={"z": 1.0, "a": 2.0})

    assert list(Measurement.from_json(one.to_json()).losses) == ["z", "a"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"epoch": 0}, "epoch needs an integer >= 1, got 0", id="epoch"),
        pytest.param({"attempt": True}, "attempt needs an integer >= 1, got True", id="bool"),
        pytest.param({"number": -1}, "number needs an integer >= 0, got -1", id="number"),
        pytest.param({"generation": 1.0}, "generation needs an integer >= 1, got 1.0", id="float"),
        pytest.param({"losses": {}}, "length >= 1 - at `$.losses`", id="no_loss"),
        pytest.param({"losses": 3}, "losses needs a mapping, got 3", id="type"),
        pytest.param(
            {"losses": {"a": "NaN"}}, "`float`, got `str` - at `$.losses[...]`", id="text"
        ),
        pytest.param({"seconds": None}, "seconds needs a mapping, got None", id="mapping"),
        pytest.param({"loss": None}, "loss needs a number, got None", id="none"),
        pytest.param({"loss": True}, "loss needs a number, got True", id="flag"),
        pytest.param({"checkpoint": "../x"}, "needs a folder of the study", id="outside"),
        pytest.param({"checkpoint": None}, "needs a folder of the study", id="half"),
        pytest.param({"checkpoint_sha256": "x"}, "64 hexadecimal digits, got 'x'", id="hash"),
        pytest.param({"more": 1}, "unknown field `more`", id="unknown"),
    ],
)
def test_a_sealed_body_that_is_no_measurement_is_refused(
    change: dict[str, object], message: str
) -> None:
    data = seal("measurement", {**ONE.to_dict(), **change})

    with pytest.raises(DamagedRecord, match=r"^epochs/x\.json is not a .*" + re.escape(message)):
        Measurement.from_json(data, where="epochs/x.json")


@pytest.mark.parametrize("body", [{}, {"losses": [1.0]}, {"seconds": {"train": 1}}])
def test_what_has_not_all_fields_is_refused(body: dict[str, object]) -> None:
    with pytest.raises(DamagedRecord, match="is not a measurement"):
        Measurement.from_json(seal("measurement", body))


@pytest.mark.parametrize(
    "change", [{"losses": {}}, {"epoch": 0}, {"metrics": {1: 0.5}}, {"node": None}]
)
def test_what_could_not_be_read_again_is_not_written(change: dict[str, object]) -> None:
    store = memory_store()

    with pytest.raises(InputError, match=r"needs an integer >= 1|needs text|at `"):
        write(store, replace(ONE, **change))
    assert store.list() == []


@pytest.mark.parametrize("bit", range(8))
def test_every_flipped_bit_is_noticed(bit: int) -> None:
    for at in range(len(ONE.to_json())):
        data = bytearray(ONE.to_json())
        data[at] ^= 1 << bit

        with pytest.raises((DamagedRecord, NewerFormat), match=r"^epochs/x\.json"):
            Measurement.from_json(bytes(data), where="epochs/x.json")


@pytest.mark.parametrize("size", [0, 1, 100, len(ONE.to_json()) - 1])
def test_every_torn_object_is_noticed(size: int) -> None:
    with pytest.raises(DamagedRecord, match="damaged: its checksum"):
        Measurement.from_json(ONE.to_json()[:size])


def test_a_newer_format_is_refused_with_advice() -> None:
    data = ONE.to_json().replace(b'"format":1', b'"format":2')

    with pytest.raises(NewerFormat, match=r"has format 2.*use a newer twohead-search"):
        Measurement.from_json(data, where="epochs/x.json")


def test_another_kind_of_object_is_refused() -> None:
    with pytest.raises(DamagedRecord, match="needs kind 'measurement', got 'segment'"):
        Measurement.from_json(seal("segment", ONE.to_dict()))


def test_writing_the_same_again_changes_nothing() -> None:
    store = memory_store()

    write(store, ONE)
    write(store, ONE)

    assert read(store, ONE.path) == ONE
    assert store.list() == [ONE.path]


def test_an_attempt_cannot_measure_an_epoch_twice() -> None:
    store = memory_store()
    write(store, ONE)

    with pytest.raises(StorageError, match="another measurement of the same attempt and epoch"):
        write(store, replace(ONE, loss=7.0))
    assert read(store, ONE.path) == ONE


def test_a_measurement_under_another_name_is_refused() -> None:
    store = memory_store()
    path = replace(ONE, epoch=6).path
    store.put(path, ONE.to_json())

    with pytest.raises(DamagedRecord, match=f"{path} holds the measurement of {ONE.path}"):
        read(store, path)


@pytest.mark.parametrize("path", ["epochs/x.json", "epochs/000001-000003-002-0005.json~"])
def test_a_foreign_name_is_refused(path: str) -> None:
    with pytest.raises(DamagedRecord, match=f"{path} is no measurement"):
        place(path)
