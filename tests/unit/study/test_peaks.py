"""From what was measured to the share of a GPU that a trial takes."""

import pytest

from search.errors import InputError
from search.study.shares import (
    GPU_RESERVE,
    GUESSED,
    Peak,
    Peaks,
    check_fits,
    class_for,
    larger_class,
    share_words,
    usable_bytes,
)
from trainables.spec.footprint import Footprint
from trainables.storage.sealed_json import convert

GIB = 2**30


def peak(weights, activations, num_bytes):
    return Peak(weights=weights, activations=activations, num_bytes=num_bytes)


# 1,000 bytes for every process, 4 for each of the weights' and 2 for each of the activations'.
SMALL, WIDE, LARGE = peak(10, 50, 1140), peak(20, 500, 2080), peak(500, 500, 4000)
PEAKS = Peaks(measured=(SMALL, WIDE, LARGE))


@pytest.mark.parametrize(
    ("size", "taken"),
    [
        pytest.param((10, 50), 1140, id="the_smallest"),
        pytest.param((200, 100), 2000, id="between"),
        pytest.param((20, 500), 2080, id="the_widest"),
    ],
)
def test_what_a_training_needs_follows_from_its_weights_and_its_activations(size, taken):
    assert PEAKS.needed(Footprint(*size)) == pytest.approx(taken * (1 + GUESSED), abs=1)


@pytest.mark.parametrize(
    "size",
    [
        pytest.param((500, 500), id="the_largest"),
        pytest.param((490, 490), id="nearly_the_largest"),
        pytest.param((900, 900), id="larger_than_any"),
        pytest.param((0, 0), id="unknown"),
    ],
)
def test_no_training_needs_more_than_the_largest_that_was_measured(size):
    assert PEAKS.needed(Footprint(*size)) == PEAKS.most_bytes == 4400


def test_none_needs_less_than_the_smallest_that_was_measured():
    assert PEAKS.needed(Footprint(weights=1, activations=1)) == 1140 * 1.25


def test_what_a_process_takes_besides_is_added_without_a_margin():
    beside = Peaks(measured=PEAKS.measured, beside_bytes=50)

    size = Footprint(weights=200, activations=100)
    assert beside.needed(size) == PEAKS.needed(size) + 50
    assert beside.most_bytes == 4450


def test_two_measured_trainings_tell_what_all_bytes_cost_together():
    two = Peaks(measured=(peak(10, 90, 1200), peak(100, 900, 3000)))

    needed = two.needed(Footprint(weights=400, activations=100))
    assert needed == pytest.approx(2000 * (1 + GUESSED), abs=1)


@pytest.mark.parametrize(
    "measured",
    [
        pytest.param((peak(0, 0, 4000), peak(0, 0, 1000)), id="of_unknown_size"),
        pytest.param((peak(10, 50, 4000), peak(500, 500, 1000)), id="the_larger_took_less"),
        pytest.param((peak(10, 50, 4000),), id="only_one"),
    ],
)
def test_where_nothing_fits_what_was_measured_the_largest_counts_for_all(measured):
    odd = Peaks(measured=measured)

    assert [odd.needed(Footprint(*size)) for size in ((20, 60), (400, 400))] == [4400, 4400]


@pytest.mark.parametrize(
    ("num_bytes", "expected"),
    [
        pytest.param(GIB, 0.25, id="quarter"),
        pytest.param(int(4 * GIB * (1 - GPU_RESERVE)), 0.25, id="just_a_quarter"),
        pytest.param(4 * GIB, 0.5, id="a_quarter_is_less_than_a_quarter_of_all"),
        pytest.param(9 * GIB, 1.0, id="whole"),
        pytest.param(16 * GIB, None, id="too_much"),
    ],
)
def test_the_smallest_share_with_room_is_picked(num_bytes, expected):
    assert class_for(num_bytes, 16 * GIB) == expected
    if expected is not None:
        assert num_bytes <= expected * usable_bytes(16 * GIB)


def test_what_no_gpu_has_room_for_is_refused_with_both_sizes():
    message = r"the reference trial takes up to 20 GiB, and there are GPUs with 15 GiB for trials"
    with pytest.raises(InputError, match=message):
        check_fits("the reference trial", 20 * GIB, 16 * GIB)


@pytest.mark.parametrize(
    ("share", "larger"), [(0, None), (0.25, 0.5), (0.5, 1.0), (1, None), (2, None)]
)
def test_beyond_a_share_comes_the_next_larger_and_beyond_a_whole_gpu_nothing(share, larger):
    assert larger_class(share) == larger


def test_shares_are_said_in_words():
    assert [share_words(share) for share in (0.25, 0.5, 1.0, 2)] == [
        "a quarter of a GPU",
        "half a GPU",
        "a whole GPU",
        "2 GPUs",
    ]


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({"measured": [], "beside_bytes": 0}, id="nothing"),
        pytest.param({"measured": [[1, 1, 0]], "beside_bytes": 0}, id="no_bytes"),
        pytest.param({"measured": [[1, 1, 5]], "beside_bytes": -1}, id="less_than_nothing"),
    ],
)
def test_peaks_that_cannot_be_are_refused(values):
    with pytest.raises(InputError, match=r"at `\$\.measured|beside_bytes needs an integer >= 0"):
        convert(values, Peaks)
