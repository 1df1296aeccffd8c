"""Which of many recorded trials a model is shown."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.results.pareto import front_ranks
from search.sampling.trials import MOST_SHOWN, NUM_BEST, RecordedTrial, best_first
from search.sampling.trials import shown as places_shown


def trial(number, point=None, state="complete"):
    return RecordedTrial(number=number, config={}, state=state, log_skills=point)


def shown(known):
    points, pending = [one.point for one in known], [one.is_pending for one in known]
    return [known[place] for place in places_shown(points, pending)]


def numbers(known):
    return [one.number for one in known]


def many(count, num_running=0):
    rng = np.random.default_rng(0)
    ended = [trial(n, tuple(rng.normal(size=2).tolist())) for n in range(count)]
    return [*ended, *(trial(count + n, state="running") for n in range(num_running))]


def test_few_trials_are_all_shown_but_those_that_teach_nothing():
    known = [
        trial(0, (1.0, 1.0)),
        trial(1, (1.0, 1.0), state="failed"),
        trial(2, state="running"),
        trial(3, state="interrupted"),
        trial(4, (float("nan"), 1.0)),
        trial(5, (2.0, 2.0), state="stopped"),
    ]

    assert numbers(shown(known)) == [0, 2, 3, 5]


@pytest.mark.parametrize(
    ("count", "num_running"),
    [(1000, 0), (1000, 16), (1000, 1000), (3, 1000), (0, 1000), (MOST_SHOWN, 1)],
)
def test_of_many_trials_as_many_as_may_be_are_shown(count, num_running):
    known = many(count, num_running)

    found = numbers(shown(known))

    assert len(found) == MOST_SHOWN
    assert found == sorted(set(found))


def test_of_a_thousand_running_trials_the_newest_leave_room_for_the_others():
    found = shown(many(1000, 1000))

    assert sum(one.is_pending for one in found) == 100
    assert numbers(found)[-1] == 1999


def test_the_best_trials_are_shown_and_the_rest_is_spread_from_the_first_to_the_newest():
    known = many(2000)
    points = np.array([one.log_skills for one in known])
    best = set(np.argsort(front_ranks(points), kind="stable")[:10].tolist())

    found = numbers(shown(known))

    rest = sorted(set(found) - set(best_first(points, NUM_BEST)))
    assert best <= set(found)
    assert rest[0] < 20
    assert rest[-1] > 1980
    assert max(np.diff(rest)) < 30


@given(
    st.integers(1, 3).flatmap(
        lambda heads: st.lists(
            st.lists(st.integers(0, 5), min_size=heads, max_size=heads), min_size=1, max_size=40
        )
    ),
    st.integers(1, 40),
)
def test_the_best_come_front_by_front_in_any_unit(rows, most):
    points = np.array(rows, dtype=float)
    ranks = front_ranks(points)

    best = best_first(points, most)

    assert len(set(best)) == len(best) == min(most, len(points))
    assert ranks[best].tolist() == sorted(ranks.tolist())[: len(best)]
    assert best_first(np.exp(7 * points), most) == best
