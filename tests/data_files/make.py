"""Writes the files of this folder, with other tools' own writers.

``pip install pandas polars duckdb datasets pillow``, then ``python make.py`` in this folder. All
say the same: ten grey images of 8x8 pixels, row ``r`` of value ``10 * r``, a class, a number.
"""

import io
from pathlib import Path

import datasets
import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

HERE = Path(__file__).parent
ROWS = 10
COMPRESSIONS = ["none", "snappy", "gzip", "brotli", "lz4", "zstd"]


def png(value):
    stream = io.BytesIO()
    Image.new("L", (8, 8), value).save(stream, format="PNG")
    return stream.getvalue()


IMAGES = [png(10 * row) for row in range(ROWS)]
IDS = [row % 2 for row in range(ROWS)]
NAMES = ["cat" if one == 0 else "dog" for one in IDS]
NUMBERS = [row / 2 for row in range(ROWS)]
PLAIN = {"image": IMAGES, "c_output": IDS, "r_output": NUMBERS}
STRUCTS = [{"bytes": data, "path": None} for data in IMAGES]


def write(name, **change):
    return str(HERE / f"{name}.parquet"), {**PLAIN, **change}


def with_pyarrow():
    for compression in COMPRESSIONS:
        path, values = write(f"pyarrow-{compression}")
        pq.write_table(pa.table(values), path, compression=compression, write_page_checksum=True)
    path, values = write("pyarrow-pages-v2", c_output=pa.array(NAMES).dictionary_encode())
    options = {"data_page_version": "2.0", "data_page_size": 100, "write_page_index": True}
    pq.write_table(pa.table(values), path, row_group_size=3, **options)
    path, values = write("pyarrow-views")
    values["image"] = pa.array(IMAGES, pa.binary_view())
    values["c_output"] = pa.array(NAMES, pa.string_view())
    pq.write_table(pa.table(values), path)
    path, values = write("pyarrow-large")
    values["image"] = pa.array(IMAGES, pa.large_binary())
    values["r_output"] = pa.array([[one] for one in NUMBERS], pa.large_list(pa.float32()))
    pq.write_table(pa.table(values), path, use_dictionary=False, write_statistics=False)
    path, values = write("pyarrow-empty-row-group")
    table = pa.table(values)
    with pq.ParquetWriter(path, table.schema) as writer:
        for part in (table.slice(0, 0), table.slice(0, 4), table.slice(4, 0), table.slice(4)):
            writer.write_table(part)
        writer.write_table(table.slice(0, 0))
    path, values = write("pyarrow-delta")
    encodings = {"c_output": "DELTA_BINARY_PACKED", "r_output": "BYTE_STREAM_SPLIT"}
    options = {"use_dictionary": False, "column_encoding": encodings}
    pq.write_table(pa.table(values), path, use_byte_stream_split=False, **options)


def with_pandas():
    path, values = write("pandas")
    pd.DataFrame(values).to_parquet(path)
    path, values = write("pandas-categories", c_output=pd.Categorical(NAMES))
    frame = pd.DataFrame(values)
    frame["when"] = pd.period_range("2026-01", periods=ROWS, freq="M")  # an extension type
    frame.to_parquet(path, compression="gzip", index=False)
    path, values = write("pandas-structs", image=STRUCTS, r_output=[[one] for one in NUMBERS])
    pd.DataFrame(values).to_parquet(path)
    path, values = write("pandas-nullable")
    pd.DataFrame(values).convert_dtypes().to_parquet(path)


def with_polars():
    path, values = write("polars")
    pl.DataFrame(values).write_parquet(path)
    path, values = write("polars-enum")
    frame = pl.DataFrame(values).with_columns(
        c_output=pl.Series(NAMES, dtype=pl.Enum(["dog", "cat"])),
        r_output=pl.Series([[one] for one in NUMBERS], dtype=pl.Array(pl.Float32, 1)),
    )
    frame.write_parquet(path, compression="lz4", row_group_size=3, statistics=False)
    path, values = write("polars-categories", image=STRUCTS)
    frame = pl.DataFrame(values).with_columns(c_output=pl.Series(NAMES, dtype=pl.Categorical))
    frame.write_parquet(path, data_page_size=100)
    path, values = write("polars-names", c_output=NAMES)
    frame = pl.DataFrame(values).with_columns(r_output=pl.Series([[one] for one in NUMBERS]))
    frame.write_parquet(path, compression="uncompressed")


def with_duckdb():
    path, values = write("duckdb")
    plain = pa.table(values)  # noqa: F841 - named in the queries
    duckdb.sql(f"copy (from plain) to '{path}'")
    path, _ = write("duckdb-names")
    query = """
        select image, case when c_output = 0 then 'cat' else 'dog' end as c_output,
               cast(r_output as decimal(4, 1)) as r_output, uuid() as id, '{}'::json as more
        from plain
    """
    duckdb.sql(f"copy ({query}) to '{path}' (compression zstd, parquet_version v2)")
    path, _ = write("duckdb-structs")
    query = """
        select {bytes: image, path: null::varchar} as image,
               (case when c_output = 0 then 'cat' else 'dog' end)::enum('dog', 'cat') as c_output,
               [r_output] as r_output
        from plain
    """
    duckdb.sql(f"copy ({query}) to '{path}'")
    path, _ = write("duckdb-arrays")
    query = "select image, c_output::hugeint as c, c_output::utinyint as c_output, "
    query += "[r_output]::double[1] as r_output from plain"
    duckdb.sql(f"copy ({query}) to '{path}' (compression brotli)")


def with_datasets():
    features = {
        "image": datasets.Image(),
        "c_output": datasets.ClassLabel(names=["cat", "dog"]),
        "r_output": datasets.Value("float32"),
    }
    path, values = write("datasets", image=STRUCTS)
    made = datasets.Dataset.from_dict(values, features=datasets.Features(features))
    made.to_parquet(path)
    path, values = write("datasets-lists", image=STRUCTS, r_output=[[one] for one in NUMBERS])
    features["r_output"] = datasets.Sequence(datasets.Value("float64"), length=1)
    made = datasets.Dataset.from_dict(values, features=datasets.Features(features))
    made.to_parquet(path, batch_size=3)


if __name__ == "__main__":
    with_pyarrow()
    with_pandas()
    with_polars()
    with_duckdb()
    with_datasets()
