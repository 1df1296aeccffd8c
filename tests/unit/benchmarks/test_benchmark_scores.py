from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from search.errors import InputError
from tests.benchmarks.scores import Covered, Scale, exact_volume
from tests.benchmarks.table import Table
from tests.unit.benchmarks.small_tables import rows_of, write_plain

# Few different values, so that points often share a coordinate or are equal.
SHARES = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0]) | st.floats(0, 1)


def table_of(losses):
    """Return as much of a table as a scale looks at; losses of shape (configs, epochs, heads)."""
    losses = np.array(losses, dtype=np.float64)
    return SimpleNamespace(heads=("a", "b", "c")[: losses.shape[-1]], averaged=losses)


@settings(deadline=None, max_examples=200)
@given(arrays(np.float64, st.tuples(st.integers(1, 30), st.just(2)), elements=SHARES))
def test_the_share_is_that_of_the_exact_hypervolume_after_every_point(points):
    covered = Covered(SimpleNamespace(points=points[:, None], whole=1.0))

    for place in range(len(points)):
        share = covered.add(place, 1)
        assert share == pytest.approx(exact_volume(points[: place + 1]), abs=1e-9)


@settings(deadline=None, max_examples=50)
@given(arrays(np.float64, st.tuples(st.integers(1, 12), st.integers(1, 4)), elements=SHARES))
def test_any_number_of_heads_is_scored_by_the_exact_hypervolume(points):
    covered = Covered(SimpleNamespace(points=points[:, None], whole=1.0))

    for place in range(len(points)):
        share = covered.add(place, 1)
        assert share == pytest.approx(exact_volume(points[: place + 1]), abs=1e-9)


def test_a_scale_runs_from_the_smallest_loss_to_the_third_quartile_of_the_final_ones():
    early = [[8.0, 8.0]] * 5
    final = [[1.0, 4.0], [2.0, 3.0], [3.0, 2.0], [4.0, 1.0], [9.0, 9.0]]

    scale = Scale(table_of(np.stack([early, final], axis=1)))

    assert scale.ideal.tolist() == [1.0, 1.0]
    assert scale.reference.tolist() == [4.0, 4.0]
    np.testing.assert_allclose(scale.points[1, 1], [0.5, np.log(4 / 3) / np.log(4)])
    assert scale.points[0].tolist() == [[0, 0], [0, 0]]
    assert scale.points[4].tolist() == [[0, 0], [0, 0]]


def test_a_point_of_an_early_epoch_counts():
    losses = [[[1.0, 1.0], [9.0, 9.0]], [[5.0, 5.0], [3.0, 3.0]], [[5.0, 5.0], [2.0, 2.0]]]
    covered = Covered(Scale(table_of(losses)))

    assert covered.add(1, 2) < 1
    assert covered.add(0, 1) == 1


@pytest.mark.parametrize("num_heads", [1, 2, 3])
def test_the_whole_table_covers_exactly_everything_in_any_order(tmp_path, num_heads):
    heads = ("a", "b", "c")[:num_heads]
    rows = rows_of(heads=heads)
    rows[0][f"val_{heads[0]}_loss"] = float("nan")
    table = Table.read(write_plain(tmp_path / "t.parquet", rows))
    covered = Covered(Scale(table))
    everything = [(c, e) for c in range(table.num_configs) for e in range(1, table.epochs + 1)]

    shares = [covered.add(*everything[i]) for i in np.random.default_rng(0).permutation(144)]

    assert shares[-1] == 1
    assert shares == sorted(shares)


def test_a_loss_of_zero_is_as_good_as_the_smallest_above_it():
    losses = [[[0.0, 2.0]], [[1.0, 1.0]], [[2.0, 3.0]], [[4.0, 4.0]]]

    scale = Scale(table_of(losses))

    assert scale.ideal.tolist() == [1.0, 1.0]
    assert scale.points[0, 0, 0] == 1.0


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        pytest.param([[[1.0, 1.0]], [[1.0, 2.0]]], "final losses of 'a'", id="all alike"),
        pytest.param([[[np.nan, 1.0]], [[np.nan, 2.0]]], "final losses of 'a'", id="all NaN"),
        pytest.param(
            [[[1.0, 9.0]], [[9.0, 1.0]], [[9.0, 9.0]], [[9.0, 9.0]]],
            "a point better than the reference on all heads",
            id="no point better than the reference",
        ),
    ],
)
def test_a_table_that_cannot_tell_contenders_apart_is_refused(losses, message):
    with pytest.raises(InputError, match=message):
        Scale(table_of(losses))
