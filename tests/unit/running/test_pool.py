"""Which of our trials each slot of Tune's is at, and what happens before what."""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from search.results.usage import Usage
from search.running.conductor import Finished
from search.running.pool import PoolSearcher, PoolStopper, TunePool
from trainables.trial.attempt import Envelope


def envelope(number, attempt=1, gpu=None):
    return Envelope(
        number=number,
        attempt=attempt,
        generation=1,
        config={"units": 4},
        seed=0,
        epochs=3,
        gpu=gpu,
    )


class Scripted:
    """A conductor and its Ray: hands out what it is told to, and notes what happens when."""

    def __init__(self, *answers, most=2):
        self.answers, self.noted, self.lost_attempts = [*answers], [], []
        self.room = SimpleNamespace(
            shares=SimpleNamespace(concurrent=most),
            capacity=SimpleNamespace(num_trials=lambda: most),
            watch=SimpleNamespace(check=lambda: None, answers=lambda: True),
        )
        self.pool = TunePool(
            self,
            self.room,
            is_interrupted=bool,
            changed=lambda: self.noted.append("told"),
            last=lambda process: self.noted.append("last"),
        )
        manager = SimpleNamespace(clear_actor_task_futures=lambda tracked: None)
        tune = SimpleNamespace(_trial_to_actor=self, _actor_manager=manager)
        tune.get_live_trials = lambda: []
        self.pool.pending(tune)

    def __getitem__(self, trial):
        return trial

    def ask(self):
        return self.answers.pop(0)

    @contextmanager
    def together(self):
        yield
        self.noted.append("durable")

    def measured(self, number, attempt, failure):
        return failure.reason == "ended"

    def lost(self, number, attempt, end):
        self.lost_attempts.append((number, attempt, end.how))

    def begin(self, name):
        """Ask for a new slot, and return its request."""
        request = PoolSearcher(self.pool).suggest(name)
        if isinstance(request, dict):
            handed = SimpleNamespace(remote=lambda request: self.noted.append(request))
            state = SimpleNamespace(ray_actor=SimpleNamespace(reset_config=handed))
            trial = SimpleNamespace(
                trial_id=name, temporary_state=state, config=request, status="RUNNING"
            )
            self.pool.trials[name] = trial
        return request

    def end(self, name, number=0, reason="ended"):
        """Report the last result of what a slot is at; return whether the slot ends."""
        keys = ("attempt", "process", "began_at")
        gave = {"epoch": 1, "reason": reason}
        result = {**dict.fromkeys(keys, 0), "number": number, "gave": gave}
        return PoolStopper(self.pool)(name, result)

    def leave(self, name):
        """Let a slot be lost; return number and attempt of what it was at."""
        PoolSearcher(self.pool).on_trial_complete(name, error=True)
        return self.lost_attempts.pop()[:2]


def test_a_slot_is_at_one_trial_after_the_other():
    run = Scripted(envelope(0), envelope(1), envelope(2, attempt=2))

    requests = [run.begin("a"), run.begin("b")]
    assert run.begin("c") is None  # there is no room for a third
    assert not run.end("a")

    assert [(one["number"], one["attempt"]) for one in requests] == [(0, 1), (1, 1)]
    [handed] = [one for one in run.noted if isinstance(one, dict)]
    assert Envelope.from_json(handed["request"]) == envelope(2, attempt=2)
    assert [run.leave("a"), run.leave("b")] == [(2, 2), (1, 1)]


@pytest.mark.parametrize(
    ("answer", "request_"), [(None, None), (Finished(), "FINISHED")], ids=["not_now", "finished"]
)
def test_a_slot_for_which_there_is_nothing_ends_with_what_it_was_at(answer, request_):
    run = Scripted(envelope(0), answer, answer)
    run.begin("a")

    assert run.end("a")
    assert ("last" in run.noted) == (request_ is not None)
    assert run.begin("b") == request_
    assert run.leave("a") == (0, 1)


def test_a_trial_that_takes_another_share_waits_for_a_slot_of_its_own():
    others = (envelope(0, attempt=2, gpu=0.5), envelope(2, gpu=0.25), envelope(1))
    run = Scripted(envelope(0), *others, most=4)
    run.begin("a")

    assert run.end("a")
    assert run.leave("a") == (0, 1)
    request = run.begin("b")
    assert (request["number"], request["attempt"], request["gpu"]) == (0, 2, 0.5)
    assert run.end("b")
    assert run.begin("c")["number"] == 2
    assert "gpu" not in run.begin("d")
    assert run.leave("b") == (0, 2)


def test_nothing_is_told_or_handed_out_before_it_is_durable():
    run = Scripted(envelope(0), envelope(1))
    run.begin("a")
    run.noted.clear()
    run.pool.usage.ended = lambda *given: run.noted.append("noted")

    assert not run.end("a")

    *before, handed = run.noted
    assert before == ["durable", "noted", "told"]
    assert handed["number"] == 1


def test_the_first_error_of_our_own_is_kept_and_ends_everything():
    run = Scripted()  # has nothing to hand out: to ask is an error

    assert run.begin("a") == "FINISHED"
    assert run.end("a")

    assert isinstance(run.pool.error, IndexError)


@pytest.mark.parametrize(
    ("is_lost", "has_begun", "idle"),
    [
        pytest.param(False, True, 50.0, id="ended"),
        pytest.param(True, True, 50.0, id="lost"),
        pytest.param(True, False, 0.0, id="lost_before_any_result"),
    ],
)
def test_a_slot_is_idle_from_its_last_trial_on(is_lost, has_begun, idle):
    run, now = Scripted(envelope(0), envelope(1), None, most=2), [100.0]
    run.pool.usage = Usage(2, lambda: now[0])
    run.begin("a")
    run.begin("b")
    now[0] = 110.0
    if has_begun:
        run.end("a", reason="" if is_lost else "ended")
    if is_lost:
        run.leave("a")
    now[0] = 160.0

    assert run.pool.usage.to_dict()["idle_seconds"] == idle
