"""A cluster that the file for AWS launches grows to a study's need, shrinks, and leaves nothing.

AWS is simulated, its machines are hosts; Ray, its autoscaler and SSH are real. The tests are one
story, in this order, of many minutes: `pytest -m cluster`.
"""

import json
import secrets

import pytest

from tests.cluster.namespaces import HOME
from tests.cluster.network import SHARED
from tests.cluster.on_aws import on_aws
from tests.cluster.stub_jobs import STUB, StubJob

pytestmark = [
    pytest.mark.slow,
    pytest.mark.hosts,
    pytest.mark.cluster,
    pytest.mark.timeout(1800),
]

TOKEN = secrets.token_hex(32)
BUDGET = {"trials": 8, "epochs": 4}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    options = {"max_workers": 2, "idle_timeout_minutes": 0.25}
    folder = tmp_path_factory.mktemp("aws")
    with on_aws(folder, token=TOKEN, environment=STUB, **options) as prepared:
        yield prepared


@pytest.fixture(scope="module")
def center(cluster):
    return cluster.center


def test_a_study_makes_the_cluster_grow_to_its_need_and_then_shrink(cluster, center):
    cluster.up()
    assert center.workers() == [], "without a study nothing is bought"

    job = StubJob(cluster, "first", seconds=2.0, budget=BUDGET)
    job.submit()
    center.wait_for(lambda _: len(center.workers()) == 2, 120)

    bought = sorted((e["kind"], e["market"]) for e in center.workers())
    assert bought == [("gpu_on_demand", "on-demand"), ("gpu_spot", "spot")]
    assert cluster.num_workers() == 0, "the second is bought before the first is there"
    job.wait_for_end(900)
    assert [trial.state for trial in job.trials()] == ["complete"] * 8
    assert json.loads(job.ask("best", "--json"))["number"] in range(8)
    center.wait_for(lambda _: len(center.workers("over")) == 2, 120)
    assert len(center.workers()) == 2, "nothing was bought in the place of idle machines"


def test_a_spot_machine_that_is_taken_away_costs_no_trial(cluster, center):
    job = StubJob(cluster, "second", seconds=2.0, budget=BUDGET)
    job.submit()
    center.wait_for(lambda _: len(center.workers()) == 4, 120)
    (spot,) = [e for e in center.workers()[2:] if e["market"] == "spot"]
    job.wait_for_epochs(1, center.host_of(spot["id"]))

    cluster.take_away(spot["id"])
    job.wait_for_end(900)

    trials = job.trials()
    assert [trial.state for trial in trials] == ["complete"] * 8
    assert {release.cause for trial in trials for release in trial.releases} == {"node"}
    assert sum(trial.charged_failures for trial in trials) == 0
    # Another one comes in its place if by then there is still more to train than the rest can.
    assert [e["market"] for e in center.workers()[4:]] in ([], ["spot"])


def test_the_token_is_in_its_file_alone(cluster):
    where = ["/tmp/ray", HOME, SHARED]

    found = cluster.node("head", "grep", "-rlF", TOKEN, *where, check=False)

    assert found.stdout.split() == [f"{HOME}/.ray/auth_token"]
    assert not any(TOKEN in text for text in cluster.printed)


def test_ray_down_leaves_no_machine(cluster, center):
    cluster.down()

    began = {e["id"] for e in center.events if e["state"] == "on"}
    center.wait_for(lambda events: {e["id"] for e in events if e["state"] == "over"} == began, 60)
