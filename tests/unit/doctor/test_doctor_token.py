import json
from dataclasses import replace

import pytest

from search.cluster.token import own_token
from search.doctor.checks import CLUSTER, MACHINE
from search.doctor.findings import judge
from search.doctor.node import _token_facts, digest_of
from tests.unit.doctor.doctor_facts import healthy, with_last_saying

SALT = b"salt"
TOKEN = "canary-5f1c"


@pytest.fixture(name="file")
def token_in_a_home(tmp_path, monkeypatch):
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / ".ray"
    folder.mkdir(mode=0o700)
    file = folder / "auth_token"
    file.touch(mode=0o600)
    file.write_text(f"{TOKEN}\n")
    return file


def told(checks=CLUSTER, **more):
    """Return what is said of a cluster whose last node has the token of this machine."""
    cluster = with_last_saying(healthy(), token=_token_facts(SALT))
    digest = cluster.machines[-1].facts.token.digest
    facts = replace(cluster, machines=cluster.machines[-1:], own_digest=digest)
    table = [check for check in checks if check.name == "token file"]
    return judge(table, replace(facts, **more))[0]


def test_a_token_for_its_owner_alone_has_no_problem_and_is_never_told(file):
    facts = _token_facts(SALT)

    assert told().state == "ok"
    assert TOKEN not in json.dumps(repr(facts))
    assert facts.digest == digest_of(TOKEN, SALT) != digest_of(TOKEN, b"other")


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_a_token_that_others_may_read_is_a_fault_with_the_command_that_cures_it(file, mode):
    file.chmod(mode)

    found = told()

    assert found.state == "FAIL"
    assert f"mode {mode:04o}" in found.seen
    assert found.cures == (f"Run `chmod 600 {file}` there",)


@pytest.mark.parametrize(("mode", "state"), [(0o755, "warn"), (0o770, "FAIL")])
def test_a_folder_that_others_may_write_to_is_a_fault_one_they_may_read_a_warning(
    file, mode, state
):
    file.parent.chmod(mode)

    assert told().state == state


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        pytest.param(None, "is not there", id="absent"),
        pytest.param(b" \n", "is empty", id="empty"),
        pytest.param(b"\xff\xfe", "cannot be read", id="no_text"),
    ],
)
def test_a_token_that_cannot_be_used_says_why(file, content, problem):
    file.unlink()
    if content is not None:
        file.write_bytes(content)
        file.chmod(0o600)

    assert f"{file} {problem}" in told().seen
    assert own_token() is None


def test_the_environment_goes_before_the_file_as_it_does_in_ray(file, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "another")

    facts = _token_facts(SALT)

    assert (facts.source, facts.digest) == ("RAY_AUTH_TOKEN", digest_of("another", SALT))
    assert own_token() == "another"


def test_nodes_with_another_token_than_the_drivers_are_named(file):
    found = told(own_digest=digest_of("other", SALT))

    assert found.seen == f"two: another token than the driver's in {file}"


@pytest.mark.parametrize(
    ("is_needed", "state"), [pytest.param(False, "ok", id="alone"), pytest.param(True, "FAIL")]
)
def test_a_machine_needs_a_token_only_for_a_cluster(file, is_needed, state):
    file.unlink()

    assert told(MACHINE, needs_token=is_needed).state == state
