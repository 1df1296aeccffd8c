"""Storage and data that some node does not reach, found out before the first trial."""

import pytest

import search.cluster.nodes
from search.cluster.nodes import Failed, Node, check_reach
from search.errors import InputError
from trainables.storage.store import Store

NODES = tuple(
    Node(id=name, address=f"10.0.0.{i}", name=name, resources={}, is_head=i == 1)
    for i, name in enumerate(("head", "near", "far"), 1)
)


@pytest.fixture(name="store")
def study_folder(tmp_path):
    return Store(tmp_path / "studies" / "digits")


@pytest.fixture(name="data")
def data_file(tmp_path):
    path = tmp_path / "digits.parquet"
    path.write_bytes(b"rows")
    return str(path)


@pytest.fixture(name="cluster")
def fake_cluster(monkeypatch, tmp_path):
    """Return what chooses how the node ``far`` differs from the others."""

    def differ(storage=None, data=None, answer=None):
        def on_each_node(function, uri, place, given, *, seconds, nodes):
            def ask(node):
                if node.name != "far":
                    return search.cluster.nodes._reach(uri, place, given)
                return answer or search.cluster.nodes._reach(storage or uri, place, data or given)

            return {node: ask(node) for node in nodes}

        monkeypatch.setattr(search.cluster.nodes, "on_each_node", on_each_node)

    differ()
    return differ


def test_a_storage_that_all_nodes_reach_is_taken_and_left_as_it_was(store, data, cluster):
    said = []

    check_reach(store, data, NODES, said.append)

    assert said == []
    assert store.list() == []


def test_a_folder_of_one_machine_is_refused_with_the_node_the_path_and_the_cure(
    store, data, cluster, tmp_path
):
    cluster(storage=str(tmp_path / "another_disk"))

    with pytest.raises(InputError) as caught:
        check_reach(store, data, NODES, print)

    assert str(caught.value) == (
        f"storage needs a place that every node reaches, got {store.uri}: node far (10.0.0.3) "
        "does not see what this process writes there; use a URI (s3://...) or a folder that is "
        "mounted at the same path on all nodes"
    )
    assert store.list() == []


def test_a_storage_that_a_node_cannot_write_is_refused(store, data, cluster, monkeypatch):
    put = Store.put

    def refuse(self, path, content):
        if not path.endswith("/driver"):
            raise OSError("read-only file system")
        put(self, path, content)

    monkeypatch.setattr(Store, "put", refuse)

    with pytest.raises(InputError, match=r"node far .* cannot use it: read-only file system"):
        check_reach(store, data, NODES, print)


def test_what_a_node_writes_must_arrive_here(store, data, cluster, monkeypatch):
    monkeypatch.setattr(search.cluster.nodes, "_reach", lambda *given: ("x", None, None))

    with pytest.raises(InputError, match=r"3 problems[\s\S]*writes to another place of that name"):
        check_reach(store, data, NODES, print)


def test_data_that_a_node_does_not_have_are_refused(store, data, cluster, tmp_path):
    cluster(data=str(tmp_path / "nothing"))

    with pytest.raises(
        InputError, match=rf"data needs a place .* got {data}: node far .* no such"
    ):
        check_reach(store, data, NODES, print)


def test_a_node_without_this_project_is_refused(store, data, cluster):
    error = ModuleNotFoundError("No module named 'search'")
    cluster(answer=Failed(reason=f"ModuleNotFoundError: {error}", error=error))

    with pytest.raises(InputError, match=r"node far .* same version of this project .*'search'"):
        check_reach(store, data, NODES, print)


def test_a_node_that_does_not_answer_is_named_and_passed_over(store, data, cluster):
    cluster(answer=Failed(reason="no answer within 90 s"))
    said = []

    check_reach(store, data, NODES, said.append)

    assert said == [
        "node far (10.0.0.3) did not say whether it reaches the storage: no answer within 90 s"
    ]


def test_a_single_node_is_not_asked(store, monkeypatch):
    monkeypatch.delattr(search.cluster.nodes, "on_each_node")

    check_reach(store, "nowhere", NODES[:1], print)

    assert store.list() == []
