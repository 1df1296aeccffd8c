"""When a joined Ray counts as gone, and how long it may be silent before."""

import os
import threading

import pytest

from search.cluster.health import (
    RECONNECT,
    SILENT_SECONDS,
    ClusterWatch,
    Sight,
    head_patience,
    is_open,
    outliving,
)
from search.cluster.nodes import Node
from search.errors import ClusterLost
from tests.support.processes import wait_until

OWN = Node(id="own", address="10.0.0.1", name="own", resources={}, is_head=False)
OTHER = Node(id="other", address="10.0.0.2", name="other", resources={}, is_head=True)


class Ray:
    """Answers what it is told to, and counts how often it was asked."""

    def __init__(self):
        self.nodes, self.is_away, self.asked = (OWN, OTHER), False, 0

    def __call__(self):
        self.asked += 1
        if self.is_away:
            raise ConnectionError("nobody there")
        return Sight(nodes=self.nodes)


class Clock:
    """Stands still until it is moved."""

    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture(name="ray")
def fake_ray():
    return Ray()


@pytest.fixture(name="clock")
def fake_clock():
    return Clock()


@pytest.fixture(name="watch")
def running_watch(ray, clock, monkeypatch):
    monkeypatch.setattr("search.cluster.health.PAUSE_SECONDS", 0.01)
    watch = ClusterWatch(ray, "own", patience=45.0, clock=clock)
    watch.start()
    yield watch
    watch.stop()


def ask_again(ray, times=2):
    before = ray.asked
    wait_until(lambda: ray.asked >= before + times)


def test_a_head_that_is_away_for_less_than_the_patience_is_waited_for(ray, clock, watch):
    ray.is_away = True
    ask_again(ray)
    clock.now = 44.0
    watch.check()

    ray.is_away = False
    ask_again(ray)
    clock.now = 88.0

    watch.check()


def test_a_head_that_is_away_for_longer_is_given_up(ray, clock, watch):
    ray.is_away = True
    ask_again(ray)
    clock.now = 46.0

    with pytest.raises(ClusterLost, match=r"has not answered for 46 s.*`twohead resume`"):
        watch.check()


def test_a_head_that_hangs_is_given_up_as_well(clock):
    hang = threading.Event()
    answers = iter([lambda: Sight(nodes=(OWN,)), lambda: hang.wait(60)])
    watch = ClusterWatch(lambda: next(answers)(), "own", patience=45.0, clock=clock)
    watch.start()
    clock.now = 46.0

    with pytest.raises(ClusterLost, match="has not answered"):
        watch.check()
    watch.stop()
    hang.set()


def test_a_ray_that_has_given_up_this_node_is_lost_at_once(ray, watch):
    ray.nodes = (OTHER,)
    ask_again(ray)

    with pytest.raises(ClusterLost, match="given up its node, or was started anew"):
        watch.check()


def test_nothing_is_asked_of_a_head_that_is_silent_or_cannot_be_reached(ray, clock):
    watch = ClusterWatch(ray, "own", patience=45.0, knock=lambda: is_there, clock=clock)

    is_there = True
    answers = [watch.answers()]
    is_there = False
    answers.append(watch.answers())
    is_there = True
    clock.now = SILENT_SECONDS
    answers.append(watch.answers())

    assert answers == [True, False, False]


def test_an_error_is_settled_by_an_answer_that_came_after_it(ray, clock, watch):
    settled = threading.Thread(target=watch.settle)
    settled.start()
    ask_again(ray)
    assert settled.is_alive()

    clock.now = 2.0

    settled.join(timeout=60)
    assert not settled.is_alive()


def test_a_closed_port_cannot_be_reached_and_no_port_can():
    assert not is_open("127.0.0.1:1")
    assert is_open("")


@pytest.mark.parametrize(("value", "seconds"), [("", 60.0), ("120", 120.0), ("soon", 60.0)])
def test_a_head_may_be_away_as_long_as_the_nodes_wait_for_it(monkeypatch, value, seconds):
    monkeypatch.setenv(RECONNECT, value)

    assert head_patience() == seconds


def test_a_process_that_joins_a_ray_outlives_it_and_leaves_the_environment_as_it_was(monkeypatch):
    monkeypatch.setenv(RECONNECT, "30")
    with outliving(True):
        during = os.environ[RECONNECT]
    with outliving(False):
        started_here = os.environ[RECONNECT]

    assert (during, started_here, os.environ[RECONNECT]) == ("60", "30", "30")


def test_a_ray_of_ours_that_has_lost_a_process_is_lost_at_once(ray):
    ended = []
    watch = ClusterWatch(ray, "own", patience=45.0, missing=lambda: next(iter(ended), None))
    watch.check()

    ended.append("gcs_server")

    with pytest.raises(ClusterLost, match=r"'gcs_server' has ended.*`twohead resume`"):
        watch.check()
