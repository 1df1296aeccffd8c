"""The seconds of a study add up, also where its runs were interrupted and resumed."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.record.history import RecordedAttempt, TrialRecord
from search.results.ledger import WORK, make_ledger
from search.results.usage import Usage
from trainables.trial.measurement import Measurement


class Clock:
    def __init__(self, now):
        self.now = now

    def __call__(self):
        return self.now


seconds = st.floats(0.0, 50.0).map(lambda value: round(value, 3))
trial = st.tuples(
    seconds,  # that its slot waits for it
    seconds,  # that a new process takes to begin
    st.lists(
        st.tuples(seconds, seconds), max_size=4
    ),  # work of each epoch, and what comes besides
    st.sampled_from(["ended", "ended", "ended", "lost"]),
)
run = st.tuples(
    st.floats(0.0, 300.0), st.lists(st.lists(trial, max_size=4), min_size=1, max_size=3)
)
"""When it is interrupted, if it has not ended before, and the trials of each slot."""


def measured(number, epoch, generation, work):
    return Measurement(
        number=number,
        attempt=1,
        epoch=epoch,
        generation=generation,
        losses={"c": 1.0},
        metrics={},
        loss=1.0,
        seconds={"open": 0.0, "train": work},
    )


def recorded(number, measurements, generation):
    return TrialRecord(
        number=number,
        config={},
        origin="sampler",
        is_reference=False,
        system={},
        attempts=(RecordedAttempt(attempt=1, generation=generation),),
        measurements=tuple(measurements),
    )


def events_of(slot, trials):
    """Yield when what becomes of each trial of a slot: (second, what, trial, more)."""
    now, process, began = 0.0, None, 0.0
    for place, (wait, startup, epochs, end) in enumerate(trials):
        now += wait
        yield now, "handed", (slot, place), None
        has_begun = process is not None
        if process is None:
            now += startup
            process, began = f"{slot}-{place}", now
        for work, besides in epochs:
            now += work + besides
            yield now, "epoch", (slot, place), (process, began, work)
            has_begun = True
        yield now, end, (slot, place), (process, began, has_begun)
        process = None if end == "lost" else process


def play(cut, slots, generation, first):
    """Return what a run recorded of itself and its trials, as its pool takes note of them."""
    clock = Clock(1000.0)
    usage, works = Usage(len(slots), clock), {}
    events = sorted(
        (event for slot, trials in enumerate(slots) for event in events_of(slot, trials)),
        key=lambda event: event[0],
    )
    for second, what, key, more in events:
        if second > cut:
            break
        clock.now = 1000.0 + second
        number = first + works.setdefault(key, (len(works), []))[0]
        if what == "handed":
            usage.handed()
        elif what == "epoch":
            usage.seen(more[0], 1000.0 + more[1])
            works[key][1].append(more[2])
        elif what == "ended":
            usage.seen(more[0], 1000.0 + more[1])
            usage.ended(more[0], number, 1)
        elif more[2]:
            usage.freed()
    clock.now = 1000.0 + (cut if any(event[0] > cut for event in events) else clock.now - 1000.0)
    trials = [
        recorded(
            first + place,
            [measured(first + place, e, generation, work) for e, work in enumerate(found, 1)],
            generation,
        )
        for place, found in works.values()
    ]
    return {"generation": generation, **usage.to_dict()}, trials


def parts_of(ledger):
    overhead = (ledger.overhead_seconds or 0.0) * ledger.num_trials
    return ledger.startup_seconds, ledger.idle_seconds, ledger.work_seconds, overhead


@given(st.lists(run, min_size=1, max_size=3))
@settings(max_examples=300, deadline=None)
def test_the_seconds_of_the_slots_add_up_wherever_runs_are_interrupted(runs):
    figures, trials = [], []
    for generation, (cut, slots) in enumerate(runs, start=1):
        found, its_trials = play(cut, slots, generation, len(trials))
        figures.append(found)
        trials += its_trials

    ledger = make_ledger(trials, figures)

    assert min(parts_of(ledger)) >= 0.0
    used = sum(run["startup_seconds"] + run["idle_seconds"] for run in figures)
    assert ledger.startup_seconds + ledger.idle_seconds == pytest.approx(used)  # nothing is cut
    if ledger.num_trials:
        assert sum(parts_of(ledger)) == pytest.approx(ledger.slot_seconds, abs=1e-6)
    else:
        assert sum(parts_of(ledger)) <= ledger.slot_seconds + 1e-6


def test_a_slot_that_trains_when_its_run_is_interrupted_is_not_idle():
    clock = Clock(0.0)
    usage = Usage(2, clock)
    for process, number in (("a", 0), ("b", 1)):
        usage.handed()
        usage.seen(process, 2.0)
        clock.now = 10.0
        usage.ended(process, number, 1)
    for process in ("a", "b"):
        usage.handed()
        clock.now = 90.0
        usage.seen(process, 2.0)

    assert usage.to_dict()["idle_seconds"] == 0.0


def test_figures_of_an_interrupted_run_that_counted_work_as_idle_are_put_right():
    trials = [recorded(n, [measured(n, e, 1, 20.0) for e in (1, 2)], 1) for n in (0, 1)]
    run = {
        "generation": 1,
        "wall_seconds": 50.0,
        "slots": 2,
        "startup_seconds": 10.0,
        "idle_seconds": 60.0,
        "trials": 1,
    }

    ledger = make_ledger(trials, [run])

    assert parts_of(ledger) == (10.0, 10.0, 80.0, 0.0)
    assert set(WORK) <= set(ledger.parts)
