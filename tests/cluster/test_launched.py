"""One cluster, launched from a laptop, through what its owner does with it and what befalls it."""

import json
import secrets
import subprocess
import time

import pytest

from tests.cluster.cluster_file import KEY
from tests.cluster.launched import FILE, LAPTOP, launched
from tests.cluster.namespaces import HERE, HOME, REPOSITORY
from tests.cluster.network import SHARED
from tests.cluster.stub_jobs import STUB, StubJob

pytestmark = [pytest.mark.slow, pytest.mark.hosts]

TOKEN = f"canary{secrets.token_hex(24)}"
INTRUDERS = {
    "no token": {"RAY_AUTH_MODE": "disabled"},
    "another token": {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "another"},
}
REFUSED = {"the GCS": "InvalidAuthToken", "the client's server": "connection timeout"}
JOIN = "import sys, ray; ray.init(sys.argv[1], log_to_driver=False); print('JOINED')"
PORTS = {"the GCS": "{head}:6379", "the client's server": "ray://{head}:10001"}
CUT_SECONDS = 8.0
"""How long a cable is out: nothing is given up for lost so soon."""
SETTINGS = {
    **STUB,
    "RAY_gcs_rpc_server_reconnect_timeout_s": "20",
}
"""As shipped, but for the training and how long workers look for a head that has gone."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory, joining):
    folder = tmp_path_factory.mktemp("hosts")
    with launched(folder, ["one", "two"], token=TOKEN, environment=SETTINGS) as cluster:
        # They wait for half a minute each: meanwhile the workers come.
        joining.update(start_joining(cluster))
        cluster.wait_for_workers(2)
        yield cluster


@pytest.fixture(scope="module")
def joining():
    """What tries to join the cluster without its token, by what it has and where it knocks."""
    tried: dict[tuple[str, str], subprocess.Popen[str]] = {}
    yield tried
    for process in tried.values():
        with process:
            process.kill()


def start_joining(cluster):
    return {
        (has, where): cluster.hosts.start(
            "laptop",
            ["python", "-c", JOIN, address.format(head=cluster.address("head"))],
            env={**LAPTOP, **environment},
            output=subprocess.PIPE,
        )
        for has, environment in [*INTRUDERS.items(), ("the token", {})]
        for where, address in PORTS.items()
        if (has, where) != ("the token", "the GCS")  # which only a node joins
    }


@pytest.fixture(scope="module")
def job(cluster):
    """A study that went through the end of one worker and a cut cable at the other."""
    job = StubJob(cluster, "stub", seconds=0.7)
    job.submit()
    job.wait_for_epochs(3, "one")
    job.wait_for_epochs(3, "two")
    cluster.hosts.power_off("two")
    job.wait_for_epochs(job.num_epochs("one") + 2, "one")
    cluster.hosts.cut("one")
    time.sleep(CUT_SECONDS)
    cluster.hosts.heal("one")
    job.wait_for_end()
    return job


@pytest.mark.parametrize("has", INTRUDERS)
def test_all_that_the_dashboard_does_is_refused_without_the_token(cluster, has):
    token = INTRUDERS[has].get("RAY_AUTH_TOKEN", "")
    intruder = ["python", str(HERE / "intruder.py"), "127.0.0.1", "8265"]

    asked = json.loads(cluster.hosts.run("head", [*intruder, token]).stdout)
    let_in = json.loads(cluster.hosts.run("head", [*intruder, TOKEN]).stdout)

    assert {request: status for request, (status, _) in asked.items()} == dict.fromkeys(
        asked, "401" if not token else "403"
    )
    assert let_in["GET /api/jobs/"][0] == "200"
    assert not [status for status, _ in let_in.values() if status in {"401", "403"}]


@pytest.mark.parametrize("where", PORTS)
@pytest.mark.parametrize("has", INTRUDERS)
def test_nobody_joins_without_the_token(cluster, joining, has, where):
    said, _ = joining[has, where].communicate(timeout=120)

    assert joining[has, where].returncode not in {0, None}
    assert "JOINED" not in said
    assert REFUSED[where] in said


def test_who_has_the_token_gets_further(cluster, joining):
    where = "the client's server"
    head = cluster.address("head")

    said, _ = joining["the token", where].communicate(timeout=120)

    # Not necessarily in: the client's server has half a minute to start.
    assert REFUSED[where] not in said
    assert "JOINED" in cluster.node("one", "python", "-c", JOIN, f"{head}:6379").stdout


@pytest.mark.parametrize("name", ["head", "one"])
def test_what_listens_tells_nothing_without_the_token_but_measurements(cluster, name):
    listening = cluster.hosts.run(name, ["ss", "-ltnH"]).stdout.split("\n")
    ends = [line.split()[3].rpartition(":") for line in listening if line]
    ports = {int(port) for address, _, port in ends if not address.startswith("127.")} - {22}
    assert ports

    for port in ports:
        intruder = ["python", str(HERE / "intruder.py"), cluster.address(name), str(port)]
        for request, (status, body) in json.loads(
            cluster.hosts.run("laptop", intruder).stdout
        ).items():
            assert not status.startswith("2") or body.startswith("#"), (port, request, body)
    assert 8265 not in ports


def test_a_cluster_as_shipped_is_fit_for_the_doctor(cluster):
    status, found = cluster.doctor()

    assert status == 0, found
    there = {check: each["seen"] for (_, check), each in found.items()}
    assert there["nodes"].startswith("3 nodes")
    assert there["dashboard"] == "on 127.0.0.1:8265 only"
    assert there["Ray"].endswith("here and on the cluster")
    assert there["head"] == "takes no trials"
    assert all(
        who in there["refusal"]
        for who in ("control service (1)", "dashboard (1)", "raylet (3)", "Ray Client (1)")
    )
    assert there["storage"].endswith("is written, read, listed and cleared by 3 nodes")
    assert list(cluster.storage.glob(".doctor*")) == []


def test_a_ray_that_was_started_without_a_token_fails_by_what_it_answers(cluster):
    start = "ray start --head --dashboard-host=0.0.0.0 --port=6400 --num-cpus=0"
    careless = {
        "PYTHONPATH": str(REPOSITORY), "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0", "RAY_ADDRESS": "",
    }  # fmt: skip
    hosts = cluster.hosts
    hosts.run("laptop", ["sh", "-c", start], env=careless, timeout=120)
    address = f"{cluster.address('laptop')}:6400"

    done = hosts.run(
        "laptop",
        ["twohead", "doctor", "--json"],
        env={**careless, "RAY_ADDRESS": address},
        timeout=120,
        check=False,
    )

    hosts.run("laptop", ["ray", "stop"], env=careless, timeout=120)
    told = json.loads(done.stdout)["parts"][0]["findings"]
    found = {each["check"]: each for each in told}
    assert done.returncode == 1
    assert {"token mode", "refusal", "dashboard"} <= {
        name for name, each in found.items() if each["state"] == "FAIL"
    }
    assert "control service on port 6400 answers to no token" in found["refusal"]["seen"]


def test_trials_run_on_both_workers(job):
    assert job.num_epochs("one") >= 3
    assert job.num_epochs("two") >= 3
    assert job.num_epochs("head") == 0


def test_no_trial_is_lost_with_a_worker_and_none_is_charged_for_it(job):
    trials = job.trials()

    assert [trial.state for trial in trials] == ["complete"] * 8
    assert [len(trial.measurements) for trial in trials] == [8] * 8
    assert sum(trial.charged_failures for trial in trials) == 0
    assert {release.cause for trial in trials for release in trial.releases} == {"node"}


def test_an_attempt_that_was_lost_costs_one_epoch_at_most(job):
    lost = sum(len(trial.releases) for trial in job.trials())

    assert lost >= 1
    assert job.num_again() <= lost


def test_the_laptop_is_told_the_same_best_as_the_head(cluster, job):
    folder = f"{SHARED}/studies/{job.name}"

    for how in ((), ("--json",)):
        there = cluster.node("head", "twohead", "best", folder, *how).stdout
        assert job.ask("best", *how) == there
    config = json.loads(there)["config"]
    assert config in [dict(trial.config) for trial in job.trials()]


def test_the_token_is_in_no_file_argument_or_output(cluster, job):
    places = f"{HOME} /tmp /etc /var /run /dev/shm {SHARED} {FILE}"
    search = (
        f"find {places} -xdev -type f -exec grep -lF -f {HOME}/.ray/auth_token {{}} + 2>/dev/null;"
        "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ | tr '\\0' '\\n' |"
        f" grep -F -f {HOME}/.ray/auth_token; true"
    )
    found = {
        name: cluster.hosts.run(name, ["sh", "-c", search]).stdout.split()
        for name in ("laptop", "head", "one")
    }
    listed = cluster.node("head", "ray", "job", "list", "--address", "http://127.0.0.1:8265")

    assert found == {name: [f"{HOME}/.ray/auth_token"] for name in found}
    assert job.name in listed.stdout
    assert not [said for said in (*cluster.printed, listed.stdout) if TOKEN in said]


def test_the_key_and_the_token_are_for_their_owner_alone(cluster):
    for name, path in [("laptop", KEY), ("head", f"{HOME}/.ray/auth_token")]:
        assert cluster.hosts.run(name, ["stat", "-c", "%a", path]).stdout == "600\n"


def test_nothing_is_left_after_ray_down(cluster, job):
    cluster.down()

    for name in ("head", "laptop", "one"):
        cluster.wait_for_no_processes(name)
        assert cluster.hosts.run(name, ["ls", "/dev/shm"]).stdout == ""
