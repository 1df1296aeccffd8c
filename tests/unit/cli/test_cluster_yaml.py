"""The files for `ray up` that the project ships: Ray takes them, and they are safe and thrifty."""

import json
import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from search.cli.local import _shipped_yaml
from search.cli.main import main

ROOT = Path(__file__).resolve().parents[3]
PROVIDERS = ("aws", "local")
SECRET = r"RAY_AUTH_TOKEN=|(?:AKIA|ASIA)[0-9A-Z]{16}|aws_secret_access_key|PRIVATE KEY"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Return a home with the token that `ray get-auth-token --generate` would make."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ray").mkdir(mode=0o700)
    (tmp_path / ".ray/auth_token").write_text("x" * 64)
    (tmp_path / ".ray/auth_token").chmod(0o600)
    return tmp_path


def shipped(provider):
    return yaml.safe_load(_shipped_yaml(provider))


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_shipped_file_fits_the_schema_of_ray(provider):
    validate_config(prepare_config(shipped(provider)))


@pytest.mark.parametrize("provider", PROVIDERS)
def test_ray_is_started_anew_with_a_token_and_its_dashboard_on_loopback(provider):
    config = shipped(provider)
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        stop, *_, start = config[key]

        assert stop.endswith("ray stop")
        assert " RAY_AUTH_MODE=token ray start " in start
    assert "--dashboard-host=127.0.0.1" in config["head_start_ray_commands"][1]
    assert "--autoscaling-config=" in config["head_start_ray_commands"][1]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_file_brings_the_token_of_its_user_and_no_secret_of_its_own(provider):
    assert shipped(provider)["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert re.findall(SECRET, _shipped_yaml(provider)) == []


def test_no_port_but_that_of_ssh_is_opened_and_nothing_that_costs_is_kept():
    config = shipped("aws")
    machines = [one["node_config"] for one in config["available_node_types"].values()]

    assert "security_group" not in config["provider"]  # then Ray opens port 22 alone (ray 2.60)
    assert config["provider"]["cache_stopped_nodes"] is False
    assert all(one["ImageId"].endswith("24.04/latest/ami-id") for one in machines)
    assert all(one["IamInstanceProfile"] for one in machines)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_user_changes_at_most_three_values(provider):
    marked = [line for line in _shipped_yaml(provider).splitlines() if "# CHANGE" in line]

    assert len(marked) == 3


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_file_says_in_about_ten_lines_what_it_costs_or_needs(provider):
    lines = _shipped_yaml(provider).splitlines()
    header = next(i for i, line in enumerate(lines) if not line.startswith("#"))

    assert 5 <= header <= 12
    assert "THREE values marked CHANGE" in " ".join(lines[:header])


def test_the_head_has_no_processors_for_trials_and_gpus_start_from_none():
    types = shipped("aws")["available_node_types"]

    assert types["head"]["resources"] == {"CPU": 0}
    assert [types[name]["min_workers"] for name in ("gpu_spot", "gpu_on_demand")] == [0, 0]
    assert "max_workers" not in types["gpu_spot"], "the one number at the top is the cap"


def test_the_file_in_the_package_is_the_one_at_the_top():
    assert _shipped_yaml("aws") == (ROOT / "cluster.yaml").read_text(encoding="utf-8")


def test_a_copy_of_a_checkout_without_links_has_the_file_too(monkeypatch, tmp_path):
    monkeypatch.setattr("search.cli.local.files", lambda package: tmp_path)

    assert _shipped_yaml("aws") == (ROOT / "cluster.yaml").read_text(encoding="utf-8")


def test_both_files_are_data_of_the_package():
    # setuptools copies what a link points to into a wheel.
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = settings["tool"]["setuptools"]["package-data"]["search"]

    packed = {path for pattern in patterns for path in (ROOT / "search").glob(pattern)}

    assert {path.name for path in packed if path.is_file()} >= {
        "cluster.yaml",
        "cluster-local.yaml",
    }


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_node_gets_what_the_project_is_installed_from(provider):
    mounts = shipped(provider)["file_mounts"]

    sources = {
        local for remote, local in mounts.items() if remote.startswith("~/.twohead/source/")
    }

    assert sources == {
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "cluster.yaml",
        "search",
        "trainables",
    }
    assert all((ROOT / local).exists() for local in sources)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_environment_is_written_as_bash_reads_it(provider, home):
    (command,) = shipped(provider)["initialization_commands"]
    (home / ".bashrc").write_text("export PATH=/elsewhere:$PATH\n")
    (home / ".ray").chmod(0o755)
    (home / ".ray/auth_token").chmod(0o644)
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"}

    for _ in range(2):  # a second `ray up` changes nothing
        subprocess.run(["bash", "-c", f"({command})"], env=environment, check=True)
    asked = (
        '. ~/.bashrc; echo "$RAY_AUTH_MODE $RAY_USAGE_STATS_ENABLED ${PATH%%:*} $OMP_NUM_THREADS."'
    )
    said = subprocess.run(
        ["bash", "-c", asked], env=environment, check=True, capture_output=True, text=True
    ).stdout

    assert said == f"token 0 {home}/.twohead/venv/bin .\n"
    assert (home / ".bashrc").read_text().count(".twohead/env") == 2
    assert (home / ".ray").stat().st_mode & 0o777 == 0o700
    assert (home / ".ray/auth_token").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("provider", PROVIDERS)
def test_ray_is_never_started_where_the_environment_could_not_be_read(provider, home):
    (home / "bin").mkdir()
    (home / "bin/ray").write_text("#!/bin/sh\necho started\n")
    (home / "bin/ray").chmod(0o755)
    environment = {"HOME": str(home), "PATH": f"{home}/bin:{os.environ['PATH']}"}
    config = shipped(provider)

    for command in config["head_start_ray_commands"] + config["worker_start_ray_commands"]:
        done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True)

        assert (done.returncode, done.stdout) == (1, b"")


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_command_prints_a_file_as_it_is(provider, capsys):
    assert main(["cluster-yaml", "--provider", provider]) == 0

    assert capsys.readouterr().out == _shipped_yaml(provider)


def test_the_command_writes_a_new_file(tmp_path, capsys):
    out = tmp_path / "mine.yaml"

    assert main(["cluster-yaml", "--provider", "local", str(out)]) == 0

    assert out.read_text(encoding="utf-8") == _shipped_yaml("local")
    assert "mine.yaml" in capsys.readouterr().out.replace("\n", "")


def test_the_command_never_overwrites(tmp_path, capsys):
    out = tmp_path / "mine.yaml"
    out.write_text("precious")

    assert main(["cluster-yaml", str(out)]) == 2

    assert out.read_text() == "precious"
    assert "OUT needs a new file" in capsys.readouterr().err


def test_a_folder_that_is_not_there_is_refused(tmp_path, capsys):
    assert main(["cluster-yaml", str(tmp_path / "nowhere/mine.yaml")]) == 2

    assert "OUT needs a file that can be written" in capsys.readouterr().err


def test_a_provider_without_a_file_is_refused(capsys):
    assert main(["cluster-yaml", "--provider", "gcp"]) == 2

    assert "invalid choice: 'gcp' (choose from 'aws', 'local')" in capsys.readouterr().err


def test_the_policy_names_no_bucket_of_ours_and_gives_no_rights_without_bounds():
    policy = json.loads((ROOT / "search/assets/aws-policy.json").read_text(encoding="utf-8"))

    actions = [action for one in policy["Statement"] for action in [one["Action"]]]

    assert "*" not in json.dumps(actions)
    assert json.dumps(policy).count("BUCKET") == 2
