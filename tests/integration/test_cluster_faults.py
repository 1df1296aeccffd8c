"""Studies on a Ray of several nodes: some are killed or taken away, others come late."""

import time
from collections import Counter

import pytest

import search.cluster.capacity
from search.errors import InputError, NoRoom
from search.running.run import Silent, run
from tests.integration import placed_stub
from tests.integration.placed_stub import placed
from tests.integration.several_nodes import joined, nodes_of_ray
from tests.support import stub_run
from tests.support.driven_study import Driver
from tests.support.driver import FAILED
from tests.support.stub_study import (
    num_ends,
    numbered,
    rate_of,
    stub_study,
    table,
    trials_of,
    write_faults,
)

pytestmark = pytest.mark.slow

TRIALS, EPOCHS = 4, 4


@pytest.fixture(scope="module", name="nodes")
def a_head_without_cpus_and_one_node():
    with nodes_of_ray() as nodes:
        nodes.add(num_cpus=1)
        with joined(nodes):
            yield nodes


def slow_study(storage, seconds=0.5, **changes):
    """Return a study whose epochs last long enough for something to happen meanwhile."""
    slow = {"kind": "slow", "at": "always", "seconds": seconds}
    write_faults(storage, dict.fromkeys(range(TRIALS), slow))
    values = {"scheduler": "fifo", **numbered(TRIALS), "resources": {}, **changes}
    return stub_study(storage, **values)


@pytest.fixture(scope="module", name="quiet")
def figures_of_an_undisturbed_run(nodes, tmp_path_factory):
    study = stub_study(tmp_path_factory.mktemp("quiet"), scheduler="fifo", **numbered(TRIALS))
    run(study, factory=stub_run.FACTORY)
    return table(study)


class Watcher(Silent):
    """Notes the lines, and does something once when it is time."""

    def __init__(self, action, when):
        self.action, self.when, self.is_done, self.lines = action, when, False, []

    def told(self, line):
        self.lines.append(line)
        self.changed()

    def changed(self):
        if not self.is_done and self.when(self):
            self.is_done = True
            self.action()


def is_amid_a_trial_on(node, storage):
    """Return what tells when a trial on this node has trained two epochs of four."""

    def amid(watcher):
        here = {key for key, where in placed(storage) if where == node.node_id}
        epochs = Counter(line.split()[0] for line in stub_run.notes(storage, "trained"))
        return any(epochs[key] == 2 for key in here)

    return amid


def assert_as_if_nothing_had_happened(study, quiet):
    assert table(study) == quiet
    assert num_ends(study) == dict.fromkeys(range(TRIALS), 1)


def trained_again(storage):
    """Return how many epochs were trained more than once, by the config's key."""
    times = Counter(stub_run.notes(storage, "trained"))
    return Counter(line.split()[0] for line, num in times.items() for _ in range(num - 1))


def test_the_trials_of_a_killed_node_go_on_elsewhere_and_are_not_charged(nodes, quiet, tmp_path):
    victim = nodes.add(num_cpus=1)
    study = slow_study(tmp_path)
    watcher = Watcher(lambda: nodes.remove(victim), is_amid_a_trial_on(victim, tmp_path))

    run(study, factory=placed_stub.FACTORY, watcher=watcher)

    assert watcher.is_done
    assert_as_if_nothing_had_happened(study, quiet)
    lost = [trial for trial in trials_of(study) if trial.releases]
    assert [[(r.cause, r.charged) for r in trial.releases] for trial in lost] == [
        [("node", False)]
    ]
    again = trained_again(tmp_path)
    assert set(again) <= {repr(rate_of(lost[0].number))}
    assert again.total() <= 1


def test_a_trial_leaves_a_node_that_is_announced_to_go_and_loses_nothing(nodes, quiet, tmp_path):
    victim = nodes.add(num_cpus=1)
    study = slow_study(tmp_path)
    watcher = Watcher(lambda: drain(victim), is_amid_a_trial_on(victim, tmp_path))

    run(study, factory=placed_stub.FACTORY, watcher=watcher)

    nodes.remove(victim)
    assert watcher.is_done
    assert_as_if_nothing_had_happened(study, quiet)
    lost = [trial for trial in trials_of(study) if trial.releases]
    assert [[(r.cause, r.charged) for r in trial.releases] for trial in lost] == [
        [("preempted", False)]
    ]
    assert trained_again(tmp_path) == {}
    assert [where for _, where in placed(tmp_path)].count(victim.node_id) == 1


def drain(node):
    """Announce, as an autoscaler does, that a node will be taken away."""
    import ray
    from ray.core.generated import autoscaler_pb2

    is_accepted, why = ray._private.worker.global_worker.gcs_client.drain_node(
        node.node_id,
        autoscaler_pb2.DrainNodeReason.DRAIN_NODE_REASON_PREEMPTION,
        "taken away by the test",
        int((time.time() + 120) * 1000),
    )
    assert is_accepted, why


@pytest.fixture(name="grows")
def what_the_autoscaler_may_add(nodes):
    """Return what tells Ray which nodes may come, as an autoscaler does; undone at the end."""
    import ray
    from ray.core.generated import autoscaler_pb2

    def tell(**types):
        config = autoscaler_pb2.ClusterConfig()
        for name, (most, resources) in types.items():
            group = config.node_group_configs.add(name=name, max_count=most)
            group.resources.update(resources)
        client = ray._private.worker.global_worker.gcs_client
        client.report_cluster_config(config.SerializeToString())

    yield tell
    tell()


def pending_groups():
    import ray

    states = [group["state"] for group in ray.util.placement_group_table().values()]
    return states.count("PENDING")


def test_a_cluster_that_can_grow_is_asked_for_all_at_once_and_what_comes_is_used(
    nodes, quiet, grows, tmp_path
):
    grows(small=(3, {"CPU": 1}))
    study = slow_study(tmp_path, seconds=1.5)  # longer than a process takes to start
    seen, come = [], []

    def is_asked_for(watcher):
        seen.append(pending_groups())
        return seen[-1] == 2

    watcher = Watcher(lambda: come.extend(nodes.add(num_cpus=1) for _ in "ab"), is_asked_for)

    run(study, factory=placed_stub.FACTORY, watcher=watcher)

    for node in come:
        nodes.remove(node)
    assert max(seen) == 2
    assert_as_if_nothing_had_happened(study, quiet)
    assert {node.node_id for node in come} <= {where for _, where in placed(tmp_path)}


def test_what_no_node_of_the_cluster_and_none_to_come_can_hold_is_refused(nodes, grows, tmp_path):
    grows(small=(3, {"CPU": 1}), large=(1, {"CPU": 4, "GPU": 1}))
    study = slow_study(tmp_path, resources={"gpu": 2})

    message = r"gpu=2 for one trial; the largest of \d has cpu=1 .*\(small, large\) has cpu=4 and"
    with pytest.raises(InputError, match=message):
        run(study, factory=stub_run.FACTORY)


def test_a_study_waits_for_a_node_in_words_not_for_ever_and_goes_on_when_one_comes(
    nodes, quiet, grows, tmp_path, monkeypatch
):
    monkeypatch.setattr(search.cluster.capacity, "SAY_AFTER_SECONDS", 1.0)
    grows(large=(4, {"CPU": 2, "GPU": 1}))
    study = slow_study(tmp_path, resources={"gpu": 0.5, "wait_minutes": 0.03})
    line = "waiting for a node with 1 CPU and 0.5 GPU; the cluster can grow by 3 nodes"

    with pytest.raises(NoRoom, match=r"1 CPU and 0.5 GPU has come within 0.03 minutes"):
        run(study, factory=placed_stub.FACTORY)
    watcher = Watcher(
        lambda: come.append(nodes.add(num_cpus=2, num_gpus=1)), lambda self: line in self.lines
    )
    come = []
    patient = slow_study(tmp_path, resources={"gpu": 0.5})
    run(patient, factory=placed_stub.FACTORY, watcher=watcher)

    nodes.remove(come[0])
    assert watcher.lines == [line]
    assert_as_if_nothing_had_happened(study, quiet)
    assert {where for _, where in placed(tmp_path)} == {come[0].node_id}


def test_two_drivers_with_studies_of_one_name_share_a_ray(nodes, quiet, tmp_path):
    folders = [tmp_path / "one", tmp_path / "other"]
    for folder in folders:
        slow_study(folder)
    plan = {"scheduler": "fifo", **numbered(TRIALS), "resources": {}}

    drivers = [Driver(folder, plan, RAY_ADDRESS=nodes.address) for folder in folders]

    for driver, folder in zip(drivers, folders, strict=True):
        assert driver.wait() == 0, driver.err
        assert_as_if_nothing_had_happened(stub_study(folder), quiet)


def test_a_driver_whose_ray_loses_its_head_ends_with_its_reason_and_another_goes_on(
    quiet, tmp_path
):
    storage = tmp_path / "study"
    slow_study(storage)
    plan = {"scheduler": "fifo", **numbered(TRIALS), "resources": {}}
    changes = {"RAY_gcs_rpc_server_reconnect_timeout_s": "16"}
    with nodes_of_ray() as nodes:
        nodes.add(num_cpus=1)
        driver = Driver(storage, plan, RAY_ADDRESS=nodes.address, **changes)
        driver.wait_for(lambda: len(stub_run.notes(storage, "trained")) >= EPOCHS + 2)
        nodes.kill_head()

        assert driver.wait() == FAILED

    assert driver.err.startswith("ClusterLost: Ray's head has not answered for")
    assert "Traceback" not in driver.err
    study = stub_study(storage)
    assert len([trial for trial in trials_of(study) if trial.has_ended]) >= 1
    again = Driver(storage, plan)
    assert again.wait() == 0, again.err
    assert_as_if_nothing_had_happened(study, quiet)
    assert trained_again(storage).total() <= 1
