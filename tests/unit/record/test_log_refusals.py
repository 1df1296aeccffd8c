"""What contradicts the record is refused, and not logged."""

import re
from collections.abc import Callable

import pytest

from search.errors import InputError
from search.record.decisions import (
    Accepted,
    Asked,
    Attempted,
    Closed,
    Decision,
    Ended,
    Extended,
    Opened,
    Released,
    Stopped,
    Tested,
    decision_from_json,
    decision_to_json,
)
from tests.scripted_study import ask, measure, memory_store, open_log
from trainables.storage.store import Store


@pytest.fixture
def store() -> Store:
    return memory_store()


@pytest.mark.parametrize(
    ("decision", "message"),
    [
        pytest.param(Asked(number=3, config={}), "needs number 2, got 3", id="number"),
        pytest.param(Asked(number=1, config={}), "needs number 2, got 1", id="again"),
        pytest.param(Stopped(number=7, epoch=1), "that was asked, got number 7", id="unknown"),
        pytest.param(Attempted(number=0, attempt=2), "attempt 1 to be over", id="open"),
        pytest.param(Attempted(number=1, attempt=2), "may not", id="failed"),
        pytest.param(Ended(number=1, state="failed"), "which is failed", id="ended"),
        pytest.param(
            Ended(number=0, state="complete", epoch=3),
            "has 2 measured epochs, it cannot be ended after 3",
            id="more_than_measured",
        ),
        pytest.param(
            Released(number=0, attempt=2, cause="lost", charged=True),
            "newest attempt of trial 0 (1), once, got 2",
            id="attempt",
        ),
        pytest.param(Opened(budget={}), "a generation after 1, got 1", id="opened"),
    ],
)
def test_a_contradiction_is_refused_whole(decision: Decision, message: str, store: Store) -> None:
    log = open_log(store)
    ask(log, 0)
    measure(log, 0, 1, 1, 2)
    ask(log, 1)
    log.record(Ended(number=1, state="failed"))
    before = store.list(), log.history()

    with pytest.raises(InputError, match=re.escape(message)):
        log.record(Extended(budget={"trials": 5}), decision)

    assert (store.list(), log.history()) == before
    log.record(Closed())
    with pytest.raises(InputError, match=r"generation 1 \(closed\)"):
        log.record(Extended(budget={}))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(lambda: Asked(number=0, config={"a": [1]}), "'a' needs a plain", id="list"),
        pytest.param(lambda: Asked(number=0, config={"a": 1e999}), "plain JSON", id="infinite"),
        pytest.param(lambda: Asked(number=0, config=3), "config needs a mapping", id="config"),
        pytest.param(lambda: Asked(number=0, config={}, origin="x"), "one of ['ref", id="origin"),
        pytest.param(
            lambda: Asked(number=0, config={}, is_reference=1), "true or false", id="flag"
        ),
        pytest.param(lambda: Ended(number=0, state="done"), "needs one of", id="state"),
        pytest.param(
            lambda: Ended(number=0, state="failed", reason=None), "needs text", id="reason"
        ),
        pytest.param(lambda: Stopped(number=0, epoch=0), "integer >= 1, got 0", id="epoch"),
        pytest.param(
            lambda: Tested(number=0, epoch=1, losses={"a": "x"}, metrics={}),
            "losses needs a number, got 'x'",
            id="losses",
        ),
        pytest.param(
            lambda: Tested(number=0, epoch=1, losses=3, metrics={}), "a mapping", id="tested"
        ),
        pytest.param(lambda: decision_from_json({"kind": "odd"}), "a kind of", id="kind"),
        pytest.param(lambda: decision_from_json({"kind": "asked"}), "not complete", id="fields"),
    ],
)
def test_a_wrong_decision_cannot_be_made(make: Callable[[], Decision], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        make()


def test_every_kind_of_decision_survives_json() -> None:
    decisions = [
        Opened(
            budget={"trials": 3},
            accepted=(Accepted(number=0, attempt=1, generation=1, epoch=2),),
            previous=((1, 7),),
        ),
        Asked(number=0, config={"a": 1, "b": 0.1, "c": "x", "d": True}, system={"s": [1, None]}),
        Attempted(number=0, attempt=2),
        Stopped(number=0, epoch=1),
        Ended(number=0, state="failed", reason="loss became NaN", epoch=1),
        Released(number=0, attempt=1, cause="preempted", charged=False, epoch=0),
        Extended(budget={"hours": 0.5}),
        Tested(number=0, epoch=1, losses={"a": float("inf")}, metrics={"m": 1.0}),
        Closed(reason="interrupted"),
    ]

    assert [decision_from_json(decision_to_json(d)) for d in decisions] == decisions
