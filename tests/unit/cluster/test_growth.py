"""What a cluster may still become, by its own file or by what its autoscaler says."""

import pytest

from search.cluster.autoscaler import Growth, NodeType, _read_bootstrap
from search.cluster.nodes import Node

GPU_NODE = {"CPU": 4, "GPU": 1, "memory": 1e10}


def node(name, is_head=False, **resources):
    return Node(id=name, address=name, name=name, resources=resources, is_head=is_head)


HEAD = node("head", is_head=True, CPU=0)


def write(path, text):
    path.write_text(text)
    return str(path)


AWS = """
cluster_name: search
max_workers: 4
provider: {type: aws, region: us-west-2}
auth: {ssh_user: ubuntu, ssh_private_key: secret}
head_node_type: head
available_node_types:
  head: {resources: {CPU: 0}, node_config: {InstanceType: m5.large}}
  spot: {resources: {CPU: 4, GPU: 1}, min_workers: 0, max_workers: 3, node_config: {}}
  demand: {resources: {CPU: 4, GPU: 1}, min_workers: 0, node_config: {}}
"""
LOCAL = """
cluster_name: search
max_workers: 2
provider: {type: local, head_ip: 10.0.0.1, worker_ips: [10.0.0.2, 10.0.0.3]}
head_node_type: local.cluster.node
available_node_types:
  local.cluster.node: {resources: {}, node_config: {}, min_workers: 2, max_workers: 2}
"""


def test_a_cluster_file_tells_the_types_of_its_workers_and_how_many_there_may_be(tmp_path):
    growth = _read_bootstrap(write(tmp_path / "c.yaml", AWS))

    assert growth == Growth(
        types=(
            NodeType(name="spot", resources={"CPU": 4, "GPU": 1}, most=3),
            NodeType(name="demand", resources={"CPU": 4, "GPU": 1}, most=4),
        ),
        most_workers=4,
    )


def test_nothing_but_the_nodes_is_read_of_a_cluster_file(tmp_path):
    assert "secret" not in str(_read_bootstrap(write(tmp_path / "c.yaml", AWS)))


def test_machines_of_ones_own_tell_what_they_have_when_the_first_has_come(tmp_path):
    growth = _read_bootstrap(write(tmp_path / "c.yaml", LOCAL))

    [unknown] = growth.beyond([HEAD])
    [known] = growth.beyond([HEAD, node("10.0.0.2", CPU=8, GPU=2)])

    assert (unknown.resources, unknown.most) == (None, 2)
    assert (known.resources, known.most) == ({"CPU": 8, "GPU": 2}, 1)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("[1, 2]", id="no_mapping"),
        pytest.param("a: [", id="no_yaml"),
        pytest.param("available_node_types: {a: 1}", id="no_type"),
        pytest.param("max_workers: many", id="no_number"),
    ],
)
def test_a_file_that_is_no_cluster_file_tells_nothing(tmp_path, text):
    assert _read_bootstrap(write(tmp_path / "c.yaml", text)) is None


def test_without_a_file_nothing_is_told(tmp_path):
    assert _read_bootstrap(str(tmp_path / "none.yaml")) is None


@pytest.mark.parametrize(("num", "left"), [(0, 3), (2, 2), (3, 1), (4, 0), (9, 0)])
def test_what_has_come_can_come_no_more(num, left):
    growth = Growth(types=(NodeType(name="a", resources=GPU_NODE, most=3),), most_workers=4)
    nodes = [HEAD, *(node(str(one), **GPU_NODE) for one in range(num))]

    assert sum(one.most for one in growth.beyond(nodes)) == left
