"""What contradicts the record is refused, and not logged."""

import re

import pytest

from search.errors import InputError
from search.record.decisions import (
    Accepted,
    Asked,
    Attempted,
    Closed,
    Decision,
    Ended,
    Opened,
    Released,
    Retried,
    Stopped,
    Tested,
    decision_from_json,
    decision_to_json,
)
from tests.support.scripted_study import ask, measure, memory_store, open_log
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
        pytest.param(Retried(number=0), "a failed trial, got 0, which is running", id="sound"),
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
    tested = Tested(number=0, epoch=1, losses={"a": 1.0}, metrics={})

    with pytest.raises(InputError, match=re.escape(message)):
        log.record(tested, decision)

    assert (store.list(), log.history()) == before
    log.record(Closed())
    with pytest.raises(InputError, match=r"generation 1 \(closed\)"):
        log.record(tested)


@pytest.mark.parametrize(
    ("decision", "message"),
    [
        pytest.param(Asked(number=2, config={"a": [1]}), "got `array` - at `$.config", id="list"),
        pytest.param(Asked(number=2, config={"a": 1e999}), "plain JSON", id="infinite"),
        pytest.param(Asked(number=2, config={}, system={"a": {1, 2}}), "plain JSON", id="set"),
        pytest.param(Asked(number=2, config=3), "config needs a mapping, got 3", id="config"),
        pytest.param(Asked(number=2, config={}, origin="x"), "enum value 'x'", id="origin"),
        pytest.param(
            Asked(number=2, config={}, is_reference=1), "true or false, got 1", id="flag"
        ),
        pytest.param(Ended(number=0, state="done"), "enum value 'done'", id="state"),
        pytest.param(Ended(number=0, state="failed", reason=None), "reason needs text", id="text"),
        pytest.param(Stopped(number=0, epoch=0), "epoch needs an integer >= 1", id="epoch"),
        pytest.param(Stopped(number=0, epoch=1.0), "integer >= 1, got 1.0", id="float"),
        pytest.param(
            Tested(number=0, epoch=1, losses={"a": "x"}, metrics={}), "plain JSON", id="tested"
        ),
    ],
)
def test_a_decision_that_could_not_be_read_again_is_not_logged(
    decision: Decision, message: str, store: Store
) -> None:
    log = open_log(store)
    ask(log, 0)
    ask(log, 1)
    before = store.list()

    with pytest.raises(InputError, match=re.escape(message)):
        log.record(decision)

    assert store.list() == before


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param({"kind": "odd"}, "Invalid value 'odd' - at `$.kind`", id="kind"),
        pytest.param({"kind": 5}, "at `$.kind`", id="no_name"),
        pytest.param({"number": 1}, "missing required field `kind`", id="no_kind"),
        pytest.param({"kind": "asked"}, "missing required field `number`", id="fields"),
        pytest.param({"kind": "closed", "by": "me"}, "unknown field `by`", id="unknown"),
        pytest.param(["closed"], "Expected `object`, got `array`", id="list"),
    ],
)
def test_what_is_no_decision_is_refused(body: object, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        decision_from_json(body)


def test_every_kind_of_decision_survives_json() -> None:
    decisions = [
        Opened(
            budget={"trials": 3},
            accepted=(Accepted(number=0, attempt=1, generation=1, epoch=2),),
            previous=((1, 7),),
        ),
        Asked(number=0, config={"a": 1, "b": 0.1, "c": "x", "d": True}, system={"s": [1, None]}),
        Attempted(number=0, attempt=2),
        Retried(number=0),
        Stopped(number=0, epoch=1),
        Ended(number=0, state="failed", reason="loss became NaN", epoch=1),
        Released(number=0, attempt=1, cause="preempted", charged=False, epoch=0),
        Tested(number=0, epoch=1, losses={"a": float("inf")}, metrics={"m": 1.0}),
        Closed(reason="interrupted"),
    ]

    assert [decision_from_json(decision_to_json(d)) for d in decisions] == decisions
