"""Which trials go on training."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.running.scheduler import (
    Fifo,
    ParetoAsha,
    _count_better,
    _default_grace,
    make_scheduler,
)
from trainables.errors import InputError

HEADS = ("c", "r", "s")
# Two digits apart at least, so that scaling a head cannot make two losses equal by rounding.
LOSS = st.integers(1, 400).map(lambda hundredths: hundredths / 100)
FACTOR = st.integers(2, 4)


def asha(num_heads=2, *, max_epochs=9, grace=3, factor=2):
    heads = HEADS[:num_heads]
    baselines = dict.fromkeys(heads, 1.0)
    return ParetoAsha(baselines, max_epochs=max_epochs, grace=grace, factor=factor)


def by_head(point, heads=HEADS):
    return dict(zip(heads, point, strict=False))


def decide_all(scheduler, points, epoch=3):
    return [scheduler.decide(number, epoch, by_head(point)) for number, point in enumerate(points)]


@st.composite
def rungs(draw, smallest=0, largest=12):
    """Return the number of heads and the points of a rung."""
    num_heads = draw(st.integers(1, 3))
    point = st.tuples(*[LOSS] * num_heads)
    return num_heads, draw(st.lists(point, min_size=smallest, max_size=largest))


@given(rung=rungs(), factor=FACTOR, gain=st.floats(0.01, 1.0))
def test_a_newcomer_that_dominates_all_points_of_its_rung_is_never_stopped(rung, factor, gain):
    num_heads, points = rung
    scheduler = asha(num_heads, factor=factor)
    decide_all(scheduler, points)
    best = np.min([*points, (4.0,) * num_heads], axis=0)

    verdict = scheduler.decide(99, 3, by_head(best * gain))

    assert verdict == "continue"


@given(rung=rungs(smallest=3), factor=FACTOR, data=st.data())
def test_a_newcomer_that_all_points_of_its_rung_dominate_is_stopped(rung, factor, data):
    num_heads, points = rung
    scheduler = asha(num_heads, factor=factor)
    decide_all(scheduler, points)
    worst = np.max(points, axis=0)
    head = data.draw(st.integers(0, num_heads - 1))
    worst[head] += 0.001

    verdict = scheduler.decide(99, 3, by_head(worst))

    assert verdict == "stop"


@given(rung=rungs(), factor=FACTOR, scale=st.floats(1e-6, 1e6), data=st.data())
def test_the_unit_of_a_head_changes_no_decision(rung, factor, scale, data):
    num_heads, points = rung
    scaled = data.draw(st.integers(0, num_heads - 1))
    units = [scale if head == scaled else 1.0 for head in range(num_heads)]
    other = ParetoAsha(by_head(units), max_epochs=9, factor=factor)

    verdicts = decide_all(other, np.array(points).reshape(-1, num_heads) * units)

    assert verdicts == decide_all(asha(num_heads, factor=factor), points)


@given(rung=rungs(), factor=FACTOR, data=st.data())
def test_the_order_of_heads_changes_no_decision(rung, factor, data):
    num_heads, points = rung
    heads = tuple(data.draw(st.permutations(HEADS[:num_heads])))
    other = ParetoAsha(dict.fromkeys(heads, 1.0), max_epochs=9, factor=factor)

    verdicts = decide_all(other, points)

    assert verdicts == decide_all(asha(num_heads, factor=factor), points)


@given(rung=rungs(smallest=1), data=st.data())
def test_results_elsewhere_change_no_decision_at_a_rung(rung, data):
    num_heads, points = rung
    noisy = asha(num_heads)
    elsewhere = st.tuples(st.sampled_from([1, 2, 4, 5, 6, 7, 9]), st.integers(0, 20))

    verdicts = []
    for number, point in enumerate(points):
        for epoch, other in data.draw(st.lists(elsewhere, max_size=3)):
            noisy.decide(other, epoch, by_head(data.draw(st.tuples(*[LOSS] * num_heads))))
        verdicts.append(noisy.decide(number, 3, by_head(point)))

    assert verdicts == decide_all(asha(num_heads), points)


@given(rung=rungs(smallest=2), data=st.data())
def test_a_scheduler_rebuilt_from_its_decisions_goes_on_as_the_first_would(rung, data):
    num_heads, points = rung
    cut = data.draw(st.integers(0, len(points)))
    first, rebuilt = asha(num_heads), asha(num_heads)
    verdicts = decide_all(first, points)

    for number in range(cut):
        rebuilt.restore(number, 3, by_head(points[number]))
    rest = [rebuilt.decide(n, 3, by_head(points[n])) for n in range(cut, len(points))]

    assert rest == verdicts[cut:]


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("epoch", [1, 3], ids=["between_rungs", "at_a_rung"])
def test_a_loss_that_is_not_finite_is_stopped_even_if_it_is_first(loss, epoch):
    assert asha().decide(0, epoch, {"c": 0.1, "r": loss}) == "stop"


BROKEN = st.sampled_from([math.nan, math.inf, -math.inf])


@given(rung=rungs(), factor=FACTOR, epoch=st.integers(1, 9), data=st.data())
def test_a_loss_that_is_not_finite_never_survives_whatever_else_is_there(
    rung, factor, epoch, data
):
    num_heads, points = rung
    scheduler = asha(num_heads, factor=factor)
    decide_all(scheduler, points, epoch)
    broken = [data.draw(LOSS | BROKEN) for _ in range(num_heads)]
    broken[data.draw(st.integers(0, num_heads - 1))] = data.draw(BROKEN)

    verdict = scheduler.decide(99, epoch, by_head(broken))

    assert verdict == "stop"


@given(rung=rungs(smallest=3), factor=FACTOR, where=st.integers(0, 2), broken=BROKEN)
def test_no_finite_point_is_stopped_because_another_is_not_finite(rung, factor, where, broken):
    num_heads, points = rung
    worst = [9.0] * num_heads
    other, same = asha(num_heads, factor=factor), asha(num_heads, factor=factor)

    with_broken = decide_all(other, [*points[:where], (broken,) * num_heads, *points[where:]])
    with_worst = decide_all(same, [*points[:where], worst, *points[where:]])

    del with_broken[where], with_worst[where]
    assert with_broken == with_worst


def test_a_point_that_is_not_finite_counts_as_the_worst_of_its_rung():
    scheduler = asha()
    decide_all(scheduler, [(math.nan, 0.1), (0.5, 0.5), (math.inf, math.inf)])

    assert scheduler.decide(9, 3, {"c": 0.6, "r": 0.6}) == "continue"


def test_a_point_worse_than_baseline_on_one_head_is_stopped_before_all_that_are_not():
    scheduler = asha()
    decide_all(scheduler, [(0.9, 0.9), (0.8, 0.95)])

    assert scheduler.decide(9, 3, {"c": 0.01, "r": 1.1}) == "stop"


def test_a_head_that_nothing_has_brought_below_its_baseline_abstains():
    scheduler = asha()
    decide_all(scheduler, [(0.7, 0.999), (0.8, 1.2)])

    assert scheduler.decide(9, 3, {"c": 0.6, "r": 1.5}) == "continue"


def test_a_head_counts_once_a_point_has_brought_it_below_its_baseline():
    scheduler = asha()
    decide_all(scheduler, [(0.7, 0.5), (0.8, 1.2)])

    assert scheduler.decide(9, 3, {"c": 0.6, "r": 1.5}) == "stop"


def test_a_head_that_abstains_separates_points_that_are_equal_on_the_others():
    assert _count_better((0.5, 1.2), [(0.5, 1.1), (0.5, 1.2), (0.5, 1.3)], np.ones(2)) == 1


def test_all_heads_are_compared_where_none_has_left_its_baseline():
    assert _count_better((1.1, 1.1), [(1.2, 1.2), (1.05, 1.05)], np.ones(2)) == 1


def test_the_middle_of_a_front_is_kept_before_its_ends_even_where_it_is_crowded():
    front = [(0.05, 0.98), (0.98, 0.05), (0.09, 0.11), (0.11, 0.09)]
    middle = (0.1, 0.1)

    assert _count_better(middle, front, np.ones(2)) <= 2
    assert _count_better(front[0], [*front[1:], middle], np.ones(2)) == 3


def test_an_earlier_front_is_before_a_better_mean():
    assert _count_better((0.3, 0.3), [(0.29, 0.29), (0.95, 0.2)], np.ones(2)) == 2
    assert _count_better((0.95, 0.2), [(0.29, 0.29), (0.3, 0.3)], np.ones(2)) == 1


def test_losses_below_the_floor_of_the_log_are_still_told_apart():
    assert _count_better((1e-6, 1e-6), [(1e-7, 1e-7)], np.ones(2)) == 1
    assert _count_better((1e-7, 1e-7), [(1e-6, 1e-6)], np.ones(2)) == 0


def test_equal_points_do_not_stop_each_other():
    assert decide_all(asha(), [(0.5, 0.5)] * 6) == ["continue"] * 6


def test_all_go_on_while_fewer_than_factor_points_are_at_the_rung():
    points = [(0.5, 0.5), (0.6, 0.6), (0.7, 0.7), (0.8, 0.8)]

    assert decide_all(asha(factor=4), points) == ["continue"] * 3 + ["stop"]


@pytest.mark.parametrize(
    ("max_epochs", "grace", "factor", "rungs"),
    [
        pytest.param(9, 3, 2, (3, 6), id="default_study"),
        pytest.param(12, 3, 2, (3, 6), id="none_at_the_end"),
        pytest.param(100, 3, 3, (3, 9, 27, 81), id="factor_of_three"),
        pytest.param(3, 3, 2, (), id="grace_of_the_whole_training"),
        pytest.param(1, 5, 2, (), id="grace_beyond_the_training"),
    ],
)
def test_rungs_stand_at_powers_of_the_factor_below_the_last_epoch(
    max_epochs, grace, factor, rungs
):
    assert asha(max_epochs=max_epochs, grace=grace, factor=factor).rungs == rungs


@pytest.mark.parametrize("max_epochs", [1, 2, 3])
def test_short_trainings_have_no_rung_by_default(max_epochs):
    scheduler = make_scheduler("pareto_asha", baselines={"c": 1.0}, max_epochs=max_epochs)

    assert isinstance(scheduler, ParetoAsha)
    assert scheduler.rungs == ()


def test_the_default_grace_is_three_epochs_or_half_of_a_short_training():
    assert [_default_grace(epochs) for epochs in (4, 5, 6, 9, 100)] == [2, 2, 3, 3, 3]


def test_fifo_lets_every_finite_trial_go_on():
    scheduler = make_scheduler("fifo", baselines={"c": 1.0}, max_epochs=9)

    assert isinstance(scheduler, Fifo)
    assert [scheduler.decide(n, 3, {"c": float(n)}) for n in range(5)] == ["continue"] * 5
    assert scheduler.decide(9, 3, {"c": math.nan}) == "stop"


def test_an_unknown_scheduler_is_refused_with_the_names_there_are():
    with pytest.raises(InputError, match=r"one of \['fifo', 'pareto_asha'\], got 'asha'"):
        make_scheduler("asha", baselines={"c": 1.0}, max_epochs=9)


@pytest.mark.slow
@settings(deadline=None)
@given(
    curves=st.lists(
        st.tuples(LOSS, LOSS), min_size=1, max_size=30, unique_by=(lambda c: c[0], lambda c: c[1])
    ),
    factor=FACTOR,
)
def test_with_one_head_it_decides_at_every_rung_as_rays_asha_outside_of_the_gap(curves, factor):
    from ray.tune.schedulers import AsyncHyperBandScheduler

    options = {"max_t": 3 * factor + 1, "grace_period": 3, "reduction_factor": factor}
    theirs = AsyncHyperBandScheduler(time_attr="epoch", metric="c", mode="min", **options)
    ours = asha(1, factor=factor, max_epochs=3 * factor + 1)
    at_rung = {3: [], 3 * factor: []}
    for number, curve in enumerate(curves):
        trial = SimpleNamespace(trial_id=str(number))
        theirs.on_trial_add(None, trial)
        for (epoch, before), loss in zip(at_rung.items(), curve, strict=True):
            verdict = theirs.on_trial_result(None, trial, {"epoch": epoch, "c": loss}).lower()
            num, better = len(before), sum(other < loss for other in before)
            in_gap = num % factor != 1 % factor and better == math.ceil(num / factor)
            before.append(loss)
            found = ours.decide(number, epoch, {"c": loss})
            if not in_gap and num + 1 >= factor:
                assert found == verdict
            if verdict == "stop":
                break
