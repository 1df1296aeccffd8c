"""What `ray up cluster.yaml` asks of AWS, would do on the head, and what the head asks later."""

import json
import re
import warnings
from pathlib import Path
from unittest import mock

import boto3
import pytest
import yaml
from ray.autoscaler._private import commands
from ray.autoscaler._private.aws import node_provider
from ray.core.generated import autoscaler_pb2 as messages

from search.cli.local import _shipped_yaml
from tests.integration.aws_account import TOKEN, aws_account
from tests.integration.launched_cluster import HEAD_ID, Head, bought, launch

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
IMAGE = (
    "resolve:ssm:/aws/service/deeplearning/ami/x86_64/"
    "base-oss-nvidia-driver-gpu-ubuntu-24.04/latest/ami-id"
)


@pytest.fixture(scope="module")
def account(tmp_path_factory):
    with aws_account(tmp_path_factory.mktemp("home")) as opened:
        yield opened


@pytest.fixture(scope="module")
def launched(account):
    return launch(account, "twohead", _shipped_yaml("aws"))


def world_open(group_ids):
    groups = boto3.client("ec2").describe_security_groups(GroupIds=group_ids)["SecurityGroups"]
    return [
        (rule["IpProtocol"], rule.get("FromPort"), rule.get("ToPort"), where)
        for group in groups
        for rule in group["IpPermissions"]
        for where in (
            *(one["CidrIp"] for one in rule["IpRanges"]),
            *(one["CidrIpv6"] for one in rule["Ipv6Ranges"]),
        )
    ]


def test_one_small_machine_is_bought_for_the_head(launched):
    (asked,) = launched.asked("RunInstances")

    assert asked["InstanceType"] == "m6i.xlarge"
    assert asked["ImageId"] == IMAGE
    assert asked["IamInstanceProfile"] == {"Name": "twohead"}
    assert asked["MetadataOptions"] == {"HttpTokens": "required"}
    assert asked["BlockDeviceMappings"][0]["Ebs"] == {
        "VolumeSize": 150,
        "VolumeType": "gp3",
        "DeleteOnTermination": True,
    }
    assert (asked["MinCount"], asked["MaxCount"]) == (1, 1)
    assert "InstanceMarketOptions" not in asked
    assert len(asked["SecurityGroupIds"]) == 1


def test_ray_neither_makes_a_role_nor_widens_one(launched):
    operations = {name for name, _ in launched.calls}

    assert not {name for name in operations if re.match("(Create|Put|Attach|Add).*Role", name)}
    assert "CreateInstanceProfile" not in operations


def test_the_key_is_new_and_only_its_owner_can_read_it(launched):
    (asked,) = launched.asked("RunInstances")
    key = Path(launched.updater["auth_config"]["ssh_private_key"])

    assert asked["KeyName"] == key.stem == "ray-autoscaler_us-west-2"
    assert key.parent == Path.home() / ".ssh"
    assert key.stat().st_mode & 0o777 == 0o600


def test_ssh_is_the_only_port_that_is_open_to_the_world(launched):
    (asked,) = launched.asked("RunInstances")
    (rules,) = launched.asked("AuthorizeSecurityGroupIngress")
    inside = [
        pair["GroupId"]
        for rule in rules["IpPermissions"]
        for pair in rule.get("UserIdGroupPairs", ())
    ]

    assert world_open(asked["SecurityGroupIds"]) == [("tcp", 22, 22, "0.0.0.0/0")]
    assert inside == asked["SecurityGroupIds"]


def test_a_group_of_ones_own_leaves_nothing_open_to_the_world(account, launched):
    group = boto3.client("ec2").create_security_group(GroupName="mine", Description="mine")
    config = yaml.safe_load(_shipped_yaml("aws")) | {"cluster_name": "narrow"}
    for kind in config["available_node_types"].values():
        kind["node_config"]["SecurityGroupIds"] = [group["GroupId"]]
    account.forget()

    narrow = launch(account, "narrow", yaml.safe_dump(config))

    (asked,) = narrow.asked("RunInstances")
    assert asked["SecurityGroupIds"] == [group["GroupId"]]
    assert narrow.asked("AuthorizeSecurityGroupIngress") == []
    assert world_open([group["GroupId"]]) == []
    boto3.client("ec2").terminate_instances(InstanceIds=[narrow.head_id])


def test_the_head_is_set_up_with_the_commands_of_the_file_and_no_others(launched):
    config = yaml.safe_load(_shipped_yaml("aws"))
    given = launched.updater
    stop, start = given["ray_start_commands"]

    assert given["initialization_commands"] == config["initialization_commands"]
    assert given["setup_commands"] == config["setup_commands"]
    assert stop.endswith(config["head_start_ray_commands"][0])
    assert start.endswith(config["head_start_ray_commands"][1])
    assert "export RAY_enable_autoscaler_v2=1" in start
    assert given["node_resources"] == {"CPU": 0}


def test_the_head_gets_the_token_and_the_project_as_files(launched):
    mounts = launched.updater["file_mounts"]

    assert {remote for remote in mounts if "bootstrap" not in remote} == {
        "~/.ray/auth_token",
        *(f"~/.twohead/source/{name}" for name in ("pyproject.toml", "README.md", "LICENSE")),
        *(f"~/.twohead/source/{name}" for name in ("cluster.yaml", "search", "trainables")),
    }


def test_no_text_that_the_head_gets_holds_the_token(launched):
    assert TOKEN not in launched.bootstrap.read_text()
    assert TOKEN not in repr(launched.calls)


def test_ray_knows_what_a_machine_of_each_type_has(launched):
    types = json.loads(launched.bootstrap.read_text())["available_node_types"]
    gpu = {"CPU": 4, "GPU": 1, "accelerator_type:L4": 1}

    assert types["head"]["resources"] == {"CPU": 0}
    for name in ("gpu_spot", "gpu_on_demand"):
        assert {key: types[name]["resources"].get(key) for key in gpu} == gpu


@pytest.fixture
def workers(account, launched):
    """Begin without workers, with nothing recorded, and end what a test bought."""
    account.forget()
    yield
    account.refused_market = None
    left = [m["InstanceId"] for m in account.living() if m["InstanceId"] != launched.head_id]
    if left:
        boto3.client("ec2").terminate_instances(InstanceIds=left)


def test_a_study_grows_the_cluster_to_what_it_needs_within_one_round(account, launched, workers):
    head = Head(launched)
    head.wait_for_trials(6, {"CPU": 1, "GPU": 0.5})

    head.round()

    assert bought(account.wait_for("RunInstances", 2)) == [
        ("g6.xlarge", "on-demand", 1),
        ("g6.xlarge", "spot", 2),
    ]


def test_trials_without_end_never_buy_more_than_the_cap(account, launched, workers):
    head = Head(launched)
    head.wait_for_trials(1000, {"CPU": 1, "GPU": 1})

    head.round()
    account.wait_for("RunInstances", 2)
    for _ in range(3):
        head.round()

    assert bought(account.asked("RunInstances")) == [
        ("g6.xlarge", "on-demand", 1),
        ("g6.xlarge", "spot", 3),
    ]


def test_a_worker_may_write_to_the_bucket_and_is_as_closed_as_the_head(account, launched, workers):
    (head_asked,) = launched.asked("RunInstances")
    head = Head(launched)
    head.wait_for_trials(2, {"CPU": 1, "GPU": 1})

    head.round()

    for asked in account.wait_for("RunInstances", 2):
        for key in ("ImageId", "IamInstanceProfile", "SecurityGroupIds", "KeyName"):
            assert asked[key] == head_asked[key]
        assert asked["BlockDeviceMappings"] == head_asked["BlockDeviceMappings"]


def test_nothing_is_bought_for_trials_that_fit_no_machine(account, launched, workers):
    head = Head(launched)
    head.wait_for_trials(1, {"CPU": 1, "GPU": 2})

    for _ in range(3):
        head.round()

    assert account.asked("RunInstances") == []


def test_ray_does_not_turn_to_the_other_type_when_spot_is_short(account, launched, workers):
    # Why the file has one machine on demand: should Ray learn to do it, the file can be simpler.
    account.refused_market = "spot"
    head = Head(launched)
    head.wait_for_trials(4, {"CPU": 1, "GPU": 1})

    for done in range(1, 4):
        head.round()
        account.wait_for("RunInstances", 1 + 5 * done)  # Ray tries each five times

    markets = [market for _, market, _ in bought(account.asked("RunInstances"))]
    assert markets.count("on-demand") == 1
    assert len(account.living()) == 2


def test_idle_machines_are_given_back(account, launched, workers):
    head = Head(launched)
    head.wait_for_trials(2, {"CPU": 1, "GPU": 1})
    head.round()
    account.wait_for("RunInstances", 2)
    machines = {m["InstanceId"] for m in account.living()} - {launched.head_id}
    del head.state.pending_resource_requests[:]
    tags = {m["InstanceId"]: {t["Key"]: t["Value"] for t in m["Tags"]} for m in account.living()}
    for number, machine in enumerate(sorted(machines)):
        kind = tags[machine]["ray-user-node-type"]
        idle = {"status": messages.IDLE, "idle_duration_ms": 11 * 60 * 1000}
        head.add_node(bytes([number]) * 28, machine, kind, {"CPU": 4.0, "GPU": 1.0}, **idle)

    for _ in range(2):  # they are found running, then asked to drain
        head.round()
    assert head.gcs.drain_node.call_count == 2
    for node in head.state.node_states:
        if node.node_id != HEAD_ID:
            node.status = messages.DEAD
    for _ in range(2):
        head.round()

    ended = [
        one for call in account.wait_for("TerminateInstances", 1) for one in call["InstanceIds"]
    ]
    assert set(ended) == machines
    assert {m["InstanceId"] for m in account.living()} == {launched.head_id}


def test_the_role_allows_all_that_the_head_asks_for(account, launched, workers):
    policy = json.loads((ROOT / "search/assets/aws-policy.json").read_text(encoding="utf-8"))
    allowed = {
        action.partition(":")[2]
        for statement in policy["Statement"]
        for action in (
            [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
        )
    }
    head = Head(launched)
    head.wait_for_trials(2, {"CPU": 1, "GPU": 1})
    head.round()
    account.wait_for("RunInstances", 2)
    provider = head.autoscaler._cloud_instance_provider.v1_provider
    (machine, *_) = provider.non_terminated_nodes({"ray-node-type": "worker"})
    with mock.patch.object(node_provider, "TAG_BATCH_DELAY", 0):
        provider.set_node_tags(machine, {"ray-node-status": "up-to-date"})
    provider.terminate_nodes([machine])

    operations = {name for name, _ in account.calls}

    assert {"RunInstances", "CreateTags", "TerminateInstances"} <= operations <= allowed
    assert {"PassRole", "GetParameters"} <= allowed, "which EC2 asks for itself"


def test_ray_down_ends_every_machine_and_keeps_none(account, launched, workers):
    head = Head(launched)
    head.wait_for_trials(4, {"CPU": 1, "GPU": 1})
    head.round()
    account.wait_for("RunInstances", 2)
    assert len(account.living()) == 5

    with (
        mock.patch.object(commands, "exec_cluster", return_value=""),
        mock.patch.object(commands, "POLL_INTERVAL", 0),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", ResourceWarning)
        commands.teardown_cluster(
            str(launched.path),
            yes=True,
            workers_only=False,
            override_cluster_name=None,
            keep_min_workers=False,
        )

    assert {m["State"]["Name"] for m in account.instances()} == {"terminated"}
    assert account.asked("StopInstances") == []
