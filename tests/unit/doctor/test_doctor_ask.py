import socket

import pytest

from search.doctor import doctor, node
from search.doctor.checks import WAY
from search.doctor.doctor import _way_facts
from search.doctor.facts import PortAnswers
from search.doctor.findings import judge
from search.doctor.ports import ask_port
from tests.unit.doctor.dashboards import control_service, dashboard

TOKEN = "canary-77ab"


@pytest.fixture(autouse=True)
def own_token(monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)


def asked(serve, holder, token):
    with serve(token) as port:
        return ask_port(holder, "127.0.0.1", port)


@pytest.mark.parametrize(
    ("serve", "holder", "by"),
    [
        pytest.param(dashboard, "dashboard", "http", id="http"),
        pytest.param(control_service, "control service", "grpc", id="grpc"),
    ],
)
@pytest.mark.parametrize(
    ("token", "none", "wrong", "right"),
    [
        pytest.param(TOKEN, "refused", "refused", "answered", id="guarded"),
        pytest.param(None, "answered", "answered", "answered", id="open"),
        pytest.param("other", "refused", "refused", "refused", id="of_others"),
    ],
)
def test_a_port_is_asked_without_a_token_with_a_wrong_one_and_with_ours(
    serve, holder, by, token, none, wrong, right
):
    answer = asked(serve, holder, token)

    assert answer == PortAnswers(by=by, none=none, wrong=wrong, right=right)


def test_an_exporter_of_metrics_is_known_by_what_it_tells():
    with dashboard(None, begins=b"# HELP a b\n") as port:
        assert ask_port("autoscaler", "127.0.0.1", port).by == "metrics"


def test_a_question_that_nobody_knows_shows_nothing():
    assert asked(control_service, "stranger", None).none == "unclear"


def test_a_port_where_nothing_listens_is_silent():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    assert ask_port("dashboard", "127.0.0.1", port).none == "silent"


def test_a_port_that_accepts_and_says_nothing_is_left_in_time(monkeypatch):
    monkeypatch.setattr("search.doctor.ports.ASK_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        assert ask_port("dashboard", "127.0.0.1", deaf.getsockname()[1]).right == "silent"


def way(token, **options):
    with dashboard(token, **options) as port:
        found = judge(WAY, _way_facts(f"http://127.0.0.1:{port}"))
        return {each.check: each for each in found}


def test_a_guarded_cluster_with_our_token_and_our_ray_is_well_reached(monkeypatch):
    monkeypatch.setattr(node, "version_of", lambda name: "2.60.0")

    found = way(TOKEN)

    assert found["way"].state == found["Ray"].state == "ok"


def test_a_cluster_that_takes_jobs_from_anybody_fails():
    found = way(None)["way"]

    assert found.state == "FAIL"
    assert found.seen == "jobs are taken with no token and a wrong token"


def test_a_cluster_that_refuses_our_token_fails_with_where_to_put_the_right_one():
    found = way("other")["way"]

    assert found.seen == "the cluster refuses this machine's token"
    assert "~/.ray/auth_token" in found.cures[0]


def test_another_ray_here_than_there_fails_with_the_command_that_brings_it(monkeypatch):
    monkeypatch.setattr(node, "version_of", lambda name: "2.60.0")

    found = way(TOKEN, version="2.59.0")["Ray"]

    assert found.seen == "2.60.0 here, 2.59.0 on the cluster"
    assert "ray[default,tune]==2.59.0" in found.cures[0]


def test_what_is_no_ray_at_all_is_a_warning():
    assert way(TOKEN, begins=b"<html>")["Ray"].state == "warn"


def test_missing_tools_are_a_warning_only(monkeypatch):
    monkeypatch.setenv("PATH", "")

    found = way(TOKEN)["tools"]

    assert (found.state, found.seen) == ("warn", "ssh, rsync not found: `ray up` needs it")


def test_what_accepts_connections_and_answers_nothing_is_told_of_and_not_joined(monkeypatch):
    monkeypatch.setattr("search.doctor.ports.ASK_SECONDS", 0.1)
    monkeypatch.setattr("search.doctor.doctor._joined", pytest.fail)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        address = f"127.0.0.1:{deaf.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)

        [(_, [found])] = doctor._examine(None, None)

    assert found.state == "FAIL"
    assert found.seen == f"what listens at {address} answers nothing that a Ray's head is asked"
