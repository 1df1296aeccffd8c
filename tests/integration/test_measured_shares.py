"""Shares from measurement on simulated GPU nodes: packed, spread, outgrown, refused, kept."""

import json
from collections import Counter
from pathlib import Path

import pytest

from search.running.run import run
from tests.integration import placed_stub
from tests.integration.placed_stub import begun, meet
from tests.integration.several_nodes import joined, nodes_of_ray
from tests.support import stub_run
from tests.support.driven_study import Driver
from tests.support.driver import FAILED
from tests.support.stub_study import Listener, numbered, stub_study, table, trials_of, write_faults

pytestmark = pytest.mark.slow

GPU_BYTES = 4_500_000_000
"""A quarter holds what a process with TensorFlow takes for the stub study's models."""


@pytest.fixture(scope="module", name="nodes")
def two_nodes_with_a_gpu_each():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TWOHEAD_SIMULATED_GPU", "1")
        patch.setenv("TWOHEAD_SIMULATED_GPU_BYTES", str(GPU_BYTES))
        with nodes_of_ray() as nodes:
            for _ in "ab":
                nodes.add(num_cpus=4, num_gpus=1)
            with joined(nodes):
                yield nodes


class ProbeListener(Listener):
    """Keeps what is prepared besides."""

    def __init__(self):
        super().__init__()
        self.prepared = []

    def preparing(self, what):
        self.prepared.append(what)

    @property
    def has_measured(self):
        return "measuring what a trial needs" in self.prepared


def study_of(storage, trials=8, **changes):
    resources = {"gpu": "auto", "wait_minutes": 2}
    values = {"scheduler": "fifo", **numbered(trials), "resources": resources, **changes}
    return stub_study(storage, **values)


def ran(study, factory=placed_stub.FACTORY):
    listener = ProbeListener()
    run(study, factory=factory, watcher=listener)
    return listener


def test_quarters_fill_every_gpu_of_every_node_and_are_kept_for_the_next_run(nodes, tmp_path):
    meet(tmp_path, 8)  # no training goes on before all eight have a place
    study = study_of(tmp_path)

    first = ran(study)

    places = Counter((one["node"], *one["gpu"]) for one in begun(tmp_path))
    assert sorted(places.values()) == [4, 4]
    assert {one["share"] for one in begun(tmp_path)} == {0.25}
    assert {one["limit"] for one in begun(tmp_path)} == {int(GPU_BYTES * 0.96 * 0.25)}
    assert [trial.state for trial in trials_of(study)] == ["complete"] * 8
    (line,) = first.lines
    assert "a quarter of a GPU each, 4 on a GPU of 4.2 GiB" in line
    again = ran(study.with_budget(trials=9))
    assert (first.has_measured, again.has_measured) == (True, False)
    assert again.lines == [line]


def test_a_trial_that_outgrows_its_share_goes_on_with_a_larger_one_or_says_what_it_had(
    nodes, tmp_path
):
    write_faults(
        tmp_path,
        {
            1: {"kind": "memory", "at": 3, "needs": 0.5},
            2: {"kind": "memory", "at": 2, "needs": 1},
        },
    )
    study = study_of(tmp_path, trials=4)

    ran(study)

    trials = trials_of(study)
    assert [trial.state for trial in trials] == ["complete", "complete", "failed", "complete"]
    # A process that ran out of memory is renewed before whichever trial it gets next.
    causes = [[r.cause for r in trial.releases if r.cause != "recycled"] for trial in trials]
    assert causes == [[], ["share"], ["share"], []]
    assert not any(r.charged for trial in trials for r in trial.releases)
    assert trials[2].reason == (
        "out of memory: the stub needs 1 of a GPU; it had half a GPU, and before a quarter of a "
        "GPU"
    )
    shares = {key: [] for key in ("0.001", "0.002", "0.003", "0.004")}
    for one in begun(tmp_path):
        shares[one["key"]].append(one["share"])
    assert list(shares.values()) == [[0.25], [0.25, 0.5], [0.25, 0.5], [0.25]]
    # The epochs before it ran out of memory were not trained again.
    trained = Counter(stub_run.notes(tmp_path, "trained"))
    assert trained["0.002 1"] == trained["0.002 2"] == 1
    quiet = stub_study(tmp_path / "quiet", scheduler="fifo", **numbered(4))
    run(quiet, factory=stub_run.FACTORY)
    same = [row for row in table(quiet) if row[0] != 2]
    assert [row for row in table(study) if row[0] != 2] == same


def test_shares_are_measured_again_where_the_gpus_are_others(nodes, tmp_path):
    study = study_of(tmp_path, trials=1)
    ran(study)
    file = Path(study.folder) / "shares.json"
    other = json.loads(file.read_text())["body"]
    write_shares_of(study, {**other, "gpu": 0.5, "gpu_bytes": 2_000_000_000})

    again = ran(study.with_budget(trials=2))

    assert again.has_measured
    line = (
        "the shares of trials are measured again: there are GPUs of 4.2 GiB now, of 1.9 GiB then"
    )
    assert again.lines[0] == line
    assert [one["share"] for one in begun(tmp_path)] == [0.25, 0.25]


def write_shares_of(study, body):
    from search.study.shares import MeasuredShares, write_shares
    from trainables.storage.sealed_json import convert
    from trainables.storage.store import Store

    write_shares(Store(study.folder), convert(body, MeasuredShares))


def test_a_model_that_no_gpu_has_room_for_is_refused_before_the_first_trial(tmp_path):
    stub_study(tmp_path)
    small = {"TWOHEAD_SIMULATED_GPU": "1", "TWOHEAD_SIMULATED_GPU_BYTES": "500000000"}
    plan = {"scheduler": "fifo", **numbered(2), "resources": {"gpu": "auto"}}

    driver = Driver(tmp_path, plan, **small)

    assert driver.wait() == FAILED
    assert "needs a GPU with room for every trial, but the config conv1_filters=" in driver.err
    assert "there are GPUs with 458 MiB for trials: make its model or its batch" in driver.err
    assert "Traceback" not in driver.err
    assert trials_of(stub_study(tmp_path)) == ()
