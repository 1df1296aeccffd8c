"""Room for trials on a cluster that changes, and what is said and done when there is none."""

from types import SimpleNamespace

import pytest

from search.cluster.autoscaler import Growth, NodeType
from search.cluster.capacity import SAY_AFTER_SECONDS, Capacity, _needs
from search.cluster.health import Sight
from search.cluster.nodes import Node
from search.errors import NoRoom
from search.study.settings import Resources

HALF = Resources(cpu=1, gpu=0.5, wait_minutes=10)
GPU_NODE = {"CPU": 4.0, "GPU": 1.0}


def node(name, is_head=False, **resources):
    return Node(id=name, address=name, name=name, resources=resources, is_head=is_head)


HEAD = node("head", is_head=True)
WORKER = node("worker", **GPU_NODE)
GROWTH = Growth(types=(NodeType(name="gpu", resources=GPU_NODE, most=4),), most_workers=4)


class Clock:
    """Stands still until it is moved."""

    now = 0.0

    def __call__(self):
        return self.now


def waiting(*nodes, resources=HALF, growth=GROWTH, **sight):
    """Return a room, what is said of it, and its clock."""
    said, clock = [], Clock()
    watch = SimpleNamespace(sight=Sight(nodes=nodes, **sight))
    return Capacity(resources, growth, watch, said.append, clock), said, clock


@pytest.mark.parametrize(
    ("nodes", "resources", "growth", "expected"),
    [
        pytest.param((HEAD,), HALF, GROWTH, 8, id="all_to_come"),
        pytest.param((HEAD, WORKER), HALF, GROWTH, 8, id="one_here_three_to_come"),
        pytest.param((HEAD, WORKER), HALF, Growth(), 2, id="nothing_to_come"),
        pytest.param((HEAD,), Resources(gpu=1, concurrent=3), GROWTH, 3, id="as_told"),
        pytest.param((HEAD,), HALF, Growth(), 1, id="never_none"),
    ],
)
def test_there_is_room_on_what_is_there_and_what_may_come(nodes, resources, growth, expected):
    room, *_ = waiting(*nodes, resources=resources, growth=growth)

    assert room.num_trials() == expected


def test_the_room_follows_the_nodes_that_come_and_go():
    watch = SimpleNamespace(sight=Sight(nodes=(HEAD, WORKER)))
    room = Capacity(HALF, Growth(), watch, str)
    first = room.num_trials()

    watch.sight = Sight(nodes=(HEAD, WORKER, node("by_hand", **GPU_NODE)))
    more = room.num_trials()
    watch.sight = Sight(nodes=watch.sight.nodes, leaving=frozenset({"by_hand"}))

    assert (first, more, room.num_trials()) == (2, 4, 2)


def look_for(wait, clock, seconds, num_placed=0):
    end = clock.now + seconds
    while clock.now < end:
        clock.now += 1
        wait.look(num_placed)


def test_a_short_wait_is_not_worth_a_word():
    wait, said, clock = waiting(HEAD)

    look_for(wait, clock, SAY_AFTER_SECONDS)

    assert said == []


def test_what_is_waited_for_is_said_once():
    wait, said, clock = waiting(HEAD)

    look_for(wait, clock, 60)

    assert said == ["waiting for a node with 1 CPU and 0.5 GPU; the cluster can grow by 4 nodes"]


def test_after_the_minutes_that_the_study_waits_it_ends_with_its_reason():
    wait, _, clock = waiting(HEAD, growth=Growth())
    look_for(wait, clock, 600)

    with pytest.raises(NoRoom, match=r"come within 10 minutes .*cannot grow by itself.* resume"):
        look_for(wait, clock, 2)


def test_a_trial_that_has_a_place_begins_the_time_anew():
    wait, said, clock = waiting(HEAD)

    look_for(wait, clock, 500)
    look_for(wait, clock, 1, num_placed=1)
    look_for(wait, clock, 500)

    assert len(said) == 2


def test_a_study_waits_without_end_while_others_use_what_it_needs():
    free = {"worker": {"CPU": 3.0, "GPU": 0.25}}
    wait, said, clock = waiting(HEAD, WORKER, free=free)

    look_for(wait, clock, 6000)

    assert said == ["waiting for 1 CPU and 0.5 GPU: others of this cluster use what there is"]


def test_a_node_that_is_free_and_not_given_is_not_called_used_by_others():
    room, *_ = waiting(HEAD, WORKER, free={"worker": GPU_NODE})

    assert not room.is_kept_by_others()


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        (Resources(cpu=1), "1 CPU"),
        (Resources(cpu=4, gpu=0.25), "4 CPUs and 0.25 GPU"),
        (Resources(cpu=2, gpu=2), "2 CPUs and 2 GPUs"),
    ],
)
def test_what_a_trial_needs_is_said_in_words(resources, words):
    assert _needs(resources) == words
