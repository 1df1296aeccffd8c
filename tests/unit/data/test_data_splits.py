import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.data_sets import request
from trainables.data.splits import _named_splits, draw_validation
from trainables.errors import InputError
from trainables.spec.problems import Problems

CLASSES = st.lists(st.integers(0, 4), min_size=2, max_size=200).filter(
    lambda classes: max(classes.count(one) for one in classes) > 1
)


def problems():
    return Problems("set", lambda row: f"row {row}")


def draw(classes, share=0.2, seed=0):
    wanted = request("set", validation_share=share, validation_seed=seed)
    ids, rows = np.zeros(len(classes), np.int8), np.arange(len(classes))
    return draw_validation(ids, np.array(classes, dtype=np.int64), rows, wanted, problems())


@given(classes=CLASSES, share=st.floats(0.01, 0.99), seed=st.integers(0, 2**64 - 1))
def test_a_split_is_deterministic_and_leaves_every_class_in_training(classes, share, seed):
    splits = draw(classes, share, seed)

    assert splits.tolist() == draw(classes, share, seed).tolist()
    assert set(splits.tolist()) == {0, 1}
    assert set(np.array(classes)[splits == 0]) == set(classes)


@given(classes=CLASSES, seed=st.integers(0, 100))
def test_every_class_of_two_rows_or_more_keeps_its_share_up_to_one_row(classes, seed):
    doubled = np.array(classes * 2)

    splits = draw(doubled, 0.25, seed)

    for one in set(classes):
        rows = doubled == one
        assert abs(splits[rows].sum() - 0.25 * rows.sum()) <= 1.0


def test_the_validation_rows_are_as_many_as_the_share_says():
    assert draw([0, 1, 2, 3, 4] * 20, 0.13).sum() == 13


def test_a_class_with_one_row_only_trains():
    splits = draw([0] * 10 + [1], 0.5)

    assert splits[10] == 0


def test_another_seed_draws_other_rows():
    assert draw([0] * 100, seed=0).tolist() != draw([0] * 100, seed=1).tolist()


def test_the_drawn_rows_never_change_between_versions():
    assert np.flatnonzero(draw([0, 1] * 10, 0.2, 7)).tolist() == [1, 3, 8, 16]


def test_classes_of_one_row_each_cannot_be_split():
    noted = problems()
    ids = np.zeros(3, np.int8)
    draw_validation(ids, np.arange(3), np.arange(3), request("set", validation_share=0.5), noted)

    with pytest.raises(InputError, match=r"at least 2 different images, got 3 in 3 class"):
        noted.refuse_any()


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(pa.string(), id="string"),
        pytest.param(pa.large_string(), id="large"),
        pytest.param(pa.dictionary(pa.int8(), pa.string()), id="dictionary"),
    ],
)
def test_the_split_column_may_be_any_text(kind):
    column = pa.chunked_array([pa.array(["train", "test", "validation"]).cast(kind)])

    assert _named_splits(column, problems()).tolist() == [0, 2, 1]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param(["train", "val"], "'validation' or 'test', got 'val' in row 1", id="word"),
        pytest.param(["train", None], "got None in row 1", id="null"),
        pytest.param([0, 1], "needs text, got type int64", id="numbers"),
    ],
)
def test_other_split_words_are_named(values, message):
    noted = problems()

    assert _named_splits(pa.chunked_array([values]), noted) is None
    with pytest.raises(InputError, match=message):
        noted.refuse_any()
