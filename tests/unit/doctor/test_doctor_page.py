import io
import json
from argparse import Namespace

import pytest
from rich.console import Console

from search.cli.main import main
from search.doctor import doctor
from search.doctor.doctor import _page_from_dict, _page_to_dict, _print_page
from search.doctor.facts import ClusterFacts, Machine
from search.doctor.findings import Finding
from search.errors import ClusterError, InputError
from tests.unit.doctor.doctor_facts import node_facts

GOOD = Finding(check="nodes", state="ok", seen="3 nodes: head, one, two")
BAD = Finding(check="disk", state="FAIL", seen="two: full", cures=("Free room there",))
DOUBTFUL = Finding(check="head", state="warn", seen="8 CPUs\x1b[2J", cures=("Take them away",))


def page(*findings, width=120):
    console = Console(file=io.StringIO(), width=width, markup=False)
    _print_page(console, [("the cluster", findings)])
    return console.file.getvalue()


def test_a_page_has_a_line_for_each_check_and_under_it_what_to_do():
    assert page(GOOD, BAD) == (
        "the cluster\n"
        "  ok    nodes          3 nodes: head, one, two\n"
        "  FAIL  disk           two: full\n"
        "                       -> Free room there\n"
        "unfit: 1 check of 2 failed\n"
    )


def test_warnings_leave_a_cluster_fit_and_are_counted():
    assert page(GOOD, DOUBTFUL).endswith("fit: none of 2 checks failed (1 warning)\n")


def test_nothing_that_a_terminal_obeys_is_printed():
    assert "\x1b" not in page(DOUBTFUL)
    assert "8 CPUs\\x1b[2J" in page(DOUBTFUL)


@pytest.mark.parametrize("width", [60, 80, 200])
def test_long_findings_are_wrapped_to_the_terminal(width):
    long = Finding(
        check="ports", state="warn", seen="port 1234 " * 60, cures=("Close them " * 30,)
    )

    assert max(map(len, page(long, width=width).splitlines())) <= width


def test_findings_survive_the_way_from_the_cluster():
    parts = [("the cluster", [GOOD, BAD, DOUBTFUL])]

    told = json.loads(json.dumps(_page_to_dict(parts)))

    assert _page_from_dict(told) == parts
    assert told["fit"] is False


@pytest.mark.parametrize(
    ("findings", "status"),
    [pytest.param([GOOD, DOUBTFUL], 0, id="fit"), pytest.param([GOOD, BAD], 1, id="unfit")],
)
def test_the_exit_status_says_whether_it_is_fit(monkeypatch, capsys, findings, status):
    monkeypatch.setattr(doctor, "_examine", lambda address, storage: [("here", findings)])

    assert main(["doctor", "--json"]) == status
    assert json.loads(capsys.readouterr().out)["fit"] is (status == 0)


def test_what_ray_prints_meanwhile_does_not_get_into_the_object(monkeypatch, capsys):
    def noisy(address, storage):
        print("(raylet) something happened")
        return [("here", [GOOD])]

    monkeypatch.setattr(doctor, "_examine", noisy)
    assert main(["doctor", "--json"]) == 0

    said = capsys.readouterr()
    assert json.loads(said.out)["fit"]
    assert "(raylet)" in said.err


class FarCluster:
    """Stands for the client of a cluster, whose answer the test gives."""

    address = "http://127.0.0.1:1"
    asked = answer = error = None

    def __enter__(self):
        if self.error is not None:
            raise self.error
        return self

    def __exit__(self, *_):
        pass

    def relay(self, *asked):
        self.asked = asked
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture(name="far")
def far_cluster(monkeypatch):
    client = FarCluster()
    here = ClusterFacts(machines=[Machine(told=node_facts("here"))], ray_folders=[("/tmp", None)])
    monkeypatch.setattr(doctor, "_machine_facts", lambda *_, **__: here)
    monkeypatch.setattr("search.remote.client.Client", lambda address: client)
    return client


def examined(storage=None):
    return {
        each.check: each
        for _, findings in doctor._examine("http://127.0.0.1:1", storage)
        for each in findings
    }


def answer(out, err="", status=0):
    return Namespace(out=out, err=err, status=status)


def test_a_cluster_is_asked_by_a_job_and_its_findings_stand_below_ours(far):
    far.answer = answer(json.dumps(_page_to_dict([("the cluster", [BAD])])), status=1)

    found = examined("s3://bucket/studies")

    assert far.asked == ("doctor", {"storage": "s3://bucket/studies", "json": True})
    assert found["disk"] == BAD
    assert found["release"].state == "ok"


def test_a_storage_with_a_key_in_it_is_not_sent(far):
    with pytest.raises(InputError, match="--storage needs a URI without a password or key"):
        examined("s3://key:canary@bucket/studies")

    assert far.asked is None


def test_another_release_on_the_head_is_a_warning(far):
    told = _page_to_dict([("the cluster", [GOOD])])
    told["versions"]["twohead-search"] = "0.0.1"
    far.answer = answer(json.dumps(told))

    assert examined()["release"].state == "warn"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        pytest.param(answer("", "twohead: no such command", 2), "no such command", id="old"),
        pytest.param(answer("[1]", "", 0), "[1]", id="other"),
        pytest.param(
            answer('{"versions": {}, "parts": [{"title": "", "findings": [1]}]}'),
            "1",
            id="no_finding",
        ),
        pytest.param(ClusterError("no answer within 300 s"), "no answer within", id="silent"),
    ],
)
def test_a_head_that_cannot_tell_is_a_failure_with_what_it_said(far, given, said):
    far.answer = given

    found = examined()["job"]

    assert found.state == "FAIL"
    assert said in found.seen


def test_an_address_where_nothing_answers_is_a_failure_with_how_to_open_the_tunnel(far):
    far.error = ClusterError("nothing answers at http://127.0.0.1:1")

    found = examined()["way"]

    assert found.state == "FAIL"
    assert "ray dashboard" in found.cures[0]


def test_an_address_that_is_none_is_bad_input(far):
    far.error = InputError("the address of a cluster needs ...")

    with pytest.raises(InputError, match="the address of a cluster needs"):
        examined()


def test_the_ray_at_ray_address_has_to_answer(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")

    with pytest.raises(InputError, match="needs the address of a running Ray"):
        doctor._examine(None, None)


def test_ray_clients_address_is_refused_for_it_shows_no_nodes_from_within(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "ray://127.0.0.1:10001")

    with pytest.raises(InputError, match="doctor needs RAY_ADDRESS as host:port or 'auto'"):
        doctor._examine(None, None)
