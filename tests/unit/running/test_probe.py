"""What is tried before a study's shares are picked, and what follows from it."""

import pytest

from search.errors import InputError, SearchError
from search.running.probe import (
    MemoryCandidate,
    _best_threads,
    _peaks_of,
    _possible_threads,
    _sound_of,
)

GIB = 2**30


@pytest.mark.parametrize(
    ("cores", "memory", "expected"),
    [
        pytest.param(1, 0, [1], id="one_cpu"),
        pytest.param(2, 0, [1, 2], id="two"),
        pytest.param(12, 0, [1, 2, 4, 8, 12], id="doubling_and_all"),
        pytest.param(8, 10 * GIB, [1, 2, 4, 8], id="memory_for_all"),
        pytest.param(8, 6 * GIB, [2, 4, 8], id="memory_for_four"),
        pytest.param(8, GIB // 2, [8], id="one_must_do"),
    ],
)
def test_threads_are_tried_as_far_as_a_node_has_memory_for_its_trials(cores, memory, expected):
    assert _possible_threads(cores, memory, GIB) == expected


@pytest.mark.parametrize(
    ("speeds", "expected"),
    [
        pytest.param({1: 100.0}, 1, id="only_one"),
        pytest.param({1: 100.0, 2: 140.0, 4: 120.0}, 2, id="the_fastest"),
        pytest.param({1: 100.0, 2: 104.0}, 1, id="a_tie_goes_to_fewer"),
        pytest.param({1: 100.0, 2: 104.0, 4: 108.0}, 4, id="unless_still_more_gain"),
    ],
)
def test_the_threads_that_train_most_are_taken(speeds, expected):
    assert _best_threads(speeds) == expected


def test_trainings_none_of_which_could_be_timed_are_refused():
    with pytest.raises(SearchError, match="needs trainings that can be timed, got none"):
        _best_threads({})


def answer(peak, kept=0, outside=0):
    return {"peak_bytes": peak, "kept_bytes": kept, "outside_bytes": outside}


SMALL, LARGE = (MemoryCandidate(config={"n": n}) for n in (1, 2))


def test_what_is_taken_besides_is_the_most_of_all_trainings():
    peaks = _peaks_of([(SMALL, answer(50, kept=3, outside=9)), (LARGE, answer(90, 8, 5))])

    assert ([peak.num_bytes for peak in peaks.measured], peaks.beside_bytes) == ([50, 90], 13)


def test_a_config_that_cannot_be_built_is_left_out():
    failed = {"failed": "InputError: n needs to be odd", "is_memory": False}

    assert _sound_of([(SMALL, answer(50)), (LARGE, failed)]) == [(SMALL, answer(50))]


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        pytest.param(
            [{"failed": "n is odd", "is_memory": False}] * 2,
            r"the config n=1 of the space could not be trained: n is odd",
            id="none_can_be_built",
        ),
        pytest.param(
            [answer(50), {"failed": "out of memory: 3 GB", "is_memory": True}],
            r"memory for every trial, but the config n=2 of .* alone: out of memory: 3 GB",
            id="no_memory",
        ),
    ],
)
def test_what_can_never_be_trained_is_refused_with_its_config(answers, message):
    with pytest.raises(InputError, match=message):
        _sound_of(list(zip((SMALL, LARGE), answers, strict=True)))
