"""Questions to every node of a Ray that has several."""

import os
import time
from dataclasses import replace

import pytest

from search.cluster.nodes import Failed, living_nodes, on_each_node
from tests.integration.several_nodes import joined, nodes_of_ray

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", name="nodes")
def two_nodes():
    with nodes_of_ray() as nodes:
        nodes.add(num_cpus=1, resources={"far": 1})
        with joined(nodes):
            yield nodes


def where():
    import ray

    return ray.get_runtime_context().get_node_id(), os.getpid()


def misbehave(how, on):
    if where()[0] != on:
        return "well"
    if how == "raise":
        raise ValueError("the disk is\nfull")
    if how == "die":
        os._exit(3)
    time.sleep(600)
    return None


def test_a_question_reaches_every_node_once_and_in_a_process_of_its_own(nodes):
    answers = on_each_node(where, seconds=60)

    known = living_nodes()
    assert list(answers) == list(known)
    assert [node.is_head for node in known] == [True, False]
    assert [node.resources.get("CPU", 0) for node in known] == [0, 1]
    assert [answer[0] for answer in answers.values()] == [node.id for node in known]
    assert len({answer[1] for answer in answers.values()}) == 2


@pytest.mark.parametrize(
    ("how", "seconds", "reason"),
    [
        pytest.param("raise", 60, "ValueError: the disk is full", id="raises"),
        pytest.param("die", 60, "WorkerCrashedError: ", id="dies"),
        pytest.param("hang", 8, "no answer within 8 s", id="hangs"),
    ],
)
def test_what_goes_wrong_on_one_node_is_its_answer_and_the_others_are_heard(
    nodes, how, seconds, reason
):
    head, far = living_nodes()

    answers = on_each_node(misbehave, how, far.id, seconds=seconds)

    assert answers[head] == "well"
    assert isinstance(answers[far], Failed)
    assert answers[far].reason.startswith(reason)
    assert isinstance(answers[far].error, ValueError) == (how == "raise")


def test_only_the_nodes_that_are_named_are_asked(nodes):
    far = living_nodes()[1]

    assert list(on_each_node(where, seconds=60, nodes=[far])) == [far]
    assert on_each_node(where, seconds=60, nodes=[]) == {}


def test_a_node_that_has_gone_is_an_answer_too(nodes):
    gone = replace(living_nodes()[1], id="ab" * 28)

    answers = on_each_node(where, seconds=60, nodes=[gone])

    assert answers[gone].reason.startswith("TaskUnschedulableError: ")
