import io
import re

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import trainables.data.digits as digits
from trainables.data.check import check_dataset
from trainables.data.digits import _source_digits, write_digits
from trainables.data.request import DataRequest
from trainables.errors import InputError
from trainables.spec.heads import DeclaredHead


def test_the_bundled_set_has_1797_digits_with_attribution():
    table = digits._asset()

    assert table.num_rows == 1797
    assert len(_source_digits()) == 1797
    assert np.bincount([source.digit for source in _source_digits()]).min() == 174
    assert b"10.24432/C50P49" in table.schema.metadata[b"attribution"]
    assert b"CC BY 4.0" in table.schema.metadata[b"attribution"]


def test_every_source_is_cut_to_its_ink():
    for source in _source_digits():
        assert source.ink[0].any()
        assert source.ink[-1].any()
        assert source.ink[:, 0].any()
        assert source.ink[:, -1].any()


def test_the_written_set_passes_the_check(tmp_path):
    path = write_digits(str(tmp_path / "set"), num=200)
    heads = (
        DeclaredHead(name="c_output", kind="classification"),
        DeclaredHead(name="r_output", kind="box"),
    )

    info = check_dataset(DataRequest(uri=str(tmp_path / "set"), heads=heads, image_size=None)).info

    assert path == tmp_path / "set" / "digits.parquet"
    assert info.image_shape == (32, 32, 1)
    assert sum(info.rows.values()) == 200
    assert min(info.rows.values()) == 20
    assert info.heads[0].units == 10


def test_equal_arguments_give_equal_columns_and_another_seed_others(tmp_path):
    first, again, other = (
        pq.read_table(write_digits(tmp_path / f"{name}.parquet", num=30, seed=seed))
        for name, seed in [("first", 1), ("again", 1), ("other", 2)]
    )

    assert first.equals(again)
    assert not first.column("image").equals(other.column("image"))


def test_splits_share_no_source_digit():
    groups = digits._groups(np.random.default_rng(0))
    names = {split: {id(source) for source in group} for split, group in groups.items()}

    assert sum(len(group) for group in groups.values()) == 1797
    assert not names["train"] & names["validation"]
    assert not names["train"] & names["test"]
    assert not names["validation"] & names["test"]
    assert all({s.digit for s in group} == set(range(10)) for group in groups.values())


def test_the_box_is_where_the_ink_lies(tmp_path, monkeypatch):
    monkeypatch.setattr(digits, "PAPER", (0.0, 0.5))
    monkeypatch.setattr(digits, "NOISE", (0.0, 0.0))
    table = pq.read_table(write_digits(tmp_path / "a.parquet", num=40, digit_pixels=(24, 24)))

    for row in table.to_pylist():
        canvas = np.asarray(Image.open(io.BytesIO(row["image"])))
        ink = np.argwhere(canvas > 0)
        tight = [*ink.min(axis=0), *(ink.max(axis=0) + 1)]
        assert np.abs(np.array(row["r_output"]) * 32 - tight).max() <= 2


def test_digits_have_the_size_asked_for(tmp_path):
    path = write_digits(tmp_path / "a.parquet", num=50, image_size=40, digit_pixels=(16, 28))

    boxes = np.round(np.array(pq.read_table(path).column("r_output").to_pylist()) * 40, 3)
    heights = boxes[:, 2] - boxes[:, 0]
    assert heights.min() >= 14
    assert heights.max() <= 28
    assert boxes.min() >= 0
    assert boxes.max() <= 40


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param({"num": 5}, "num from 20 to 1000000, got 5", id="num"),
        pytest.param({"image_size": 4}, "image_size from 8 to 1024, got 4", id="image_size"),
        pytest.param({"seed": -1}, "a seed in [0, 2**64), got -1", id="seed"),
        pytest.param({"digit_pixels": (20, 10)}, "got [20, 10]", id="reversed_pixels"),
        pytest.param({"digit_pixels": (8, 40)}, "got [8, 40]", id="larger_than_the_canvas"),
    ],
)
def test_arguments_out_of_range_are_refused_before_anything_is_written(
    tmp_path, arguments, message
):
    with pytest.raises(InputError, match=re.escape(message)):
        write_digits(tmp_path / "a.parquet", **arguments)

    assert list(tmp_path.iterdir()) == []
