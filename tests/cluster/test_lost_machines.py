"""What befalls a cluster with the settings that are shipped: many minutes, `pytest -m cluster`."""

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.cluster.launched import FILE, STORAGE, Launched, launched
from tests.cluster.namespaces import HOME
from tests.cluster.network import SHARED
from tests.cluster.stub_jobs import STUB, StubJob

pytestmark = [
    pytest.mark.slow,
    pytest.mark.hosts,
    pytest.mark.cluster,
    pytest.mark.timeout(1800),
]

LOST_SECONDS = 180.0
"""Within this a silent machine is given up; with the shipped settings it takes 30 s, plus load."""


@contextmanager
def cluster_of(folder, **environment) -> Iterator[Launched]:
    token = secrets.token_hex(32)
    with launched(folder, ["one", "two"], token=token, environment=environment) as cluster:
        cluster.wait_for_workers(2)
        yield cluster


def acknowledged(job):
    """Return all that is recorded, by trial and epoch."""
    return {
        (trial.number, measurement.epoch): dict(measurement.losses)
        for trial in job.trials()
        for measurement in trial.measurements
    }


def assert_is_whole(job):
    trials = job.trials()
    assert [trial.state for trial in trials] == ["complete"] * 8
    assert [len(trial.measurements) for trial in trials] == [8] * 8
    assert sum(trial.charged_failures for trial in trials) == 0


def test_a_study_survives_that_one_worker_ends_and_the_other_is_given_up_for_lost(tmp_path):
    with cluster_of(tmp_path, **STUB) as cluster:
        job = StubJob(cluster, "stub", seconds=2.0)
        job.submit()
        job.wait_for_epochs(2, "one")
        job.wait_for_epochs(2, "two")

        cluster.hosts.power_off("two")
        cluster.hosts.cut("one")
        cluster.wait_for_workers(0, LOST_SECONDS)
        cluster.hosts.heal("one")
        job.wait_for_end(900)

        assert_is_whole(job)
        lost = [release.cause for trial in job.trials() for release in trial.releases]
        assert set(lost) == {"node"}
        assert job.num_again() <= 2 * len(lost)  # a cut-off one finishes the epoch that it is at


def test_a_worker_that_comes_back_is_used_again(tmp_path):
    with cluster_of(tmp_path, **STUB) as cluster:
        job = StubJob(cluster, "stub", seconds=2.0, budget={"trials": 8, "epochs": 16})
        job.submit()
        job.wait_for_epochs(2, "two")

        cluster.hosts.power_off("two")
        cluster.wait_for_workers(1, LOST_SECONDS)
        before = job.num_epochs("two")
        cluster.hosts.power_on("two")

        job.wait_for_epochs(before + 1, "two", seconds=300)


def test_a_study_goes_on_after_its_head_has_ended(tmp_path):
    with cluster_of(tmp_path, **STUB) as cluster:
        job = StubJob(cluster, "stub", seconds=2.0)
        job.submit()
        job.wait_for_epochs(8)

        cluster.hosts.power_off("head")
        before = acknowledged(job)
        cluster.hosts.power_on("head")
        cluster.up()
        cluster.twohead("resume", "stub", "--address", FILE)
        job.wait_for_end(900)

        assert_is_whole(job)
        after = acknowledged(job)
        assert before
        assert {key: after[key] for key in before} == before


def test_a_real_study_on_the_digits_gives_the_same_best_everywhere(tmp_path):
    with cluster_of(tmp_path) as cluster:
        data = f"{SHARED}/digits.parquet"
        cluster.node("head", "twohead", "data", "digits", data, "--num", "1000")
        study = {
            "name": "digits",
            "data": data,
            "heads": {"c_output": {"kind": "classification"}, "r_output": {"kind": "box"}},
            "budget": {"trials": 4, "epochs": 3},
            "resources": {"gpu": 0.5},
        }
        cluster.hosts.put("laptop", f"{HOME}/digits.yaml", json.dumps(study))

        cluster.twohead("submit", f"{HOME}/digits.yaml", "--address", FILE)
        said = cluster.twohead("logs", "digits", "--follow", "--address", FILE, seconds=1500)
        told = cluster.twohead("best", "digits", "--json", "--address", FILE).stdout
        there = cluster.node("head", "twohead", "best", f"{STORAGE}/digits", "--json").stdout

        assert "best: trial" in said.stdout
        assert told == there
        assert json.loads(told)["config"]
