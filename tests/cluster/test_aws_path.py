"""A cluster that the file for AWS launches grows to a study's need, shrinks, and leaves nothing.

AWS is simulated, its machines are hosts of this machine; Ray, its autoscaler and SSH are real.
Needs root and the tools of `setup.sh`; takes minutes.
"""

import json
import re

import pytest
import yaml

import search
from tests.cluster.aws_file import aws_file
from tests.cluster.cloud import CREDENTIALS
from tests.cluster.data_center import DataCenter
from tests.cluster.launched import FILE, LAPTOP, STORAGE
from tests.cluster.namespaces import REPOSITORY
from tests.cluster.network import SHARED, network, why_no_hosts
from tests.processes import wait_until
from tests.stub_study import HEADS, SPACE
from tests.unit import data_sets

REASON = why_no_hosts()
pytestmark = [pytest.mark.slow, pytest.mark.skipif(REASON is not None, reason=str(REASON))]

MACHINES = [f"m{number}" for number in range(1, 9)]
TOKEN = "canary" * 8
STUDY = {
    "name": "stub",
    "data": f"{SHARED}/data.parquet",
    "heads": HEADS,
    "image_size": [16, 16],
    "space": SPACE,
    "budget": {"trials": 8, "epochs": 3},
    "resources": {"gpu": 0.5},
    "reference": False,
    "sampler": "random",
    "scheduler": "fifo",
}


@pytest.fixture(scope="module")
def center(tmp_path_factory):
    """Have a laptop with the file, the token and an account, and machines to be bought."""
    folder = tmp_path_factory.mktemp("aws")
    with network(folder, ["laptop", *MACHINES]) as hosts:
        shared = hosts.folder / "shared"
        data_sets.write(shared / "data.parquet")
        (shared / "studies").mkdir()
        # Slow enough that the study is still there when its last machine has come.
        slow = {"*": {"kind": "slow", "at": "always", "seconds": 2}}
        (shared / "studies" / "faults.json").write_text(json.dumps(slow))
        text = aws_file(
            storage=STORAGE,
            environment={"TWOHEAD_TEST_FACTORY": "tests.stub_run:make"},
            max_workers=2,
            idle_timeout_minutes=0.25,
        )
        hosts.put("laptop", FILE, text)
        hosts.put("laptop", "/root/.ray/auth_token", TOKEN)
        hosts.run("laptop", ["chmod", "700", "/root/.ray"])
        hosts.put("laptop", f"{REPOSITORY}/study.yaml", yaml.safe_dump(STUDY))
        with DataCenter(hosts) as center:
            yield center


def on_laptop(center, *command, seconds=300.0, check=True):
    moved = ["env", "-C", str(REPOSITORY), *command]
    env = LAPTOP | CREDENTIALS
    return center.hosts.run("laptop", moved, env=env, timeout=seconds, check=check)


def twohead(center, *arguments, **options):
    return on_laptop(center, "twohead", *arguments, "--address", FILE, **options)


def head_of(center):
    (head,) = [e for e in center.events if e.get("kind") == "head" and e["state"] == "on"]
    return center.host_of(head["id"])


def joined(center):
    """Return how many workers have joined the head's Ray."""
    script = ". ~/.twohead/env && ray status"
    said = center.hosts.run(head_of(center), ["sh", "-c", script], timeout=120).stdout
    return len(re.findall(r"^ \d+ gpu_", said.partition("Pending:")[0], re.MULTILINE))


def is_training(center, machine):
    """Tell whether a process of Ray's on a machine does more than wait."""
    running = center.hosts.processes(center.host_of(machine["id"]))
    return any(one.startswith("ray::") and "IDLE" not in one for one in running)


def test_a_study_makes_the_cluster_grow_to_its_need_and_then_shrink(center):
    on_laptop(center, "ray", "up", "-y", FILE)
    assert center.workers() == [], "without a study nothing is bought"

    twohead(center, "submit", "study.yaml")
    center.wait_for(lambda _: len(center.workers()) == 2, 120)

    bought = sorted((e["kind"], e["market"]) for e in center.workers())
    assert bought == [("gpu_on_demand", "on-demand"), ("gpu_spot", "spot")]
    assert joined(center) == 0, "the second is bought before the first has shown what it is"
    twohead(center, "logs", "stub", "--follow", seconds=400)
    best = json.loads(twohead(center, "best", "stub", "--json").stdout)
    assert best["number"] in range(8)
    center.wait_for(lambda _: len(center.workers("over")) == 2, 120)
    assert len(center.workers()) == 2, "nothing was bought in the place of idle machines"


def test_a_spot_machine_that_is_taken_away_costs_no_trial(center):
    twohead(center, "submit", "study.yaml", "--name", "again")
    center.wait_for(lambda _: len(center.workers()) == 4, 120)
    (spot,) = [e for e in center.workers()[2:] if e["market"] == "spot"]
    wait_until(lambda: is_training(center, spot), 200)
    script = "import boto3, sys; boto3.client('ec2').terminate_instances(InstanceIds=sys.argv[1:])"
    on_laptop(center, "python", "-c", script, spot["id"])
    twohead(center, "logs", "again", "--follow", seconds=500)

    trials = search.load(str(center.hosts.folder / "shared/studies/again")).trials
    assert [trial.state for trial in trials] == ["complete"] * 8
    assert max(trial.num_attempts for trial in trials) > 1, "it has to have trained something"
    assert [e["market"] for e in center.workers()[4:]] == ["spot"], "another in its place"


def test_the_token_is_in_its_file_alone(center):
    where = ["/tmp", "/root", SHARED]

    found = center.hosts.run(head_of(center), ["grep", "-rlF", TOKEN, *where], check=False)

    assert found.stdout.split() == ["/root/.ray/auth_token"]


def test_ray_down_leaves_no_machine(center):
    on_laptop(center, "ray", "down", "-y", FILE)

    began = {e["id"] for e in center.events if e["state"] == "on"}
    center.wait_for(lambda events: {e["id"] for e in events if e["state"] == "over"} == began, 60)
