"""Changed bytes and files made to hurt: the same data, or an ``InputError``."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.data_sets import CLASS, NUMBER, columns, encoded, request
from trainables.data.check import check_dataset, conclude, inspect_dataset
from trainables.data.dataset import open_dataset
from trainables.data.decode import decode_dataset
from trainables.errors import InputError, StorageError
from trainables.storage.sealed_json import seal, unseal

DATA_FILES = Path(__file__).parents[2] / "data_files"


def parquet(compression, **change):
    stream = io.BytesIO()
    table = pa.table(columns(rows=40, **change))
    pq.write_table(table, stream, compression=compression, write_page_checksum=True)
    return stream.getvalue()


def content(path):
    """Return everything that a set says, for comparison."""
    found = conclude(inspect_dataset(request(path)), None)
    images = [list(images) for _, images in found.column.images(found.source)]
    return images, [one.values.tolist() for one in found.labels], found.splits.tolist()


def mutated(data, rng):
    """Flip a bit, write a byte, cut a piece out or double one."""
    changed = bytearray(data)
    place = int(rng.integers(len(data)))
    kind = rng.integers(4)
    if kind == 0:
        changed[place] ^= 1 << int(rng.integers(8))
    elif kind == 1:
        changed[place] = int(rng.integers(256))
    elif kind == 2:
        del changed[place : place + int(rng.integers(1, 64))]
    else:
        changed[place:place] = changed[place : place + int(rng.integers(1, 64))]
    return bytes(changed)


@pytest.mark.parametrize("compression", ["none", "zstd"])
@pytest.mark.parametrize("part", ["anywhere", "footer"])
def test_mutated_bytes_give_the_same_data_or_an_input_error(tmp_path, compression, part):
    data = parquet(compression)
    path = tmp_path / "a.parquet"
    path.write_bytes(data)
    original = content(path)
    rng = np.random.default_rng([len(compression), len(part)])
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    refused = 0

    for _ in range(150):
        start = footer if part == "footer" else 0
        path.write_bytes(data[:start] + mutated(data[start:], rng))
        try:
            found = content(path)
        except InputError:
            refused += 1
            continue
        if part == "anywhere":
            assert found == original

    assert refused > 75


@pytest.mark.slow
@pytest.mark.parametrize("part", ["body", "footer"])
@pytest.mark.parametrize("name", ["pyarrow-pages-v2", "polars-enum", "duckdb-names", "datasets"])
def test_mutated_files_of_other_tools_never_end_this_process(tmp_path, name, part):
    data = (DATA_FILES / f"{name}.parquet").read_bytes()
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    rng = np.random.default_rng([len(name), len(part)])
    refused = 0

    for _ in range(25):
        if part == "body":  # pages and their headers; places and lengths stay
            changed = bytearray(data[:footer])
            changed[int(rng.integers(footer))] = int(rng.integers(256))
            changed += data[footer:]
        else:
            changed = data[:footer] + mutated(data[footer:-8], rng) + data[-8:]
        (tmp_path / "a.parquet").write_bytes(changed)
        try:
            content(tmp_path / "a.parquet")
        except InputError:
            refused += 1

    assert refused > 3


@pytest.mark.slow
def test_a_footer_that_makes_pyarrow_end_the_process_is_refused(tmp_path):
    """Found by mutation: pyarrow 26 aborts in ``metadata.row_group(0).column(0)``."""
    data = parquet("none")
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    refused = 0
    for place in range(footer, len(data) - 8):
        path = tmp_path / "a.parquet"
        path.write_bytes(data[:place] + bytes([data[place] ^ 2]) + data[place + 1 :])

        try:
            content(path)
        except InputError:
            refused += 1

    assert refused > 400  # of some 900 places; the others do no harm, and none ends this process


def test_a_set_of_endless_rows_is_refused_before_its_labels_are_read(tmp_path):
    table = pa.table({"c_output": pa.array(np.zeros(10_000_001, dtype=np.int8))})
    pq.write_table(table, tmp_path / "a.parquet", compression="zstd")

    with pytest.raises(InputError, match="at most 10000000 rows, got 10000001"):
        check_dataset(request(tmp_path / "a.parquet", CLASS))


def test_a_label_column_of_endless_lists_is_refused_before_it_is_read(tmp_path):
    endless = pa.array(np.zeros(20_000_000, dtype=np.float64))
    lists = pa.ListArray.from_arrays(pa.array([0, 10_000_000, 20_000_000], pa.int32()), endless)
    table = pa.table({"image": [encoded()] * 2, "r_output": lists})
    pq.write_table(table, tmp_path / "a.parquet", compression="zstd")

    with pytest.raises(InputError, match="too many for labels"):
        check_dataset(request(tmp_path / "a.parquet", NUMBER))


def test_names_and_labels_cannot_write_to_the_terminal(tmp_path):
    pq.write_table(pa.table(columns(c_output=["\x1b[31m"] * 10)), tmp_path / "a.parquet")

    with pytest.raises(InputError, match="needs 2 to") as error:
        check_dataset(request(tmp_path / "a.parquet"))

    assert "\x1b" not in str(error.value)


@pytest.mark.parametrize("name", ["../x.npy", "x.txt"])
def test_a_manifest_cannot_name_files_elsewhere(tmp_path, name):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table(columns()), path)
    info = check_dataset(request(path)).info
    decode_dataset(request(path), info.fingerprint, str(tmp_path))
    manifest = tmp_path / ".data" / info.fingerprint / "manifest.json"
    body = unseal("data", manifest.read_bytes(), "manifest")
    body["arrays"][name] = body["arrays"].pop("train-image.npy")
    manifest.write_bytes(seal("data", body))

    with pytest.raises(StorageError, match="no name of a file"):
        open_dataset(str(tmp_path), info.fingerprint)
