"""Each rule over a cluster file finds the file that breaks it, and says what would be right."""

import copy

import pytest
import yaml

from search.doctor.cluster_yaml import cluster_yaml, problems_of

START = "head_start_ray_commands"
WORKERS = "worker_start_ray_commands"
ENVIRONMENT = "initialization_commands"
OPEN_ALL = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
OPEN_8265 = {
    "IpProtocol": "tcp",
    "FromPort": 8265,
    "ToPort": 8265,
    "Ipv6Ranges": [{"CidrIpv6": "::/0"}],
}


def replaced(key, old, new):
    """Return a change: of every command in a list, one text for another."""

    def change(config):
        assert any(old in command for command in config[key]), "the change has to land"
        config[key] = [command.replace(old, new) for command in config[key]]

    return change


def both(*changes):
    def change(config):
        for one in changes:
            one(config)

    return change


def added(key, command):
    return lambda config: config.setdefault(key, []).append(command)


def without(key, place=lambda config: config):
    return lambda config: place(config).pop(key)


def put(key, value, place=lambda config: config):
    return lambda config: place(config).__setitem__(key, value)


def provider(config):
    return config["provider"]


def spot(config):
    return config["available_node_types"]["gpu_spot"]["node_config"]


def head(config):
    return config["available_node_types"]["head"]["node_config"]


def mounts(config):
    return config["file_mounts"]


NO_TOKEN_MODE = both(
    replaced(ENVIRONMENT, "export RAY_AUTH_MODE=token", "# export RAY_AUTH_MODE=token"),
    replaced(START, "RAY_AUTH_MODE=token ", ""),
)

BROKEN = [
    pytest.param(
        replaced(START, "127.0.0.1", "0.0.0.0"),
        "head_start_ray_commands needs a dashboard on loopback, got --dashboard-host=0.0.0.0",
        id="dashboard_open",
    ),
    pytest.param(
        replaced(START, "--dashboard-host=127.0.0.1", "--dashboard-host '::'"),
        "head_start_ray_commands needs a dashboard on loopback, got --dashboard-host='::'",
        id="dashboard_open_ipv6",
    ),
    pytest.param(
        NO_TOKEN_MODE,
        "head_start_ray_commands needs RAY_AUTH_MODE=token, in the command of `ray start` or in "
        "a file that it reads, got none",
        id="head_without_token_mode",
    ),
    pytest.param(
        replaced(WORKERS, "RAY_AUTH_MODE=token", "RAY_AUTH_MODE=disabled"),
        "worker_start_ray_commands needs RAY_AUTH_MODE=token, in the command of `ray start` or "
        "in a file that it reads, got disabled",
        id="worker_without_token_mode",
    ),
    pytest.param(
        without(WORKERS),
        "worker_start_ray_commands needs a `ray start`, got none: Ray's own has neither token "
        "nor settings",
        id="commands_left_to_ray",
    ),
    pytest.param(
        lambda config: config[WORKERS].reverse(),
        "worker_start_ray_commands needs `ray stop` first, got none: a second `ray up` would fail",
        id="no_stop_first",
    ),
    pytest.param(
        replaced(START, "--autoscaling-config=~/ray_bootstrap_config.yaml", ""),
        "head_start_ray_commands needs --autoscaling-config, got none: no worker would ever start",
        id="no_autoscaler",
    ),
    pytest.param(
        replaced(ENVIRONMENT, "RAY_USAGE_STATS_ENABLED=0", "RAY_USAGE_STATS_ENABLED=1"),
        "head_start_ray_commands needs RAY_USAGE_STATS_ENABLED=0, got none: Ray would report its "
        "use",
        id="usage_reported",
    ),
    pytest.param(
        without("~/.ray/auth_token", mounts),
        "file_mounts needs ~/.ray/auth_token, got none: nodes would have no token",
        id="no_token_mounted",
    ),
    pytest.param(
        replaced(ENVIRONMENT, "chmod 600", "chmod 644"),
        "initialization_commands needs `chmod 600 ~/.ray/auth_token`, got none: other users of a "
        "node could read the token",
        id="token_readable",
    ),
    pytest.param(
        added(ENVIRONMENT, "export RAY_AUTH_TOKEN=0123456789abcdef"),
        "initialization_commands[1] needs no secret, got a token: mount a file, or use a role",
        id="token_in_the_file",
    ),
    pytest.param(
        put("aws_credentials", {"aws_secret_access_key": "abc"}, provider),
        "provider.aws_credentials.aws_secret_access_key needs no secret, got a secret key of "
        "AWS: mount a file, or use a role",
        id="key_of_aws_in_the_file",
    ),
    pytest.param(
        added("setup_commands", "echo AKIAIOSFODNN7EXAMPLE"),
        "setup_commands[1] needs no secret, got an access key of AWS: mount a file, or use a role",
        id="access_key_in_the_file",
    ),
    pytest.param(
        added("setup_commands", "echo '-----BEGIN OPENSSH PRIVATE KEY-----'"),
        "setup_commands[1] needs no secret, got a private key: mount a file, or use a role",
        id="private_key_in_the_file",
    ),
    pytest.param(
        added("setup_commands", "pip install https://somewhere/ray-wheels/latest/ray.whl"),
        "setup_commands[1] needs a release of Ray, got 'ray-wheels'",
        id="nightly_wheel",
    ),
    pytest.param(
        put("docker", {"image": "rayproject/ray:nightly"}),
        "docker.image needs a release of Ray, got 'ray:nightly'",
        id="nightly_image",
    ),
    pytest.param(
        added("setup_commands", "pip install 'ray[default,tune]==2.54.1'"),
        "setup_commands[1] needs ray >= 2.55, got 2.54, which lets anyone in",
        id="old_ray",
    ),
    pytest.param(
        without("head_setup_commands"),
        "head_setup_commands needs to be written out, got none: Ray's own installs what it likes",
        id="setup_left_to_ray",
    ),
    pytest.param(
        without("ImageId", spot),
        "node type 'gpu_spot' needs a current ImageId, got None",
        id="no_image",
    ),
    pytest.param(
        put("ImageId", "latest_dlami", head),
        "node type 'head' needs a current ImageId, got 'latest_dlami'",
        id="image_of_ray",
    ),
    pytest.param(
        without("IamInstanceProfile", spot),
        "node type 'gpu_spot' needs an IamInstanceProfile for the studies' bucket, got none",
        id="no_profile",
    ),
    pytest.param(
        put("security_group", {"IpPermissions": [OPEN_ALL]}, provider),
        "provider.security_group needs every port but 22 closed to the world, got -1 None-None",
        id="all_ports_open",
    ),
    pytest.param(
        put("security_group", {"IpPermissions": [OPEN_8265]}, provider),
        "provider.security_group needs every port but 22 closed to the world, got tcp 8265-8265",
        id="dashboard_port_open",
    ),
    pytest.param(
        without("cache_stopped_nodes", provider),
        "provider.cache_stopped_nodes needs to be false, got none: `ray down` would stop "
        "machines whose disks cost on",
        id="machines_kept",
    ),
    pytest.param(
        without("max_workers"),
        "max_workers needs a number, got None: it caps the cost",
        id="no_cap",
    ),
    pytest.param(
        without("available_node_types"),
        "available_node_types needs to be written out, got none: Ray's own are dated",
        id="machines_left_to_ray",
    ),
]


@pytest.mark.parametrize(("change", "message"), BROKEN)
def test_a_broken_rule_is_found_and_nothing_else(change, message):
    config = copy.deepcopy(yaml.safe_load(cluster_yaml("aws")))

    change(config)

    assert problems_of(config) == [message]


def test_a_secret_is_never_repeated():
    config = {"setup_commands": ["export RAY_AUTH_TOKEN=canary-4711"]}

    assert "canary" not in " ".join(problems_of(config))


def test_port_22_may_be_open_to_the_world():
    config = yaml.safe_load(cluster_yaml("aws"))
    rule = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "::/0"}]}
    config["provider"]["security_group"] = {"IpPermissions": [rule]}

    assert problems_of(config) == []


def test_a_token_by_reference_is_no_secret():
    config = yaml.safe_load(cluster_yaml("local"))
    config["setup_commands"].append("export RAY_AUTH_TOKEN=$(cat ~/.ray/auth_token)")

    assert problems_of(config) == []


def test_machines_of_ones_own_need_no_image_and_no_profile():
    config = yaml.safe_load(cluster_yaml("local"))
    config["initialization_commands"] = [
        config["initialization_commands"][0].replace("/mnt/shared/studies", "s3://bucket/studies")
    ]

    assert problems_of(config) == []


@pytest.mark.parametrize("value", [None, 1, "text", [], {}, [[]], [{}], [None]])
@pytest.mark.parametrize(
    "key", [START, ENVIRONMENT, "provider", "available_node_types", "file_mounts", "auth"]
)
def test_nonsense_in_any_place_is_survived(key, value):
    config = yaml.safe_load(cluster_yaml("aws"))
    config[key] = value

    assert all(isinstance(problem, str) for problem in problems_of(config))
