"""What `ray up cluster.yaml` asks of AWS, and what it would do on the head."""

import json
import re
from pathlib import Path

import boto3
import pytest
import yaml

from search.cli.local import _shipped_yaml
from tests.integration.aws_account import TOKEN, aws_account
from tests.integration.launched_cluster import launch

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
