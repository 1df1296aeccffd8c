"""The study's state machine on a real record: who is next, who goes on, who is tried again."""

import json

import pytest

from search.errors import StorageError, UnfitNode
from search.record.decisions import Asked, Attempted, Ended, Released, Stopped
from search.running.attempts import AttemptEnd
from search.running.checkpoints import Checkpoints
from search.running.conductor import Finished
from search.running.run import _put_back
from search.running.scheduler import make_scheduler
from search.sampling.trials import Suggestion
from search.study.objective import _weighted_total, every_head
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
from trainables.trial.attempt import TrialFailure


@pytest.fixture(name="bench")
def make_bench(tmp_path, monkeypatch):
    bench = Bench(tmp_path, monkeypatch)
    yield bench
    bench.close()


def fault(bench, number, **what):
    (bench.storage / "faults.json").write_text(json.dumps({repr(rate_of(number)): what}))


def kinds(bench, number):
    found = [one for one in bench.decisions if getattr(one, "number", None) == number]
    return [one.kind for one in found]


def test_the_reference_goes_first_then_the_given_configs_then_the_samplers(bench):
    first = (REFERENCE, ({"conv1_filters": 4, "learning_rate": 0.25}, "start_with"))
    bench.conduct(trials=4, first=first)

    bench.finish()

    assert [trial.origin for trial in bench.trials] == [
        "reference",
        "start_with",
        "sampler",
        "sampler",
    ]
    assert [trial.is_reference for trial in bench.trials] == [True, False, False, False]
    assert [t.config["learning_rate"] for t in bench.trials] == [0.5, 0.25, 0.003, 0.004]
    assert [dict(trial.system) for trial in bench.trials[1:3]] == [{}, {"asked": 2}]


def test_the_sampler_is_shown_every_trial_with_its_state_and_its_best_point(bench):
    seen = []

    def look(number, recorded):
        seen.append([(t.number, t.state, t.epoch, t.log_skills is None) for t in recorded])
        return numbered(number, recorded)

    fault(bench, 0, kind="raise", at=2)
    bench.conduct(suggest=look, trials=4)
    bench.train(bench.ask())
    bench.train(bench.ask())
    bench.ask()
    bench.ask()

    assert seen == [
        [],
        [(0, "failed", 1, False)],
        [(0, "failed", 1, False), (1, "complete", 3, False)],
        [(0, "failed", 1, False), (1, "complete", 3, False), (2, "running", 0, True)],
    ]


def test_none_means_not_now_and_finished_means_never(bench):
    conductor = bench.conduct(trials=1)

    envelope = bench.ask()
    assert conductor.ask() is None
    bench.train(envelope)

    assert isinstance(conductor.ask(), Finished)
    assert conductor.is_finished


def test_a_trial_is_asked_for_in_the_log_before_it_is_handed_out(bench):
    conductor = bench.conduct()
    with counted_writes() as counter:
        counter.cut_at = 0
        with pytest.raises(Cut):
            conductor.ask()

    assert bench.trials == ()
    assert conductor.in_flight == ()


def test_a_stop_is_in_the_log_before_the_actor_hears_of_it(bench):
    bench.conduct(StopAt((0, 2)))
    envelope = bench.ask()

    assert bench.train(envelope)

    assert kinds(bench, 0) == ["asked", "stopped", "ended"]
    assert (bench.trials[0].state, len(bench.trials[0].measurements)) == ("stopped", 2)


def test_a_stop_that_was_logged_holds_although_nobody_heard_of_it(bench):
    conductor = bench.conduct(StopAt((0, 2)))
    envelope = bench.ask()
    record = conductor._log.record

    def record_and_die(*decisions):
        record(*decisions)
        if isinstance(decisions[0], Stopped):
            raise Cut

    conductor._log.record = record_and_die
    with pytest.raises(Cut):
        bench.train(envelope)

    scheduler = StopAt()
    bench.conduct(scheduler)
    assert bench.states == ["stopped"]
    assert scheduler.restored == [(0, 1), (0, 2)]
    assert bench.ask().number == 1


def test_what_an_earlier_owner_let_pass_is_not_judged_by_what_came_later(bench):
    def better_and_better(number, recorded):
        rate = 10 ** (-1.0 - 0.5 * number)
        return Suggestion(config={"conv1_filters": 8, "learning_rate": rate}, system_attrs={})

    def take_over():
        scheduler = make_scheduler("pareto_asha", baselines=BASELINES, max_epochs=9)
        bench.conduct(scheduler, better_and_better, trials=5, epochs=9)
        return scheduler

    take_over()
    for _ in range(5):
        assert not bench.train(bench.ask(), epochs=4)
    first = bench.trials[0].measurements[2]

    scheduler = take_over()

    assert bench.states == ["running"] * 5
    assert scheduler.decide(9, 3, first.losses) == "stop"  # so late it would not have passed


def train_until_memory_is_short(bench, envelope):
    """Report two epochs, and that there was no memory for the third; return what it said."""
    actor = bench.actor(envelope)
    for _ in range(2):
        assert not bench.report(envelope, actor.step())
    return bench.report(envelope, TrialFailure(epoch=9, reason="no room", is_out_of_memory=True))


def test_a_trial_that_has_too_little_of_a_gpu_goes_on_with_the_next_larger_share(bench):
    bench.conduct(gpu=0.25, epochs=9)
    first = bench.ask()

    assert train_until_memory_is_short(bench, first)

    again = bench.ask()
    assert (first.gpu, again.number, again.attempt, again.gpu) == (None, 0, 2, 0.5)
    assert max(kept.epoch for kept in again.kept) == 2
    assert kinds(bench, 0) == ["asked", "released", "attempted"]
    assert [(r.cause, r.charged) for r in bench.trials[0].releases] == [("share", False)]


def test_a_trial_that_has_too_little_of_a_gpu_twice_fails_with_what_it_had(bench):
    bench.conduct(gpu=0.25, trials=1, epochs=9)
    for _ in range(2):
        train_until_memory_is_short(bench, bench.ask())

    assert isinstance(bench.conductor.ask(), Finished)
    assert bench.states == ["failed"]
    assert bench.trials[0].reason == ("no room; it had half a GPU, and before a quarter of a GPU")


@pytest.mark.parametrize(
    ("gpu", "reason"),
    [
        pytest.param(0.0, "no room", id="cpu"),
        pytest.param(1.0, "no room; it had a whole GPU", id="whole_gpu"),
        pytest.param(2.0, "no room; it had 2 GPUs", id="two_gpus"),
    ],
)
def test_where_there_is_no_larger_share_a_trial_without_memory_fails_at_once(bench, gpu, reason):
    bench.conduct(gpu=gpu, trials=1, epochs=9)

    train_until_memory_is_short(bench, bench.ask())

    assert [(trial.state, trial.reason) for trial in bench.trials] == [("failed", reason)]
    assert bench.trials[0].releases == ()


def test_a_share_that_a_trial_was_given_is_its_own_after_an_interruption_too(bench):
    bench.conduct(gpu=0.5, epochs=9)
    train_until_memory_is_short(bench, bench.ask())
    bench.train(bench.ask(), epochs=0)

    bench.conduct(gpu=0.5, epochs=9)

    envelopes = [bench.ask(), bench.ask()]
    assert [(e.number, e.attempt, e.gpu) for e in envelopes] == [(0, 3, 1.0), (1, 1, None)]


def test_a_stop_and_the_end_that_it_brings_are_logged_at_the_same_moment(bench):
    conductor = bench.conduct(StopAt((0, 2)))

    bench.train(bench.ask())

    segments = [segment for _, segment in conductor._log.reader.segments.read()]
    assert [one.kind for one in segments[-1]] == ["stopped", "ended"]


def test_an_end_and_what_is_tried_next_can_be_logged_at_the_same_moment(bench):
    conductor = bench.conduct()
    envelope = bench.ask()

    with conductor.together():
        assert bench.report(envelope, TrialFailure(epoch=3, reason="NaN"))
        assert bench.ask().number == 1
        assert bench.states == ["running"]

    assert bench.states == ["failed", "running"]
    segments = [segment for _, segment in conductor._log.reader.segments.read()]
    assert [one.kind for one in segments[-1]] == ["ended", "asked"]


def test_what_an_ended_trial_left_is_deleted_apart_from_its_end(bench, monkeypatch):
    conductor = bench.conduct()
    envelope = bench.ask()
    actor = bench.actor(envelope)
    for _ in range(3):
        conductor.measured(0, 1, actor.step())
    tidied = []
    monkeypatch.setattr(
        Checkpoints, "tidy", lambda self, trial: tidied.append((trial.number, trial.state))
    )

    assert bench.states == ["complete"]
    assert tidied == []
    conductor.tidy_up()
    conductor.tidy_up()
    assert tidied == [(0, "complete")]


def test_the_reference_is_trained_to_its_end_whatever_the_scheduler_says(bench):
    bench.conduct(StopAt((0, 1), (1, 1)), first=(REFERENCE,), trials=2)

    bench.finish()

    assert bench.states == ["complete", "stopped"]


@pytest.mark.parametrize(
    ("stops", "state"),
    [pytest.param((), "complete", id="last_epoch"), pytest.param(((0, 3),), "stopped", id="stop")],
)
def test_what_an_actor_measured_and_no_driver_saw_is_decided_by_the_next_one(bench, stops, state):
    bench.conduct(epochs=3 if state == "complete" else 5)
    envelope = bench.ask()
    actor = bench.actor(envelope)
    for _ in range(3):
        step = actor.step()
        if step.epoch < 3:
            bench.report(envelope, step)

    bench.conduct(StopAt(*stops), epochs=3 if state == "complete" else 5)

    assert bench.states == [state]
    assert len(bench.trials[0].measurements) == 3
    assert bench.ask().number == 1


def test_what_a_lost_attempt_measured_unseen_is_decided_before_another_is_made(bench):
    bench.conduct()
    envelope = bench.ask()
    actor = bench.actor(envelope)
    for _ in range(3):
        actor.step()

    bench.conductor.lost(0, 1, AttemptEnd())

    assert bench.states == ["complete"]
    assert [one.kind for one in bench.decisions[1:]] == ["asked", "released", "ended"]


@pytest.mark.parametrize(
    ("loss", "cause", "charged"),
    [
        pytest.param(AttemptEnd(), "lost", True, id="actor"),
        pytest.param(AttemptEnd(how="memory"), "memory", True, id="memory"),
        pytest.param(AttemptEnd(how="node"), "node", False, id="node"),
        pytest.param(AttemptEnd(how="preempted"), "preempted", False, id="preempted"),
    ],
)
def test_a_lost_attempt_is_made_again_from_its_checkpoint_and_charged_once(
    bench, loss, cause, charged
):
    bench.conduct()
    envelope = bench.ask()
    bench.train(envelope, epochs=2)

    bench.conductor.lost(0, 1, loss)
    bench.conductor.lost(0, 1, loss)
    again = bench.ask()

    assert (again.number, again.attempt) == (0, 2)
    assert [kept.epoch for kept in again.kept] == [2, 1]
    trial = bench.trials[0]
    assert [(r.cause, r.charged, r.epoch) for r in trial.releases] == [(cause, charged, 2)]
    assert trial.charged_failures == int(charged)
    assert bench.train(again, epochs=1)
    assert stub_run.notes(bench.storage, "trained") == [f"{rate_of(0)} {n}" for n in (1, 2, 3)]


def test_a_process_that_was_renewed_is_not_charged_however_often(bench):
    bench.conduct()
    for attempt in range(1, 30):
        bench.store.put(f"recycled/000001-000000-{attempt:03d}", b"")  # as its process says
        assert bench.ask().attempt == attempt
        bench.conductor.lost(0, attempt, AttemptEnd())

    trial = bench.trials[0]
    assert (trial.state, trial.charged_failures, trial.node_losses) == ("running", 0, 0)


@pytest.mark.parametrize(
    ("loss", "times", "reason"),
    [
        pytest.param(
            AttemptEnd(), 3, "given up after 3 lost attempts: its process died (3x)", id="process"
        ),
        pytest.param(
            AttemptEnd(how="memory"),
            3,
            "given up after 3 lost attempts: its node ran out of memory (3x)",
            id="memory",
        ),
        pytest.param(
            AttemptEnd(how="node"),
            20,
            "given up after 20 lost attempts: its node died (20x)",
            id="node",
        ),
    ],
)
def test_a_trial_whose_attempts_are_lost_again_and_again_fails_with_the_reason(
    bench, loss, times, reason
):
    bench.conduct()
    for attempt in range(1, times + 1):
        assert bench.ask().number == 0
        bench.conductor.lost(0, attempt, loss)

    assert (bench.states, bench.trials[0].reason) == (["failed"], reason)
    assert bench.ask().number == 1


def test_the_reason_of_a_trial_that_is_given_up_says_what_was_raised(bench):
    bench.conduct()
    for attempt in (1, 2, 3):
        bench.ask()
        bench.conductor.lost(0, attempt, AttemptEnd(detail="OSError: no such device"))

    assert bench.trials[0].reason.endswith("; the last raised OSError: no such device")


def test_a_failing_storage_ends_the_study_and_not_the_trial(bench):
    bench.conduct()
    bench.ask()

    with pytest.raises(
        StorageError, match="trial 0 cannot go on with what the storage does: no room; once"
    ):
        bench.conductor.lost(0, 1, AttemptEnd(how="storage", detail="no room"))

    assert bench.states == ["running"]


def test_a_node_that_can_train_nothing_ends_the_study_and_not_the_trial(bench):
    bench.conduct()
    envelope = bench.ask()

    with pytest.raises(
        UnfitNode, match=r"no GPU on node gpu-1; nothing is lost: `twohead resume`"
    ):
        bench.conductor.lost(
            envelope.number,
            envelope.attempt,
            AttemptEnd(how="unfit", detail="no GPU on node gpu-1"),
        )
    bench.conduct()
    bench.finish()

    assert bench.states == ["complete"] * 3
    assert bench.trials[0].charged_failures == bench.trials[0].node_losses == 0


def test_a_failed_trial_keeps_what_it_measured_and_is_never_tried_again(bench):
    fault(bench, 0, kind="nan", at=3)
    bench.conduct(epochs=5)
    bench.train(bench.ask())

    bench.conduct(epochs=9, trials=1)

    assert isinstance(bench.conductor.ask(), Finished)
    trial = bench.trials[0]
    assert (trial.state, trial.reason) == ("failed", "val_c_output_loss became NaN in epoch 3")
    assert len(trial.measurements) == 2


def test_a_trial_that_cannot_be_built_again_keeps_what_it_measured(bench):
    bench.conduct(epochs=5)
    bench.train(bench.ask(), epochs=2)
    bench.conductor.lost(0, 1, AttemptEnd(how="node"))
    fault(bench, 0, kind="raise", at="open")

    bench.train(bench.ask())

    assert (bench.states, len(bench.trials[0].measurements)) == (["failed"], 2)


def test_results_of_an_attempt_that_was_given_up_change_nothing(bench):
    bench.conduct()
    old = bench.ask()
    actor = bench.actor(old)
    bench.report(old, actor.step())
    bench.conductor.lost(0, 1, AttemptEnd(how="node"))
    bench.ask()
    before = bench.decisions

    assert bench.conductor.measured(0, 1, actor.step())
    assert bench.conductor.measured(0, 1, TrialFailure(epoch=2, reason="late"))

    assert bench.decisions == before
    assert bench.conductor.in_flight == (0,)


def test_an_epoch_that_is_trained_again_is_decided_once(bench):
    scheduler = StopAt()
    bench.conduct(scheduler, epochs=4)
    bench.train(bench.ask(), epochs=2)
    bench.conductor.lost(0, 1, AttemptEnd())
    bench.store.delete("checkpoints")

    assert bench.train(bench.ask())

    assert scheduler.asked == [(0, 1), (0, 2), (0, 3), (0, 4)]
    assert len(bench.trials[0].measurements) == 4


def test_when_the_epochs_have_grown_complete_trials_go_on_and_others_do_not(bench):
    fault(bench, 2, kind="nan", at=1)
    bench.conduct(StopAt((1, 2)))
    bench.finish()
    assert bench.states == ["complete", "stopped", "failed"]

    conductor = bench.conduct(StopAt(), epochs=5)
    assert not conductor.is_finished
    bench.finish()

    assert bench.states == ["complete", "stopped", "failed"]
    assert [len(trial.measurements) for trial in bench.trials] == [5, 2, 0]
    assert kinds(bench, 0) == ["asked", "ended", "attempted", "ended"]
    trained = stub_run.notes(bench.storage, "trained")
    assert [line for line in trained if line.startswith(f"{rate_of(0)} ")] == [
        f"{rate_of(0)} {epoch}" for epoch in range(1, 6)
    ]


def test_when_the_trials_have_grown_new_numbers_follow(bench):
    bench.conduct(trials=2)
    bench.finish()

    assert not bench.conduct(trials=4).is_finished
    bench.finish()

    assert bench.states == ["complete"] * 4


def test_when_the_hours_are_over_nothing_more_is_begun_and_what_runs_is_interrupted(bench):
    conductor = bench.conduct(deadline=10.0, trials=5)
    bench.train(bench.ask())
    bench.train(bench.ask(), epochs=1)
    unseen = bench.actor(bench.ask())
    for _ in range(3):
        unseen.step()
    bench.now = 10.0

    assert conductor.ask() is None
    assert conductor.is_finished
    conductor.end_interrupted()

    assert isinstance(conductor.ask(), Finished)
    assert bench.states == ["complete", "interrupted", "complete"]
    assert bench.trials[1].reason == "the budget's hours are over"


def test_interrupted_trials_go_on_before_new_numbers(bench):
    conductor = bench.conduct(deadline=10.0, trials=4)
    bench.train(bench.ask())
    bench.train(bench.ask(), epochs=1)
    bench.now = 10.0
    conductor.end_interrupted()

    bench.conduct(trials=4)

    again = bench.ask()
    assert (again.number, again.attempt, [kept.epoch for kept in again.kept]) == (1, 2, [1])
    assert bench.ask().number == 2
    assert kinds(bench, 1) == ["asked", "ended", "attempted"]


def test_trials_of_a_dead_driver_go_on_in_their_order_and_are_not_charged(bench):
    bench.conduct(trials=4)
    for epochs in (1, 2, 0):
        bench.train(bench.ask(), epochs=epochs)

    bench.conduct(trials=4)

    again = [bench.ask() for _ in range(4)]
    assert [(one.number, one.attempt, one.generation) for one in again] == [
        (0, 2, 2),
        (1, 2, 2),
        (2, 2, 2),
        (3, 1, 2),
    ]
    assert [trial.charged_failures for trial in bench.trials] == [0, 0, 0, 0]


def test_attempts_lost_under_several_drivers_are_counted_together(bench):
    for attempt in (1, 2, 3):
        bench.conduct()
        assert bench.ask().attempt == 2 * attempt - 1
        bench.conductor.lost(0, 2 * attempt - 1, AttemptEnd())
        if attempt < 3:
            bench.ask()

    assert bench.states == ["failed"]


def test_the_log_is_folded_now_and_then(bench, monkeypatch):
    monkeypatch.setattr("search.running.conductor.FOLD_EVERY", 2)
    bench.conduct(trials=5, epochs=2)

    bench.finish()

    assert len(bench.store.list("trials")) == 4
    assert len(bench.store.list("epochs")) == 2
    assert bench.states == ["complete"] * 5


def test_what_is_known_of_the_trials_is_always_what_the_log_says(bench):
    bench.conduct(StopAt((1, 2)), trials=3)
    bench.finish()

    assert tuple(bench.conductor.trials.values()) == bench.trials
    assert bench.conductor.live == {}
    assert {type(one) for one in bench.decisions[1:]} <= {
        Asked,
        Attempted,
        Ended,
        Released,
        Stopped,
    }


class Listener:
    """A scheduler that keeps what it is given to rank."""

    def __init__(self):
        self.heard = []

    def decide(self, number, epoch, losses):
        self.heard.append((number, epoch, dict(losses)))
        return "continue"

    def restore(self, number, epoch, losses):
        self.heard.append((number, epoch, dict(losses)))


@pytest.mark.parametrize(
    ("objective", "names"),
    [
        pytest.param(
            every_head(["c_output", "r_output"]), ("c_output", "r_output"), id="every_head"
        ),
        pytest.param(every_head(["r_output"]), ("r_output",), id="one_head"),
        pytest.param(_weighted_total({"c_output": 1.0, "r_output": 3.0}), ("total",), id="total"),
    ],
)
def test_scheduler_and_sampler_are_given_the_objective_and_every_head_is_recorded(
    bench, objective, names
):
    listener, shown = Listener(), []

    def look(number, recorded):
        shown.extend(trial.log_skills for trial in recorded)
        return numbered(number, recorded)

    bench.conduct(listener, look, trials=2, epochs=2, objective=objective)
    bench.finish()
    heard = list(listener.heard)
    bench.conduct(listener, trials=2, epochs=2, objective=objective)

    measured = [(t.number, m.epoch, m.losses) for t in bench.trials for m in t.measurements]
    assert [values.keys() for _, _, values in heard] == [set(names)] * 4
    assert heard == [
        (number, epoch, objective.values(losses)) for number, epoch, losses in measured
    ]
    assert listener.heard == heard + heard  # the next owner restores what was decided
    assert [len(skills) for skills in shown] == [len(names)]
    assert {head for _, _, losses in measured for head in losses} == {"c_output", "r_output"}


NAN = "val_c_output_loss became NaN in epoch {}"
RAISED = "ValueError: rows of {} (/tmp/job-{}/own code/net.py:7)"


def fail(bench, reason, epochs=0):
    """Hand out a trial that fails after so many epochs."""
    envelope = bench.ask()
    bench.train(envelope, epochs)
    bench.report(envelope, TrialFailure(epoch=epochs + 1, reason=reason))


def test_three_equal_failures_without_a_success_pause_a_study(bench):
    bench.conduct(trials=9)
    for number in range(3):
        assert not bench.conductor.is_paused
        fail(bench, RAISED.format(number, 10 + number))

    assert bench.conductor.ask() is None
    assert not bench.conductor.is_finished
    said = bench.conductor.pause_words()
    assert "3 trials (0, 1, 2) failed in the same way and none came further: " in said
    assert f"{RAISED.format(2, 12)}; nothing is lost" in said  # it raised here, and left no trace
    assert "`twohead resume /study --retry-failed`" in said


def test_a_pause_names_the_file_with_the_whole_traceback(bench):
    faults = {repr(rate_of(n)): {"kind": "raise", "at": 2} for n in range(3)}
    (bench.storage / "faults.json").write_text(json.dumps(faults))
    bench.conduct(trials=9)
    for _ in range(3):
        bench.train(bench.ask())

    said = bench.conductor.pause_words()

    place = "failures/000001-000002-001.txt"
    assert "RuntimeError: the stub was told to fail" in said
    assert f"; the whole traceback is in /study/{place}; nothing is lost" in said
    assert b"the stub was told" in bench.store.get(place)


@pytest.mark.parametrize(
    "reasons",
    [
        pytest.param([NAN.format(1), "out of memory: a", "KeyError: b", "KeyError: c"], id="ways"),
        pytest.param([NAN.format(1), NAN.format(2)], id="too_few"),
        pytest.param([NAN.format(1), "KeyError: b"] * 2, id="two_of_each"),
    ],
)
def test_failures_that_differ_pause_nothing(bench, reasons):
    bench.conduct(trials=9)
    for reason in reasons:
        fail(bench, reason)

    assert not bench.conductor.is_paused


@pytest.mark.parametrize("stops", [(), ((0, 2),)], ids=["complete", "stopped"])
def test_failures_after_a_success_pause_nothing(bench, stops):
    bench.conduct(StopAt(*stops), trials=9)
    bench.train(bench.ask())
    for _ in range(5):
        fail(bench, NAN.format(1))

    assert not bench.conductor.is_paused


@pytest.mark.parametrize(("epochs", "is_paused"), [(1, True), (2, False)])
def test_a_trial_in_flight_that_came_as_far_as_those_failed_is_a_success(bench, epochs, is_paused):
    bench.conduct(trials=9)
    bench.train(bench.ask(), epochs)
    for _ in range(3):
        fail(bench, NAN.format(2), epochs=1)

    assert bench.conductor.is_paused == is_paused


def test_where_no_trial_is_left_nothing_is_paused(bench):
    bench.conduct(trials=3)
    for _ in range(3):
        fail(bench, NAN.format(1))

    assert not bench.conductor.is_paused
    assert isinstance(bench.conductor.ask(), Finished)


def test_a_study_that_goes_on_leaves_failed_trials_and_pauses_again_for_the_same_cause(bench):
    bench.conduct(trials=9)
    for _ in range(3):
        fail(bench, NAN.format(1))

    bench.conduct(trials=9)
    for _ in range(3):
        assert not bench.conductor.is_paused
        fail(bench, NAN.format(1))

    assert bench.conductor.is_paused
    assert bench.states == ["failed"] * 6


def test_failed_trials_that_are_put_back_are_trained_again(bench):
    fault(bench, 0, kind="nan", at=3)
    bench.conduct(epochs=4)
    bench.train(bench.ask())
    (bench.storage / "faults.json").unlink()
    bench.conduct(epochs=4)
    _put_back(bench.conductor._log)

    bench.conduct(epochs=4)
    bench.finish()

    assert bench.states == ["complete"] * 3
    assert (bench.trials[0].num_epochs, bench.trials[0].taken_up_after) == (4, 2)
    assert kinds(bench, 0) == ["asked", "ended", "retried", "attempted", "ended"]
    trained = [line for line in stub_run.notes(bench.storage, "trained") if "0.001 " in line]
    # Of failed trials no state is kept to go on from.
    assert trained == [f"0.001 {epoch}" for epoch in (1, 2, 3, 1, 2, 3, 4)]


def test_what_a_trial_lost_before_it_was_put_back_counts_no_more(bench):
    bench.conduct(trials=1)
    for _ in range(3):
        bench.conductor.lost(0, bench.ask().attempt, AttemptEnd())
    assert bench.states == ["failed"]
    bench.conduct(trials=1)
    _put_back(bench.conductor._log)

    bench.conduct(trials=1)
    for _ in range(2):
        bench.conductor.lost(0, bench.ask().attempt, AttemptEnd())
    assert bench.states == ["running"]
    bench.conductor.lost(0, bench.ask().attempt, AttemptEnd(detail="KeyError: 'x'"))

    words = "given up after 3 lost attempts: its process died (3x); the last raised KeyError: 'x'"
    assert (bench.trials[0].state, bench.trials[0].reason) == ("failed", words)
    assert len(bench.trials[0].releases) == 6
