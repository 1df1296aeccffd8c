import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from search.errors import InputError
from search.space.parameters import Choice
from tests.benchmarks.table import Table, write_table
from tests.unit.benchmarks.small_tables import PARAMETERS, rows_of, write_plain


def test_a_written_table_is_read_as_it_was(tmp_path):
    rows = rows_of()
    write_table(
        tmp_path / "t.parquet",
        rows[::-1],
        {"heads": ["place", "kind"], "baselines": {"kind": 2.5}, "about": "made up"},
    )

    table = Table.read(tmp_path / "t.parquet")

    assert table.heads == ("place", "kind")
    assert table.about["about"] == "made up"
    assert table.baselines["kind"] == 2.5
    assert table.losses.shape == (36, 2, 4, 2)
    row = next(r for r in rows if r["units"] == 16 and r["seed"] == 1 and r["epoch"] == 3)
    losses, seconds = table.curve({name: row[name] for name in PARAMETERS}, 1)
    np.testing.assert_allclose(losses[2], [row["val_place_loss"], row["val_kind_loss"]], rtol=1e-6)
    assert seconds[2] == pytest.approx(row["seconds"], rel=1e-6)


def test_a_table_is_written_whole_and_its_damage_never_changes_a_figure(tmp_path):
    path = tmp_path / "t.parquet"
    write_table(path, rows_of(), {})
    whole, losses = path.read_bytes(), Table.read(path).losses
    assert [file.name for file in tmp_path.iterdir()] == ["t.parquet"]
    refused = 0

    for place in range(4, len(whole), 37):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            read = Table.read(path).losses
        except InputError:
            refused += 1
        else:
            np.testing.assert_array_equal(read, losses)

    assert refused > 20


def test_the_space_is_what_the_columns_hold(tmp_path):
    rows = [{**row, "depth": 2} for row in rows_of()]

    space = Table.read(write_plain(tmp_path / "t.parquet", rows)).space

    assert dict(space.searched) == {
        "units": Choice(values=(8, 16, 32)),
        "rate": Choice(values=(0.001, 0.01, 0.1)),
        "optimizer": Choice(values=("adam", "sgd")),
        "norm": Choice(values=(False, True)),
    }
    assert space.constants == (("depth", 2),)


def test_columns_may_have_any_name_and_none_has_a_meaning_of_its_own(tmp_path):
    parameters = {
        "num_conv_blocks": (1, 2),
        "conv2_filters": (8, 16),
        "learning rate": (0.1, 0.2),
        "2nd": ("a", "b"),
    }

    table = Table.read(write_plain(tmp_path / "t.parquet", rows_of(parameters)))

    assert list(table.parameters) == ["num_conv_blocks_", "conv2_filters", "learning_rate", "_2nd"]
    assert table.space.size == table.num_configs == 16
    assert not table.space.gates


@pytest.mark.parametrize(
    "heads",
    [
        pytest.param(("only",), id="one head"),
        pytest.param(("a", "b_loss", "val_c"), id="three heads with odd names"),
    ],
)
def test_a_table_of_anybody_needs_no_metadata_and_no_seed(tmp_path, heads):
    rows = rows_of(heads=heads, seeds=(7,))

    table = Table.read(write_plain(tmp_path / "t.parquet", rows, without=["seed"]))

    assert table.heads == heads
    assert table.seeds == (0,)
    first = [r[f"val_{heads[0]}_loss"] for r in rows if r["epoch"] == 1]
    assert table.baselines[heads[0]] == pytest.approx(np.percentile(first, 95))
    assert table.averaged.shape == (36, 4, len(heads))


def test_a_table_of_pandas_is_read_without_its_row_numbers(tmp_path):
    frame = pd.DataFrame(rows_of()).astype({"optimizer": "category", "seed": "int8"})
    frame.sample(frac=1, random_state=0).to_parquet(tmp_path / "t.parquet", index=True)

    table = Table.read(tmp_path / "t.parquet")

    assert list(table.parameters) == list(PARAMETERS)


def test_a_training_that_diverged_earns_nothing_on_average(tmp_path):
    rows = rows_of()
    rows[1]["val_kind_loss"] = math.nan
    rows[2]["val_kind_loss"] = None
    rows[3]["val_kind_loss"] = math.inf

    table = Table.read(write_plain(tmp_path / "t.parquet", rows))

    finite = np.isfinite(table.averaged).all(axis=-1)
    assert np.argwhere(~finite).tolist() == [[0, 1], [0, 2], [0, 3]]
    assert np.isfinite(table.losses[0, 1]).all()


def without(name):
    return lambda rows: [{k: v for k, v in row.items() if k != name} for row in rows]


def changed(place, **values):
    return lambda rows: [{**row, **values} if i == place else row for i, row in enumerate(rows)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(without("epoch"), "needs a column 'epoch', got", id="no epoch"),
        pytest.param(without("seconds"), "needs a column 'seconds', got", id="no seconds"),
        pytest.param(
            lambda rows: [{"units": 1, "epoch": 1, "seconds": 1.0}],
            r"needs columns 'val_<head>_loss', got \['units', 'epoch', 'seconds'\]",
            id="no head",
        ),
        pytest.param(
            lambda rows: [*rows, rows[5]],
            "needs each row once, got units=8, rate=0.001, optimizer='adam', norm=False, "
            "seed=1, epoch=2 twice",
            id="a row twice",
        ),
        pytest.param(
            lambda rows: rows[:5] + rows[6:],
            "needs all 288 combinations, got 287 rows, the first missing: units=8, rate=0.001, "
            "optimizer='adam', norm=False, seed=1, epoch=2",
            id="an epoch of one training missing",
        ),
        pytest.param(
            lambda rows: [row for row in rows if (row["units"], row["norm"]) != (32, True)],
            "the first missing: units=32, rate=0.001, optimizer='adam', norm=True, seed=0",
            id="no full factorial",
        ),
        pytest.param(
            lambda rows: [row for row in rows if row["epoch"] != 2],
            r"needs epochs 1, 2, \.\.\. without a gap, got \[1, 3, 4\]",
            id="an epoch missing everywhere",
        ),
        pytest.param(
            changed(3, val_kind_loss=-0.5), "needs losses >= 0, .* got -0.5", id="loss below 0"
        ),
        pytest.param(
            changed(3, seconds=math.nan), "needs finite seconds >= 0, got nan", id="NaN seconds"
        ),
        pytest.param(changed(3, units=None), "a value of 'units' in every row", id="null"),
        pytest.param(
            changed(3, rate=math.nan), "finite numbers as 'rate', got NaN", id="NaN parameter"
        ),
        pytest.param(
            lambda rows: [{**row, "epoch": float(row["epoch"])} for row in rows],
            "whole numbers as 'epoch', got double",
            id="epochs as floats",
        ),
        pytest.param(
            lambda rows: [{**row, "val_kind_loss": "low"} for row in rows],
            "numbers as 'val_kind_loss', got string",
            id="losses as text",
        ),
        pytest.param(
            lambda rows: [{**row, "layers": [1, 2]} for row in rows],
            "numbers, text or booleans as 'layers', got list",
            id="a list as parameter",
        ),
        pytest.param(lambda rows: rows[:0], "needs", id="nothing"),
    ],
)
def test_what_is_wrong_with_a_table_is_named(tmp_path, change, message):
    path = write_plain(tmp_path / "t.parquet", change(rows_of()))

    with pytest.raises(InputError, match=message):
        Table.read(path)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        pytest.param(b"[1]", "a JSON object as metadata 'twohead'", id="no object"),
        pytest.param(b"\xff{", "a JSON object as metadata 'twohead'", id="no JSON"),
        pytest.param(b'{"heads": ["other"]}', r"the heads \['kind', 'place'\]", id="other heads"),
        pytest.param(
            b'{"baselines": {"kind": 0}}', "a finite baseline > 0 of 'kind', got 0", id="baseline"
        ),
    ],
)
def test_metadata_that_contradicts_the_table_is_refused(tmp_path, metadata, message):
    columns = pa.Table.from_pylist(rows_of()).replace_schema_metadata({b"twohead": metadata})
    pq.write_table(columns, tmp_path / "t.parquet")

    with pytest.raises(InputError, match=message):
        Table.read(tmp_path / "t.parquet")


def test_a_file_that_is_no_table_is_refused(tmp_path):
    (tmp_path / "t.parquet").write_text("not Parquet")

    with pytest.raises(InputError, match="needs to be a Parquet file, got"):
        Table.read(tmp_path / "t.parquet")
    with pytest.raises(InputError, match="needs to be a file, got"):
        Table.read(tmp_path / "absent.parquet")


def test_a_config_that_is_not_in_the_table_is_refused(tmp_path):
    table = Table.read(write_plain(tmp_path / "t.parquet", rows_of()))

    with pytest.raises(InputError, match=r"units needs one of \[8, 16, 32\], got 9"):
        table.place({"units": 9, "rate": 0.1, "optimizer": "adam", "norm": True})
    with pytest.raises(InputError, match=r"norm needs one of .* got none"):
        table.place({"units": 8, "rate": 0.1, "optimizer": "adam"})
