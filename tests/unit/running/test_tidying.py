"""Which checkpoints are left of a trial once it has ended, and which before."""

import pytest

from search.running.attempts import AttemptEnd
from search.running.checkpoints import tidy
from tests.support.conducted_study import Bench
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
        patch.setattr("search.running.conductor.tidy", lambda *given: None)
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

    tidy(bench.store, 8, bench.trials[0])

    assert bench.store.exists(theirs)
    assert bench.store.exists(foreign)

    tidy(bench.store, 9, bench.trials[0])

    assert not bench.store.exists(theirs)
