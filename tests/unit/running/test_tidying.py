"""Which checkpoints are left of a trial once it has ended, and which before."""

import itertools

import pytest

from search.results.kept import newest_of
from search.results.points import best_log_skills, kept_points
from search.results.retrained import Training
from search.running import checkpoints
from search.running.attempts import AttemptEnd
from search.running.checkpoints import Checkpoints
from search.sampling.trials import Continue
from search.study.objective import every_head
from tests.support.conducted_study import BASELINES, Asked, Bench, StopAt, numbered
from trainables.trial import attempt as attempt_module
from trainables.trial import checkpoint


@pytest.fixture(name="bench")
def make_bench(tmp_path, monkeypatch):
    bench = Bench(tmp_path, monkeypatch)
    yield bench
    bench.close()


def kept(bench, number=0):
    """Return (attempt, epoch) of each checkpoint folder of a trial, whole or not."""
    paths = bench.store.list(f"checkpoints/{number:06d}")
    names = {path.split("/")[2] for path in paths}
    return sorted((int(name[7:10]), int(name[11:])) for name in names)


def states(bench, number=0):
    """Return (attempt, epoch) of each checkpoint of a trial that it could go on from."""
    paths = bench.store.list(f"checkpoints/{number:06d}")
    names = {path.split("/")[2] for path in paths if path.endswith("/training.npz")}
    return sorted((int(name[7:10]), int(name[11:])) for name in names)


def tidied_by(bench, generation):
    Checkpoints(bench.conductor._plan, bench.store, generation).tidy(bench.trials[0])


def needed(bench, number=0):
    """Return what may still be asked for: the newest of a trial, and its points on the front."""
    found = bench.trials[number].measurements
    losses = [tuple(m.losses.values()) for m in found]
    return sorted(
        (m.attempt, m.epoch)
        for m, mine in zip(found, losses, strict=True)
        if m is found[-1]
        or not any(
            other != mine and all(a <= b for a, b in zip(other, mine, strict=True))
            for other in losses
        )
    )


def lose_after_two_epochs(bench):
    """Return the actor of a lost attempt, which lives on, and the request of the next one."""
    bench.conduct(epochs=5)
    first = bench.ask()
    cut_off = bench.actor(first)
    for _ in range(2):
        bench.report(first, cut_off.step())
    bench.conductor.lost(first.number, first.attempt, AttemptEnd(how="node"))
    again = bench.ask()
    return cut_off, again


def test_an_ended_trial_keeps_its_newest_checkpoint_and_those_on_its_front(bench):
    bench.conduct(epochs=6)

    bench.finish()

    for number in range(3):
        assert kept(bench, number) == needed(bench, number)
    assert sum(len(kept(bench, number)) for number in range(3)) < 3 * 6


def test_folders_that_are_no_checkpoints_are_the_users_own(bench):
    bench.conduct(epochs=6)
    for name in ("000001-mine", "000001-001-0001-copy", "mine"):
        bench.store.put(f"checkpoints/000000/{name}/state.npz", b"")

    bench.finish()

    found = {path.split("/")[2] for path in bench.store.list("checkpoints/000000")}
    assert {"000001-mine", "000001-001-0001-copy", "mine"} < found


def test_what_lost_attempts_left_goes_when_their_trial_ends(bench):
    cut_off, again = lose_after_two_epochs(bench)
    cut_off.step()  # too late: the log has ended this attempt after epoch 2
    assert (1, 3) in kept(bench)

    bench.train(again)

    assert [m.attempt for m in bench.trials[0].measurements] == [1, 1, 2, 2, 2]
    assert kept(bench) == needed(bench)


def test_what_a_cut_off_actor_trains_takes_no_checkpoint_from_the_next_attempt(bench):
    cut_off, again = lose_after_two_epochs(bench)

    cut_off.step()

    newest = max(again.kept, key=lambda one: one.epoch)
    assert newest.epoch == 2
    assert checkpoint.load(bench.store, newest.checkpoint, sha256=newest.checkpoint_sha256)
    assert bench.actor(again).step().epoch == 3


def test_a_failed_trial_keeps_its_last_checkpoint(bench, monkeypatch):
    bench.conduct(epochs=4)
    envelope = bench.ask()
    actor = bench.actor(envelope)
    bench.report(envelope, actor.step())
    monkeypatch.setattr(attempt_module, "_not_finite", lambda result, epoch: "loss became NaN")

    bench.report(envelope, actor.step())

    assert bench.states == ["failed"]
    assert kept(bench) == [(1, 1)]


def test_what_a_dead_driver_did_not_get_to_goes_with_the_next_one(bench, monkeypatch):
    bench.conduct(epochs=5, trials=1)
    with monkeypatch.context() as patch:  # killed right after the end was logged
        patch.setattr(Checkpoints, "tidy", lambda *given: None)
        bench.finish()
    left = kept(bench)

    bench.conduct(epochs=5, trials=1)

    assert set(left) > set(kept(bench))
    assert kept(bench) == needed(bench)


def test_what_a_newer_owner_has_and_what_is_not_ours_is_left_alone(bench):
    bench.conduct(epochs=3, trials=1)
    bench.finish()
    theirs = "checkpoints/000000/000009-002-0004/manifest.json"
    foreign = "checkpoints/000000/notes/mine.txt"
    for path in (theirs, foreign):
        bench.store.put(path, b"{}")

    tidied_by(bench, 8)

    assert bench.store.exists(theirs)
    assert bench.store.exists(foreign)

    tidied_by(bench, 9)

    assert not bench.store.exists(theirs)


def test_a_complete_trial_could_go_on_from_its_last_epoch_alone(bench):
    bench.conduct(epochs=6)

    bench.finish()

    for number in range(3):
        assert states(bench, number) == [(1, 6)]


def test_of_a_failed_trial_the_weights_alone_are_left(bench, monkeypatch):
    bench.conduct(epochs=4, trials=1)
    envelope = bench.ask()
    actor = bench.actor(envelope)
    bench.report(envelope, actor.step())
    bench.report(envelope, actor.step())
    monkeypatch.setattr(attempt_module, "_not_finite", lambda result, epoch: "loss became NaN")

    bench.report(envelope, actor.step())

    assert (kept(bench), states(bench)) == ([(1, 2)], [])


def test_what_the_hours_have_interrupted_goes_on_where_it_was(bench):
    bench.conduct(epochs=4, trials=1)
    bench.train(bench.ask(), epochs=2)
    bench.conductor.end_interrupted()
    assert states(bench) == [(1, 2)]

    bench.conduct(epochs=4, trials=1)

    assert states(bench) == [(1, 2)]
    assert bench.anew == ()
    assert bench.ask().kept[0].epoch == 2


def stop_all(bench, trials=4, **changes):
    """Stop all trials after two epochs of five, each better than the one before it."""
    stops = StopAt(*[(number, 2) for number in range(trials)])
    bench.conduct(stops, **{"epochs": 5, "trials": trials, **changes})
    bench.finish()
    assert bench.states == ["stopped"] * trials


def with_states(bench):
    return [trial.number for trial in bench.trials if states(bench, trial.number)]


def test_only_the_most_promising_stopped_trials_can_be_taken_up_from_where_they_were(
    bench, monkeypatch
):
    monkeypatch.setattr(checkpoints, "MOST_STOPPED", 2)

    stop_all(bench)

    skills = {
        trial.number: best_log_skills(trial, BASELINES, every_head(tuple(BASELINES)))[0]
        for trial in bench.trials
    }
    best = sorted(skills, key=lambda number: sum(skills[number]))[:2]
    assert with_states(bench) == sorted(best)
    for trial in bench.trials:
        for one in kept_points(trial):
            folder, sha256 = one.weights
            assert checkpoint.load_weights(bench.store, folder, sha256=sha256)

    bench.conduct(epochs=5, trials=4)

    assert with_states(bench) == sorted(best)


def test_one_that_is_trained_again_is_none_of_those_that_wait(bench, monkeypatch):
    monkeypatch.setattr(checkpoints, "MOST_STOPPED", 1)
    stop_all(bench, trials=1)
    number = itertools.count(1)

    def suggest(_, recorded):
        return Continue(number=0) if next(number) == 1 else numbered(_, recorded)

    bench.conduct(StopAt((1, 2)), suggest, epochs=5, trials=2)
    again, other = bench.ask(), bench.ask()
    assert (again.number, other.number) == (0, 1)

    bench.train(other)

    assert (states(bench), states(bench, 1)) == ([(1, 2)], [(1, 2)])


def test_no_stopped_trial_waits_for_a_sampler_that_takes_none_up(bench, monkeypatch):
    monkeypatch.setattr(Asked, "takes_up", False)

    stop_all(bench)

    assert with_states(bench) == []


def test_an_end_that_is_taken_back_at_once_deletes_nothing(bench):
    def suggest(number, recorded):
        stopped = [one.number for one in recorded if one.may_continue]
        return Continue(number=stopped[0]) if stopped else numbered(number, recorded)

    bench.conduct(StopAt((0, 2)), suggest, epochs=3, trials=2)
    envelope = bench.ask()
    actor = bench.actor(envelope)
    for _ in range(2):
        bench.conductor.measured(envelope.number, envelope.attempt, actor.step())
    again = bench.ask()
    step = bench.actor(again).step()

    bench.conductor.tidy_up()

    assert states(bench)[-1] == (2, 3)
    folder, sha256 = step.weights
    assert checkpoint.load(bench.store, folder, sha256=sha256)


def clean_up(bench):
    """Delete all states, as `twohead clean` does."""
    for path in bench.store.list("checkpoints"):
        if path.endswith("/training.npz"):
            bench.store.delete(path)


def test_what_was_cleaned_is_trained_again_under_a_larger_budget_and_is_the_same(
    bench, tmp_path, monkeypatch
):
    bench.conduct(epochs=2, trials=2)
    bench.finish()
    clean_up(bench)

    bench.conduct(epochs=4, trials=2)
    assert bench.anew == (0, 1)
    bench.finish()

    assert bench.states == ["complete"] * 2
    assert [m.attempt for m in bench.trials[0].measurements] == [2] * 4
    found = bench.table
    undisturbed = Bench(tmp_path / "undisturbed", monkeypatch)
    undisturbed.conduct(epochs=4, trials=2)
    undisturbed.finish()
    assert found == undisturbed.table
    undisturbed.close()


def test_of_what_was_not_cleaned_nothing_is_trained_again(bench):
    bench.conduct(epochs=2, trials=2)
    bench.finish()

    bench.conduct(epochs=4, trials=2)
    bench.finish()

    assert bench.anew == ()
    assert [m.attempt for m in bench.trials[0].measurements] == [1, 1, 2, 2]


def test_what_an_older_version_kept_of_the_newest_is_left(bench, monkeypatch):
    monkeypatch.setattr(Asked, "takes_up", False)
    stop_all(bench, trials=1)
    newest = newest_of(bench.trials[0])
    bench.store.put(f"{newest}/state.npz", b"as it was")

    bench.conduct(epochs=5, trials=1)

    assert bench.store.exists(f"{newest}/state.npz")


def test_of_what_confirms_a_study_the_weights_of_the_last_epoch_are_left(bench):
    trainings = [
        Training(number, 3, seed, is_reference=False, config={})
        for number, seed in ((0, 1), (1, 2))
    ]
    bench.conduct(epochs=3, trials=2, trainings=tuple(trainings))

    bench.finish()

    for number in range(2):
        assert (kept(bench, number), states(bench, number)) == ([(1, 3)], [])
