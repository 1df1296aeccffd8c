"""Files by other tools' own writers (``tests/data_files/make.py`` wrote them) are read."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe
import pytest

from tests.support.data_sets import CLASS, NUMBER, columns, request, write
from trainables.data.check import check_dataset, conclude, inspect_dataset
from trainables.data.images import ImageRule
from trainables.errors import InputError

FILES = sorted((Path(__file__).parents[2] / "data_files").glob("*.parquet"))
RULE = ImageRule(height=8, width=8, channels=1, is_resized=False)


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_what_other_tools_write_is_read(path):
    found = conclude(inspect_dataset(request(path)), None)

    ids, numbers = (labels.values.ravel().tolist() for labels in found.labels)
    classes = found.labels[0].head.classes
    images = [image for _, some in found.column.images(found.source) for image in some]
    values = [int(found.column.decode(image, RULE)[0, 0, 0]) for image in images]
    assert values == [10 * row for row in range(10)]
    assert ids == [row % 2 for row in range(10)]
    assert numbers == [row / 2 for row in range(10)]
    assert classes == (("cat", "dog") if classes else ())


def test_there_are_files_of_every_tool():
    tools = {path.stem.partition("-")[0] for path in FILES}

    assert tools == {"pyarrow", "pandas", "polars", "duckdb", "datasets"}


def test_files_of_several_tools_are_one_set(tmp_path):
    for name in ("duckdb", "pandas", "polars", "pyarrow-large", "pyarrow-zstd"):
        (path,) = (path for path in FILES if path.stem == name)
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "pyarrow-large.parquet").unlink()  # its numbers are lists

    found = conclude(inspect_dataset(request(tmp_path)), None)

    assert found.labels[0].values.tolist() == [0, 1] * 20


@pytest.mark.parametrize("place", ["0-empty", "z-empty"])
def test_an_empty_shard_does_no_harm(tmp_path, place):
    write(tmp_path / "a.parquet")
    pq.write_table(pa.table(columns()).slice(0, 0), tmp_path / f"{place}.parquet")
    with pq.ParquetWriter(tmp_path / f"{place}-1.parquet", pa.table(columns()).schema):
        pass

    assert sum(check_dataset(request(tmp_path)).info.rows.values()) == 10


def test_thousands_of_row_groups_are_read(tmp_path):
    table = pa.table(columns(rows=12_000, image=[columns(1)["image"][0]] * 12_000))
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=1)

    found = conclude(inspect_dataset(request(tmp_path / "a.parquet")), None)

    assert found.labels[1].values[-1].tolist() == [11_999.0]
    assert sum(len(images) for _, images in found.column.images(found.source)) == 12_000


class NoSecret(pe.KmsClient):
    """Wraps a key by leaving it as it is."""

    def __init__(self, _):
        super().__init__()

    def wrap_key(self, key_bytes, master_key_identifier):
        return key_bytes

    def unwrap_key(self, wrapped_key, master_key_identifier):
        return wrapped_key


@pytest.mark.parametrize("is_plain", [True, False], ids=["plain_footer", "encrypted_footer"])
def test_encrypted_files_are_refused_in_words(tmp_path, is_plain):
    factory = pe.CryptoFactory(NoSecret)
    config = pe.EncryptionConfiguration(
        footer_key="f", column_keys={"c": ["c_output", "image"]}, plaintext_footer=is_plain
    )
    properties = factory.file_encryption_properties(pe.KmsConnectionConfig(), config)
    table = pa.table(columns())
    with pq.ParquetWriter(
        tmp_path / "a.parquet", table.schema, encryption_properties=properties
    ) as writer:
        writer.write_table(table)

    with pytest.raises(InputError, match=r"a.parquet' is encrypted; write it again without"):
        check_dataset(request(tmp_path / "a.parquet", CLASS, NUMBER))
