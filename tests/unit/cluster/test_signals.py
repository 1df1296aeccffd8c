"""SIGINT, SIGTERM and SIGHUP during a run."""

import contextlib
import os
import signal
import threading

import pytest

from search.cluster.session import ray_for
from search.cluster.signals import SIGNALS, catch_signals
from search.errors import ClusterLost, StudyLocked
from tests.support.stub_study import stub_study

each = pytest.mark.parametrize("number", SIGNALS, ids=["int", "term", "hup"])


def send(number):
    os.kill(os.getpid(), number)


@each
def test_while_nothing_looks_at_the_flag_a_signal_raises_at_once(number):
    with catch_signals() as flag, pytest.raises(KeyboardInterrupt):
        send(number)

    assert flag.is_set


@each
def test_while_the_flag_is_looked_at_the_first_signal_only_sets_it(number):
    with catch_signals() as flag, flag.patiently():
        send(number)
        assert flag.is_set
        with pytest.raises(KeyboardInterrupt):
            send(number)


def test_where_nothing_needs_order_a_look_at_the_flag_raises():
    with catch_signals() as flag, flag.patiently():
        flag.is_final = True
        assert not flag.look()
        send(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            flag.look()


def test_after_the_patient_part_a_signal_raises_again():
    with catch_signals() as flag:
        with flag.patiently():
            pass
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGTERM)


@each
def test_what_handled_the_signals_before_handles_them_again(number):
    heard = []
    former = signal.signal(number, lambda *given: heard.append(given[0]))
    try:
        with catch_signals() as flag:
            signal.signal(number, signal.SIG_IGN)  # as a library may do meanwhile
            flag.install()
        send(number)
    finally:
        signal.signal(number, former)

    assert heard == [number]
    assert not flag.is_set


def test_in_another_thread_the_signals_are_left_alone():
    before, seen = [signal.getsignal(n) for n in SIGNALS], []

    def run():
        with catch_signals():
            seen.extend(signal.getsignal(n) for n in SIGNALS)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()

    assert seen == before


@each
def test_while_held_the_first_signal_waits_whatever_handler_is_set_meanwhile(number):
    reached = []

    def work(flag):
        with flag.held():
            signal.signal(number, signal.SIG_DFL)  # as Ray does; it would end this process
            send(number)
            reached.append("the end")
        reached.append("behind it")

    with catch_signals() as flag, pytest.raises(KeyboardInterrupt):
        work(flag)

    assert reached == ["the end"]
    assert signal.signal.__module__ == "signal"


def test_while_held_the_second_signal_raises_at_once():
    with catch_signals() as flag, flag.held():
        send(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGTERM)
        flag.is_set = False


def test_a_signal_wins_over_an_error_of_what_it_was_held_for():
    def work(flag):
        with flag.held():
            send(signal.SIGINT)
            raise LookupError

    with catch_signals() as flag, pytest.raises(KeyboardInterrupt):
        work(flag)


def test_after_a_run_was_interrupted_nothing_is_raised_for_it_again():
    with catch_signals() as flag:
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)
        with flag.held():
            pass


def test_a_signal_that_an_import_has_swallowed_ends_the_run_before_ray_is_started(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(
        "search.cluster.session._init", lambda *given, **options: reached.append(given)
    )
    reached = []

    def work(flag):
        with contextlib.suppress(KeyboardInterrupt):  # as the import of pandas by pyarrow does
            send(signal.SIGINT)
        with ray_for(stub_study(tmp_path), str, flag):
            reached.append("behind it")

    with catch_signals() as flag, pytest.raises(KeyboardInterrupt):
        work(flag)

    assert reached == []


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        pytest.param(AttributeError("half imported"), KeyboardInterrupt, id="foreign"),
        pytest.param(ClusterLost("its processes have ended"), KeyboardInterrupt, id="ray"),
        pytest.param(StudyLocked("taken over"), StudyLocked, id="ours"),
    ],
)
def test_a_foreign_error_after_a_swallowed_signal_is_the_signals(error, expected):
    def work():
        with catch_signals() as flag:
            flag.is_set = True
            raise error

    with pytest.raises(expected):
        work()


def test_an_error_without_a_signal_is_raised_as_it_is():
    with pytest.raises(AttributeError, match="half"), catch_signals():
        raise AttributeError("half imported")


def test_where_sighup_is_ignored_it_stays_so():
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as by `nohup`
    try:
        with catch_signals() as flag:
            send(signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, former)

    assert not flag.is_set
