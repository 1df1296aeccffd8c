"""The files for `ray up` that the project ships, against Ray's schema and our own rules."""

import copy
import json
import os
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from search.cli.main import main
from search.doctor.cluster_yaml import (
    cluster_yaml,
    launch_problems_of,
    leaves,
    problems_of,
    read_cluster_yaml,
    write_cluster_yaml,
)
from search.errors import InputError

ROOT = Path(__file__).resolve().parents[3]
PROVIDERS = ("aws", "local")


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Return a home with the token that `ray get-auth-token --generate` would make."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ray").mkdir(mode=0o700)
    (tmp_path / ".ray/auth_token").write_text("x" * 64)
    (tmp_path / ".ray/auth_token").chmod(0o600)
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/id_ed25519").write_text("a key")
    return tmp_path


def shipped(provider):
    return yaml.safe_load(cluster_yaml(provider))


def ready(provider):
    """Return a file with every value of the user's set."""
    return yaml.safe_load(cluster_yaml(provider).replace("CHANGE-ME", "a-bucket"))


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_shipped_file_fits_the_schema_of_ray(provider):
    validate_config(prepare_config(shipped(provider)))


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_shipped_file_keeps_our_rules(provider):
    assert problems_of(shipped(provider)) == []


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_user_changes_at_most_three_values(provider):
    marked = [line for line in cluster_yaml(provider).splitlines() if "# CHANGE" in line]

    assert len(marked) == 3


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_file_says_in_about_ten_lines_what_it_costs_or_needs(provider):
    lines = cluster_yaml(provider).splitlines()
    header = next(i for i, line in enumerate(lines) if not line.startswith("#"))

    assert 5 <= header <= 12
    assert "THREE values marked CHANGE" in " ".join(lines[:header])


def test_the_head_has_no_processors_for_trials_and_gpus_start_from_none():
    types = shipped("aws")["available_node_types"]

    assert types["head"]["resources"] == {"CPU": 0}
    assert [types[name]["min_workers"] for name in ("gpu_spot", "gpu_on_demand")] == [0, 0]
    assert "max_workers" not in types["gpu_spot"], "the one number at the top is the cap"


def test_the_file_in_the_package_is_the_one_at_the_top():
    assert cluster_yaml("aws") == (ROOT / "cluster.yaml").read_text(encoding="utf-8")


def test_a_copy_of_a_checkout_without_links_has_the_file_too(monkeypatch, tmp_path):
    monkeypatch.setattr("search.doctor.cluster_yaml.files", lambda package: tmp_path)

    assert cluster_yaml("aws") == (ROOT / "cluster.yaml").read_text(encoding="utf-8")


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
def test_a_new_installation_leaves_token_and_environment_as_they_are(provider):
    config = shipped(provider)
    config["setup_commands"] = ["ln -s /opt/venv ~/.twohead/venv"]

    assert problems_of(config) == []


def test_what_is_ready_to_be_launched_has_no_problem(home):
    assert launch_problems_of(ready("aws"), str(ROOT)) == []
    assert launch_problems_of(ready("local"), str(ROOT)) == []


def test_a_value_left_to_the_user_is_named(home):
    assert launch_problems_of(shipped("aws"), str(ROOT)) == [
        "initialization_commands[0] needs a value of yours, got CHANGE-ME"
    ]


def test_an_absent_mount_is_found_before_a_machine_is_paid(home, tmp_path):
    problems = launch_problems_of(ready("aws"), str(tmp_path))

    assert "file_mounts needs what it names, got 'pyproject.toml', which is not here" in problems


def test_an_absent_token_comes_with_its_cure(home):
    (home / ".ray/auth_token").unlink()

    (problem,) = launch_problems_of(ready("aws"), str(ROOT))

    assert "ray get-auth-token --generate" in problem


def test_a_token_that_others_can_read_is_refused(home):
    (home / ".ray/auth_token").chmod(0o644)

    (problem,) = launch_problems_of(ready("aws"), str(ROOT))

    assert "got mode 0644: run `chmod 600` on it" in problem


def test_an_absent_key_is_found(home):
    (home / ".ssh/id_ed25519").unlink()

    (problem,) = launch_problems_of(ready("local"), str(ROOT))

    assert problem.startswith("auth.ssh_private_key needs a key")


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_command_prints_a_file_as_it_is(provider, capsys):
    assert main(["cluster-yaml", "--provider", provider]) == 0

    assert capsys.readouterr().out == cluster_yaml(provider)


def test_the_command_writes_a_new_file(tmp_path, capsys):
    out = tmp_path / "mine.yaml"

    assert main(["cluster-yaml", "--provider", "local", str(out)]) == 0

    assert out.read_text(encoding="utf-8") == cluster_yaml("local")
    assert "mine.yaml" in capsys.readouterr().out.replace("\n", "")


def test_the_command_never_overwrites(tmp_path, capsys):
    out = tmp_path / "mine.yaml"
    out.write_text("precious")

    assert main(["cluster-yaml", str(out)]) == 2

    assert out.read_text() == "precious"
    assert "OUT needs a new file" in capsys.readouterr().err


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="OUT needs a file that can be written"):
        write_cluster_yaml(str(tmp_path / "nowhere/mine.yaml"), "")


def test_a_provider_without_a_file_is_refused():
    with pytest.raises(InputError, match=r"one of \['aws', 'local'\], got 'gcp'"):
        cluster_yaml("gcp")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"- a\n- b\n", "a mapping, got list", id="list"),
        pytest.param(b"a: [", "needs to be a cluster file", id="torn"),
        pytest.param(b"a: \xff", "needs to be a cluster file", id="binary"),
        pytest.param(b"[" * 100_000, "needs to be a cluster file", id="deep"),
        pytest.param(b"a" * 300_000, "got over 262144 bytes", id="long"),
    ],
)
def test_what_is_no_cluster_file_is_refused(content, message, tmp_path):
    (tmp_path / "c.yaml").write_bytes(content)

    with pytest.raises(InputError, match=message):
        read_cluster_yaml(str(tmp_path / "c.yaml"))


def test_an_absent_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="needs to be a cluster file, got"):
        read_cluster_yaml(str(tmp_path / "c.yaml"))


def test_what_stands_in_many_places_is_looked_at_once():
    bomb = "x"
    for _ in range(100):
        bomb = [bomb, bomb]
    loop = {"a": 1}
    loop["self"] = loop

    assert [text for _, text in leaves(bomb)] == ["x", "x"]
    assert problems_of({"deep": bomb, "loop": loop}) != []


def test_asking_for_problems_changes_nothing():
    config = shipped("aws")
    before = copy.deepcopy(config)

    problems_of(config)

    assert config == before


def test_the_policy_names_no_bucket_of_ours_and_gives_no_rights_without_bounds():
    policy = json.loads((ROOT / "search/assets/aws-policy.json").read_text(encoding="utf-8"))

    actions = [action for one in policy["Statement"] for action in [one["Action"]]]

    assert "*" not in json.dumps(actions)
    assert json.dumps(policy).count("BUCKET") == 2
