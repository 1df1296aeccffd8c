"""Which of our trials each of Tune's is at."""

import json
from types import SimpleNamespace

import pytest

from search.running.conductor import Finished
from search.running.pool import Slots
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


def slots_of(*answers, room=2):
    left = [*answers]
    conductor = SimpleNamespace(ask=lambda: left.pop(0))
    return Slots(conductor, SimpleNamespace(room=SimpleNamespace(trials=lambda: room)))


def test_a_slot_is_at_one_trial_after_the_other():
    slots = slots_of(envelope(0), envelope(1), envelope(2, attempt=2))

    requests = [slots.fill("a"), slots.fill("b"), slots.refill("a")]

    assert [(request["number"], request["attempt"]) for request in requests] == [
        (0, 1),
        (1, 1),
        (2, 2),
    ]
    assert Envelope.from_dict(json.loads(requests[2]["request"])) == envelope(2, attempt=2)
    assert slots.num_free == 0
    assert [slots.leave("a"), slots.leave("b")] == [(2, 2), (1, 1)]
    assert slots.num_free == 2


@pytest.mark.parametrize("answer", [None, Finished()], ids=["not_now", "finished"])
def test_a_slot_for_which_there_is_nothing_stays_at_what_it_was(answer):
    slots = slots_of(envelope(0), answer)
    slots.fill("a")

    assert slots.refill("a") is answer
    assert slots.leave("a") == (0, 1)


def test_a_trial_that_takes_another_share_waits_for_a_slot_of_its_own():
    slots = slots_of(
        envelope(0), envelope(0, attempt=2, gpu=0.5), envelope(2, gpu=0.25), envelope(1)
    )
    slots.fill("a")

    assert slots.refill("a") is None
    assert slots.leave("a") == (0, 1)
    request = slots.fill("b")
    assert (request["number"], request["attempt"], request["gpu"]) == (0, 2, 0.5)
    assert slots.refill("b") is None
    assert slots.fill("c")["number"] == 2
    assert "gpu" not in slots.fill("d")
    assert slots.leave("b") == (0, 2)
