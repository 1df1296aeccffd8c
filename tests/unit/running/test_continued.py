"""Stopped trials that the sampler has taken up again: the conductor, the log, the scheduler."""

import pytest

from search.record.decisions import Asked
from search.running.attempts import AttemptEnd
from search.running.conductor import Finished
from search.running.scheduler import make_scheduler
from search.sampling.trials import Continue
from tests.support import stub_run
from tests.support.conducted_study import (
    BASELINES,
    REFERENCE,
    Bench,
    Cut,
    StopAt,
    counted_writes,
    numbered,
    rate_of,
)
from tests.support.scripted_study import small_packs


class Again:
    """Takes up the first stopped trial before each trial from a number on; else a new config."""

    def __init__(self, first=1):
        self.first, self.seen = first, []

    def __call__(self, number, recorded):
        self.seen.append({t.number: (t.state, len(t.curve)) for t in recorded})
        stopped = [t.number for t in recorded if t.may_continue]
        if number >= self.first and stopped:
            return Continue(number=stopped[0])
        return numbered(number, recorded)


@pytest.fixture(name="bench")
def make_bench(tmp_path, monkeypatch):
    bench = Bench(tmp_path, monkeypatch)
    yield bench
    bench.close()


def kinds(bench, number):
    found = [one for one in bench.decisions if getattr(one, "number", None) == number]
    return [one.kind for one in found]


def epochs_of(bench):
    return [len(trial.measurements) for trial in bench.trials]


def taken_up(bench, scheduler=None, suggest=None, **changes):
    """Return the second attempt of trial 0, which was stopped after two epochs of five."""
    values = {"epochs": 5, "trials": 2, **changes}
    bench.conduct(scheduler or StopAt((0, 2)), suggest or Again(), **values)
    bench.train(bench.ask())
    assert bench.states == ["stopped"]
    return bench.ask()


def test_it_is_the_next_attempt_of_its_number_and_goes_on_from_what_was_kept(bench):
    again = taken_up(bench)

    assert (again.number, again.attempt, again.generation) == (0, 2, 1)
    assert again.config == {"conv1_filters": 8, "learning_rate": rate_of(0)}
    assert [kept.epoch for kept in again.kept] == [2, 1]
    assert bench.states == ["running"]
    assert bench.trials[0].taken_up_after == 2


def test_it_is_running_and_then_complete_and_both_attempts_count(bench):
    again = taken_up(bench)

    assert bench.train(again)

    assert bench.states == ["complete"]
    assert epochs_of(bench) == [5]
    assert [m.attempt for m in bench.trials[0].measurements] == [1, 1, 2, 2, 2]
    assert kinds(bench, 0) == ["asked", "stopped", "ended", "attempted", "ended"]
    assert stub_run.notes(bench.storage, "trained") == [f"{rate_of(0)} {n}" for n in range(1, 6)]


def test_the_scheduler_decides_anew_from_the_next_epoch_on(bench):
    scheduler = StopAt((0, 2), (0, 4))

    bench.train(taken_up(bench, scheduler))

    assert scheduler.asked == [(0, 1), (0, 2), (0, 3), (0, 4)]
    assert (bench.states, epochs_of(bench)) == (["stopped"], [4])


def test_it_may_be_taken_up_as_often_as_it_is_stopped(bench):
    bench.conduct(StopAt((0, 1), (0, 2), (0, 3)), Again(), epochs=5, trials=2)

    bench.finish()

    assert bench.states == ["complete", "complete"]
    assert epochs_of(bench) == [5, 5]
    assert [m.attempt for m in bench.trials[0].measurements] == [1, 2, 3, 4, 4]


def test_pareto_asha_stops_it_at_a_later_rung_and_not_at_its_old_one(bench):
    scheduler = make_scheduler("pareto_asha", baselines=BASELINES, max_epochs=8, grace=2)
    bench.conduct(scheduler, Again(first=3), epochs=8, trials=4)

    bench.finish()

    again = [trial for trial in bench.trials if len(trial.attempts) > 1]
    assert again
    for trial in again:
        ends = [one for one in bench.decisions if one.kind == "stopped"]
        stops = [one.epoch for one in ends if one.number == trial.number]
        assert stops == sorted(set(stops))  # never twice after the same epoch
        assert set(stops) <= {2, 4}
    assert {"complete"} == {trial.state for trial in again}


def test_no_number_is_used_up_by_it(bench):
    suggest = Again()
    bench.conduct(StopAt((0, 2), (1, 2)), suggest, epochs=4, trials=4)

    bench.finish()

    asked = [one.number for one in bench.decisions if isinstance(one, Asked)]
    assert asked == [0, 1, 2, 3]
    assert bench.states == ["complete"] * 4
    assert [dict(trial.system) for trial in bench.trials] == [{"asked": n} for n in range(4)]


def test_the_sampler_is_shown_it_as_running_with_all_its_epochs(bench):
    suggest = Again()
    again = taken_up(bench, suggest=suggest)
    bench.train(again, epochs=1)

    bench.ask()

    assert suggest.seen == [{}, {0: ("stopped", 2)}, {0: ("running", 3)}]


def test_beside_it_new_trials_begin(bench):
    again = taken_up(bench, trials=3)

    others = [bench.ask().number for _ in range(2)]
    assert bench.conductor.ask() is None
    assert bench.train(again)

    assert others == [1, 2]
    assert bench.states == ["complete", "running", "running"]


def test_it_is_not_taken_up_once_all_trials_were_asked_for(bench):
    bench.conduct(StopAt((0, 2), (1, 2)), Again(first=2), epochs=4, trials=2)

    bench.finish()

    assert bench.states == ["stopped", "stopped"]
    assert isinstance(bench.conductor.ask(), Finished)


def test_when_its_attempts_are_lost_it_goes_on_from_its_newest_checkpoint(bench):
    bench.train(taken_up(bench), epochs=1)

    bench.conductor.lost(0, 2, AttemptEnd())
    third = bench.ask()

    assert (third.number, third.attempt, [kept.epoch for kept in third.kept]) == (0, 3, [3, 2, 1])
    assert bench.train(third)
    assert epochs_of(bench) == [5]


def test_with_its_checkpoints_gone_it_is_trained_anew_and_its_old_stop_does_not_hold(bench):
    scheduler = StopAt((0, 2))
    again = taken_up(bench, scheduler)
    bench.store.delete("checkpoints")

    assert bench.train(again)

    assert (bench.states, epochs_of(bench)) == (["complete"], [5])
    assert scheduler.asked == [(0, epoch) for epoch in range(1, 6)]


def test_it_is_given_up_when_its_attempts_are_lost_again_and_again(bench):
    taken_up(bench)
    for attempt in (2, 3, 4):
        bench.conductor.lost(0, attempt, AttemptEnd())
        if attempt < 4:
            assert bench.ask().attempt == attempt + 1

    assert bench.states == ["failed"]
    assert bench.trials[0].reason == "given up after 3 lost attempts: its process died (3x)"
    assert bench.ask().number == 1


def test_when_the_hours_are_over_it_is_interrupted_and_keeps_what_it_measured(bench):
    bench.train(taken_up(bench), epochs=1)
    bench.conductor.end_interrupted()

    assert (bench.states, epochs_of(bench)) == (["interrupted"], [3])
    scheduler = StopAt((0, 2))
    bench.conduct(scheduler, Again(), epochs=5, trials=2)
    assert (bench.ask().number, bench.trials[0].taken_up_after) == (0, 3)
    assert scheduler.restored == [(0, epoch) for epoch in (1, 2, 3)]


def test_the_reference_is_never_stopped_and_so_never_taken_up(bench):
    bench.conduct(StopAt((0, 2), (1, 2)), Again(first=2), first=(REFERENCE,), epochs=4, trials=3)

    bench.finish()

    assert [len(trial.attempts) for trial in bench.trials] == [1, 2, 1]
    assert bench.states == ["complete"] * 3


@pytest.mark.parametrize("is_resumed", [False, True], ids=["same_owner", "next_owner"])
def test_it_goes_on_after_its_record_was_folded(bench, monkeypatch, is_resumed):
    monkeypatch.setattr("search.running.conductor.FOLD_EVERY", 2)
    stops = StopAt(*[(number, 2) for number in range(0, 12, 3)])
    options = {"suggest": Again(first=12), "epochs": 4, "trials": 13}
    with small_packs(trials=2, segments=4):
        bench.conduct(stops, **options)
        for _ in range(12):
            bench.train(bench.ask())
        assert bench.states.count("stopped") == 4
        assert len(bench.store.list("trials")) == 6
        if is_resumed:
            bench.conduct(stops, **options)
        bench.finish()

        assert bench.states == ["complete"] * 13
        assert epochs_of(bench) == [4] * 13
        assert len(stub_run.notes(bench.storage, "trained")) == 13 * 4


TRIALS, EPOCHS = 6, 8


class Cuttable(Bench):
    """Two stopped trials or more are taken up, under Pareto ASHA; one trial at a time."""

    def go_on(self):
        self.conduct(
            make_scheduler("pareto_asha", baselines=BASELINES, max_epochs=EPOCHS, grace=2),
            Again(first=4),
            trials=TRIALS,
            epochs=EPOCHS,
        )


@pytest.fixture(name="undisturbed")
def undisturbed_study(tmp_path, monkeypatch):
    study = Cuttable(tmp_path / "undisturbed", monkeypatch)
    study.go_on()
    with counted_writes() as counter:
        study.finish()
    study.num_writes = counter.count
    attempts = [len(trial.attempts) for trial in study.trials]
    assert sum(number > 1 for number in attempts) >= 2
    assert max(attempts) > 2
    yield study
    study.close()


@pytest.mark.slow
def test_cut_before_a_write_of_any_kind_it_ends_as_if_nobody_had_disturbed_it(
    undisturbed, tmp_path, monkeypatch
):
    trained = len(stub_run.notes(undisturbed.storage, "trained"))
    # Every third: an epoch makes several, so that all kinds have their turn.
    for cut_at in range(0, undisturbed.num_writes, 3):
        study = Cuttable(tmp_path / str(cut_at), monkeypatch)
        study.go_on()
        with counted_writes() as counter:
            counter.cut_at = cut_at
            with pytest.raises(Cut):
                study.finish()
        study.go_on()
        study.finish()

        assert study.table == undisturbed.table, cut_at
        assert "running" not in study.states
        asked = [one.number for one in study.decisions if isinstance(one, Asked)]
        assert asked == list(range(TRIALS)), cut_at
        assert len(stub_run.notes(study.storage, "trained")) <= trained + 1, cut_at
        assert all(trial.charged_failures == 0 for trial in study.trials)
        study.close()
