"""What is read of a study is what was decided and measured."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs

import search.record.epochs
import search.record.segments
from search.errors import StudyLocked
from search.record.decisions import Attempted, Closed, Ended, Released, Stopped
from search.record.log import StudyLog
from search.record.ownership import claim
from search.record.reader import StudyReader
from tests.support.clocks import an_hour_later
from tests.support.faulty_files import Disk
from tests.support.scripted_study import (
    EPOCHS,
    PREPARED,
    STATES,
    STUDY,
    ask,
    measure,
    measured,
    memory_store,
    open_log,
    reopen,
)
from trainables.storage.store import Store
from trainables.trial.measurement import write


@pytest.fixture
def store() -> Store:
    return memory_store()


@pytest.mark.usefixtures("small_packs")
def test_a_whole_study_is_read_back(played: Disk) -> None:
    history = StudyReader(memory_store(played)).read()

    assert (history.study, history.prepared) == (STUDY, PREPARED)
    assert (history.budget, history.generation) == ({"trials": 4, "epochs": 4}, 2)
    assert (history.is_closed, history.close_reason) == (True, "")
    assert {t.number: t.state for t in history.trials} == STATES
    assert [len(t.measurements) for t in history.trials] == list(EPOCHS.values())
    reference, stopped, moved, failed = history.trials
    assert (reference.config, reference.origin) == ({"lr": 0.1}, "reference")
    assert reference.tested[0].losses == {"c_output": 1.5}
    assert [m.attempt for m in reference.measurements] == [1, 1, 1, 2]
    assert (stopped.stopped_at, stopped.charged_failures, stopped.node_losses) == (3, 1, 0)
    assert [m.attempt for m in stopped.measurements] == [1, 2, 2]
    assert stopped.system == {"tpe:seed": 7}
    assert [(m.generation, m.attempt) for m in moved.measurements] == [(1, 1), (1, 1), (2, 2)]
    assert (failed.reason, len(failed.measurements), failed.resumable) == (
        "loss became NaN",
        1,
        (),
    )


@pytest.mark.usefixtures("small_packs")
def test_a_study_of_many_trials_is_few_objects(played: Disk) -> None:
    names = memory_store(played).list()

    assert [n for n in names if n.startswith("epochs/")] == []
    assert [n for n in names if n.startswith("trials/")] == [
        "trials/000000-000001.g000002.json",
        "trials/000002-000003.g000002.json",
    ]
    assert "log/000001-000000-000003.json" in names
    assert "log/000001-000000.json" not in names


@pytest.mark.usefixtures("small_packs")
@pytest.mark.parametrize("folded", [False, True], ids=["never_folded", "folded"])
def test_folding_changes_nothing_that_is_read(folded: bool, store: Store) -> None:
    log = open_log(store)
    for number in range(3):
        ask(log, number)
        measure(log, number, 1, 1, 2)
        log.record(Ended(number=number, state="complete"))
    before = StudyReader(store).read()

    for _ in range(2 * folded):
        log.fold()

    assert StudyReader(store).read() == before == log.history()
    assert bool(store.list("epochs")) is not folded


@pytest.mark.usefixtures("small_packs")
def test_trials_of_one_epoch_are_folded_only_with_their_block(store: Store) -> None:
    log = open_log(store)
    for number, left in enumerate([["000000"], []]):
        ask(log, number)
        measure(log, number, 1, 1)
        log.record(Ended(number=number, state="complete"))
        before = StudyReader(store).read()

        log.fold()

        assert [path.split("/")[1].split("-")[1] for path in store.list("epochs")] == left
        assert StudyReader(store).read() == before
    assert store.list("trials") == ["trials/000000-000001.json"]
    log.fold()
    assert store.list("trials") == ["trials/000000-000001.json"]


@pytest.mark.usefixtures("small_packs")
def test_what_comes_too_late_for_a_packed_trial_of_one_epoch_is_deleted(store: Store) -> None:
    log = open_log(store)
    for number in range(2):
        ask(log, number)
        measure(log, number, 1, 1)
        log.record(Ended(number=number, state="complete"))
    log.fold()
    before = StudyReader(store).read()

    measure(log, 0, 1, 1)
    log.fold()

    assert store.list("epochs") == []
    assert StudyReader(store).read() == before


def test_an_end_takes_all_that_is_measured_unless_told(store: Store) -> None:
    log = open_log(store)
    for number in range(2):
        ask(log, number)
        measure(log, number, 1, 1, 2, 3)

    logged = log.record(
        Ended(number=0, state="interrupted"), Ended(number=1, state="failed", epoch=1)
    )

    assert [d.epoch for d in logged if isinstance(d, Ended)] == [3, 1]
    assert [len(t.measurements) for t in log.history().trials] == [3, 1]
    assert log.trial(0) == log.history().trials[0]


def test_a_gap_hides_what_lies_behind_it(store: Store) -> None:
    log = open_log(store)
    ask(log, 0)
    measure(log, 0, 1, 1, 2, 4)

    assert [m.epoch for m in log.history().trials[0].measurements] == [1, 2]


def test_the_newest_attempt_gives_an_epoch(store: Store) -> None:
    log = open_log(store)
    ask(log, 0)
    measure(log, 0, 1, 1, 2, 3)
    (released,) = log.record(Released(number=0, attempt=1, cause="node", charged=False))
    log.record(Attempted(number=0, attempt=2))
    measure(log, 0, 2, 3)
    measure(log, 0, 1, 4)  # a lost node's actor that is still alive

    trial = log.history().trials[0]

    assert isinstance(released, Released)
    assert (released.epoch, trial.node_losses) == (3, 1)
    assert [(m.epoch, m.attempt) for m in trial.measurements] == [(1, 1), (2, 1), (3, 2)]
    assert [(m.epoch, m.attempt) for m in trial.resumable] == [(3, 2), (3, 1), (2, 1), (1, 1)]


def test_epochs_after_a_stop_are_ignored(store: Store) -> None:
    log = open_log(store)
    ask(log, 0)
    measure(log, 0, 1, 1, 2)
    log.record(Stopped(number=0, epoch=2))
    measure(log, 0, 1, 3)

    assert len(log.history().trials[0].measurements) == 2
    log.record(Ended(number=0, state="stopped"))
    assert len(log.history().trials[0].measurements) == 2


def test_a_new_owner_takes_over_what_is_there_and_nothing_later(store: Store) -> None:
    log = open_log(store)
    ask(log, 0)
    measure(log, 0, 1, 1, 2)

    taken_over = reopen(log)
    write(store, measured(0, 1, 3, 1))

    (attempt,) = taken_over.history().trials[0].attempts
    assert (attempt.generation, attempt.last) == (1, 2)
    assert len(taken_over.history().trials[0].measurements) == 2
    taken_over.record(Attempted(number=0, attempt=2))
    measure(taken_over, 0, 2, 3)
    taken_over.record(Ended(number=0, state="complete"))
    taken_over.fold()
    assert [m.generation for m in StudyReader(store).read().trials[0].measurements] == [1, 1, 2]
    assert store.list("epochs") == []


def test_what_a_stale_owner_logs_is_never_read(store: Store) -> None:
    log = open_log(store)
    ask(log, 0)
    taken_over = reopen(log)
    stale = search.record.segments.encode_segments(
        1, 2, [[Ended(number=0, state="failed", epoch=0)]]
    )
    store.put("log/000001-000002.json", stale)

    assert StudyReader(store).read().trials[0].state == "running"
    assert StudyReader(store).read() == taken_over.history()
    with pytest.raises(StudyLocked, match="released by this process"):
        ask(log, 1)


def test_two_writers_of_one_generation_collide(store: Store) -> None:
    log = open_log(store)
    store.put("log/000001-000001.json", b"of another process")

    with pytest.raises(StudyLocked, match=r"log/000001-000001\.json was written by another"):
        ask(log, 0)


def test_an_older_owner_without_a_segment_leaves_no_gap(store: Store) -> None:
    log = open_log(store)
    ask(log, 0)
    log.ownership.release()
    claim(store).release()  # killed before it wrote anything

    third = StudyLog.open_for_writing(store, claim(store))

    assert third.generation == 3
    assert len(StudyReader(store).read().trials) == 1


def test_the_budget_is_kept_or_replaced(store: Store) -> None:
    log = open_log(store, trials=3)
    assert log.history().budget == {"trials": 3}

    log = reopen(log)
    assert log.history().budget == {"trials": 3}

    log.ownership.release()
    StudyLog.open_for_writing(store, claim(store), budget={"trials": 9})
    assert StudyReader(store).read().budget == {"trials": 9}


@pytest.mark.parametrize("state", ["interrupted", "complete"])
def test_an_ended_trial_can_be_taken_up_again(state: Any, store: Store) -> None:
    log = open_log(store)
    ask(log, 0)
    measure(log, 0, 1, 1, 2, 3)
    log.record(Ended(number=0, state=state, epoch=2))
    log.fold()

    log.record(Attempted(number=0, attempt=2))

    trial = log.history().trials[0]
    assert (trial.state, len(trial.measurements)) == ("running", 2)
    assert [m.epoch for m in trial.resumable] == [2, 1]
    measure(log, 0, 2, 3)
    log.record(Ended(number=0, state="complete"))
    log.fold()
    assert [m.attempt for m in StudyReader(store).read().trials[0].measurements] == [1, 1, 2]


@pytest.mark.usefixtures("small_packs")
def test_a_remote_study_is_written_and_read() -> None:
    store = Store("mock://bucket/digits", filesystem=fs._MockFileSystem())
    log = open_log(store)
    for number in range(4):
        ask(log, number)
        measure(log, number, 1, 1, 2)
        log.record(Ended(number=number, state="complete"))
        log.fold()

    taken_over = StudyLog.open_for_writing(store, claim(store, pace=an_hour_later()))

    assert [len(t.measurements) for t in StudyReader(store).read().trials] == [2, 2, 2, 2]
    with pytest.raises(StudyLocked, match=r"taken over by process \d+ on .*generation 2\)"):
        log.record(Closed())
    taken_over.record(Closed())


def test_a_local_study_is_written_and_read(tmp_path: Path) -> None:
    store = Store(tmp_path / "studies" / "digits")
    with claim(store) as ownership:
        StudyLog.create(store, STUDY)
        log = StudyLog.open_for_writing(store, ownership, budget={"trials": 1})
        log.put_prepared(PREPARED)
        ask(log, 0)
        measure(log, 0, 1, 1)
        log.record(Ended(number=0, state="complete"), Closed(reason="done"))
        log.fold()

    history = StudyReader(Store(tmp_path / "studies" / "digits")).read()

    assert (history.close_reason, history.prepared) == ("done", PREPARED)
    assert history.trials[0].measurements == (measured(0, 1, 1, 1),)


def test_reading_a_study_imports_nothing_heavy() -> None:
    code = (
        "import sys, search.record.log, search.record.ownership;"
        "print([m for m in ('pyarrow', 'ray', 'optuna', 'tensorflow') if m in sys.modules])"
    )

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert found.stdout.strip() == "[]", found.stderr
