"""Fast non-dominated sorting."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from search.results import pareto
from search.results.pareto import front_ranks


def peeled(losses):
    """Rank by peeling off one front after the other."""
    ranks, left = np.zeros(len(losses), dtype=np.int64), np.arange(len(losses))
    for rank in range(len(losses)):
        on_front = pareto.front_mask(losses[left])
        ranks[left[on_front]] = rank
        left = left[~on_front]
        if not len(left):
            break
    return ranks


@given(num_heads=st.integers(1, 4), num_points=st.integers(0, 25), seed=st.integers(0, 10**6))
def test_ranks_are_those_of_peeling_off_one_front_after_the_other(num_heads, num_points, seed):
    losses = np.random.default_rng(seed).integers(0, 6, (num_points, num_heads)).astype(float)

    ranks = front_ranks(losses)

    assert ranks.tolist() == peeled(losses).tolist()
