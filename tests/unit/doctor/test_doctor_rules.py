from dataclasses import replace

import pytest

from search.doctor import doctor as doctor
from search.doctor.findings import Silence, is_fit
from search.doctor.machines import judge_storage
from tests.doctor_facts import (
    BOUNDS,
    GIB,
    REFUSED,
    VERSIONS,
    disk,
    healthy,
    listener,
    stored,
    with_head_saying,
    with_last,
    with_last_saying,
)

OPEN = {"by": "http", "none": "answered", "wrong": "answered", "right": "answered"}
METRICS = {**OPEN, "by": "metrics"}


@pytest.fixture(name="judge")
def judged(monkeypatch):
    monkeypatch.setattr(doctor, "declared_bounds", lambda: BOUNDS)

    def judge(facts):
        return {each.check: each for each in doctor.judge_cluster(facts)}

    return judge


def saying(**changes):
    return lambda facts: with_last_saying(facts, **changes)


def head_saying(**changes):
    return lambda facts: with_head_saying(facts, **changes)


def last(**changes):
    return lambda facts: with_last(facts, **changes)


def whole(**changes):
    return lambda facts: replace(facts, **changes)


def token(**changes):
    return lambda facts: with_last_saying(
        facts, token={**facts.places[-1].facts["token"], **changes}
    )


def listening(*more):
    return lambda facts: with_head_saying(
        facts, listeners=[*facts.places[0].facts["listeners"], *more]
    )


def versions(**changes):
    return saying(versions={**VERSIONS, **changes})


def seen(**changes):
    return last(gpu={"seen": 1, "is_simulated": False, "problem": None, **changes})


FAULTS = [
    ("old", versions(keras="3.14.0"), "versions", "FAIL", "keras 3.14.0 is older than 3.15.1"),
    ("differs", versions(ray="2.60.1"), "versions", "FAIL", "ray 2.60.1, but 2.60.0 on head"),
    ("absent", versions(keras=None), "versions", "FAIL", "two: keras is not installed"),
    ("untried", versions(keras="3.18"), "versions", "FAIL", "keras 3.18 was not tried"),
    ("code", saying(code="other"), "versions", "FAIL", "two: other code than on head"),
    ("minor", saying(python="3.12.1"), "versions", "FAIL", "Python 3.12.1, but 3.11.7 on head"),
    ("patch", saying(python="3.11.9"), "versions", "warn", "Python 3.11.9, but 3.11.7 on head"),
    ("no_mode", saying(modes={"raylet": None}), "token mode", "FAIL", "two: started without"),
    ("unseen_mode", saying(modes={}), "token mode", "warn", "two: no process of Ray"),
    ("no_token", token(problem="is not there"), "token file", "FAIL", "auth_token is not there"),
    ("loose", token(mode=0o644), "token file", "FAIL", "has mode 0644: others than its owner"),
    ("loose_folder", token(folder_mode=0o777), "token file", "FAIL", "/me/.ray has mode 0777"),
    ("open_folder", token(folder_mode=0o755), "token file", "warn", "/me/.ray has mode 0755"),
    ("other_token", token(digest="d2"), "token file", "FAIL", "two: another token than the"),
    ("lets_in", listening(listener("Ray Client", 10001, answer=OPEN)), "refusal", "FAIL",
     "head: Ray Client on port 10001 answers to no token and a wrong token"),
    ("lets_wrong_in", listening(listener("x", 1, answer={**REFUSED, "wrong": "answered"})),
     "refusal", "FAIL", "x on port 1 answers to a wrong token"),
    ("refuses_us", listening(listener("x", 1, answer={**REFUSED, "right": "refused"})),
     "refusal", "FAIL", "x on port 1 refuses our own token"),
    ("unproved", head_saying(listeners=[]), "refusal", "warn", "control service, dashboard"),
    ("open_dashboard", listening(listener("dashboard", 8265)), "dashboard", "FAIL",
     "head: dashboard and jobs listen on 0.0.0.0:8265"),
    ("metrics", listening(listener("autoscaler", 44217, answer=METRICS)), "ports", "warn",
     "head: metrics are told without a token"),
    ("stranger", listening(listener("redis", 6380, "::", is_rays=False)), "ports", "warn",
     "besides Ray and SSH: 6380 (redis)"),
    ("no_gpu", seen(seen=0), "GPUs", "FAIL", "two: Ray promises 1 GPUs, TensorFlow sees 0"),
    ("gpu_unknown", seen(seen=None, problem="no cuda"), "GPUs", "FAIL", "two: TensorFlow could"),
    ("gpu_idle", seen(seen=4), "GPUs", "warn", "two: Ray promises 1 GPUs, TensorFlow sees 4"),
    ("unwritable", last(storage={**stored(), "write": "denied"}), "storage", "FAIL",
     "two: cannot write in s3://bucket/studies: denied"),
    ("undeletable", last(storage={**stored(), "delete": "denied"}), "storage", "FAIL",
     "two: cannot delete in s3://bucket/studies: denied"),
    ("local", last(storage={**stored(), "unseen": ["head", "one"]}), "storage", "FAIL",
     "two: does not see in s3://bucket/studies what was written by head, one"),
    ("no_storage", whole(storage=""), "storage", "warn", "none is set here"),
    ("full", saying(disks=[disk("Ray's session", free=GIB // 2)]), "disk", "FAIL",
     "two: /tmp (Ray's session) has 512 MiB free of 100 GiB"),
    ("scarce", saying(disks=[disk("temporary files", free=4 * GIB)]), "disk", "warn",
     "two: /tmp (temporary files) has 4.0 GiB free"),
    ("95_percent", saying(disks=[disk("x", free=40 * GIB, total=1000 * GIB)]), "disk", "warn",
     "has 40 GiB free of 1000 GiB"),
    ("inodes", saying(disks=[disk("x", has_inodes=False)]), "disk", "FAIL", "no inode left"),
    ("storage_full", last(storage={**stored(), "disk": disk("storage", free=5)}), "disk", "FAIL",
     "two: /tmp (storage) has 0 MiB free"),
    ("shm", saying(shm=disk("shared memory", free=GIB // 16)), "shared memory", "FAIL",
     "two: /dev/shm has 64 MiB free"),
    ("small_shm", saying(shm=disk("x", free=GIB // 16, total=GIB // 16)), "shared memory", "warn",
     "two: /dev/shm is as small as 64 MiB: Ray takes the disk instead"),
    ("memory", saying(memory={"total": GIB, "available": GIB // 2}), "memory", "warn",
     "two: 512 MiB available of 1.0 GiB"),
    ("files", saying(open_files=1024), "open files", "warn", "two: at most 1024"),
    ("ahead", saying(skew=(59.9, 60.1)), "clocks", "FAIL", "two: its clock is 59.9 s ahead"),
    ("behind", saying(skew=(-4.0, -3.9)), "clocks", "warn", "two: its clock is 3.9 s behind"),
    ("hours", saying(skew=(-7201.0, -7200.0)), "clocks", "FAIL", "clock is 120 min behind"),
    ("no_clock", saying(skew=None), "clocks", "warn", "two: its clock could not be compared"),
    ("silent", last(facts=None, storage=None, silence=Silence(reason="no answer within 25 s")),
     "nodes", "FAIL", "two: no answer within 25 s, though its raylet answers"),
    ("gone", last(facts=None, storage=None, silence=Silence(reason="late", is_gone=True)),
     "nodes", "FAIL", "two: late, and its Ray does not answer either"),
    ("refused", last(facts=None, silence=Silence(reason="late", has_other_token=True)),
     "nodes", "FAIL", "two: late; its log tells of a token that was refused"),
    ("dead", whole(dead=["10.0.0.3 (health check failed)"]), "nodes", "warn",
     "1 node died: 10.0.0.3 (health check failed)"),
    ("busy_head", lambda facts: replace(
        facts, places=[replace(facts.places[0], cpus=8), *facts.places[1:]]),
     "head", "warn", "head: offers 8 CPUs for trials"),
    ("crash", whole(autoscaler_crash="KeyError"), "autoscaler", "FAIL", "it ended: KeyError"),
    ("quota", whole(autoscaler_troubles=["could not start g5"]), "autoscaler", "warn",
     "could not start g5"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("plant", "check", "state", "said"),
    [pytest.param(*fault[1:], id=fault[0]) for fault in FAULTS],
)
def test_each_planted_fault_is_found_named_and_given_a_cure(judge, plant, check, state, said):
    findings = judge(plant(healthy()))

    assert (findings[check].state, said in findings[check].seen) == (state, True), findings[check]
    assert all(cure[0].isupper() and not cure.endswith(".") for cure in findings[check].cures)
    assert findings[check].cures
    assert {each.check for each in findings.values() if each.state == "FAIL"} <= {check}


def test_a_cluster_in_good_health_is_fit_and_needs_no_cure(judge):
    findings = judge(healthy())

    assert {each.state for each in findings.values()} == {"ok"}
    assert is_fit(findings.values())
    assert not any(each.cures for each in findings.values())


def test_the_same_fault_of_many_nodes_is_told_once_with_a_few_of_their_names(judge):
    facts = healthy()
    bad = [replace(facts.places[-1], title=f"w{num}") for num in range(40)]
    ill = [replace(each, facts={**each.facts, "open_files": 256}) for each in bad]

    findings = judge(replace(facts, places=[facts.places[0], *ill]))

    assert findings["open files"].seen == "w0, w1, w2 and 37 more: at most 256"
    assert len(findings["open files"].cures) == 1


def test_the_worst_of_several_faults_is_told_first_and_gives_the_mark(judge):
    facts = with_last_saying(healthy(), skew=(3.0, 3.1))
    facts = with_head_saying(facts, skew=(60.0, 60.1))

    clocks = judge(facts)["clocks"]

    assert clocks.state == "FAIL"
    assert clocks.seen.startswith("head: its clock is 60.0 s ahead")
    assert "two: its clock is 3.0 s ahead" in clocks.seen


def test_a_clock_whose_reading_took_long_is_not_accused(judge):
    assert judge(with_last_saying(healthy(), skew=(-1.0, 30.0)))["clocks"].state == "ok"


def test_simulated_gpus_are_said_to_be(judge):
    simulated = {"seen": None, "is_simulated": True, "problem": None}

    found = judge(with_last(healthy(), gpu=simulated))["GPUs"]

    assert (found.state, found.seen) == ("ok", "2 promised; simulated on two")


def test_no_refusal_is_asked_of_a_dashboard_that_does_not_run(judge):
    facts = healthy()
    listeners = [
        each for each in facts.places[0].facts["listeners"] if each["holder"] != "dashboard"
    ]

    without = replace(with_head_saying(facts, listeners=listeners), dashboard="")

    assert judge(without)["refusal"].state == "ok"
    assert judge(without)["dashboard"].seen == "none runs"


def test_a_storage_is_judged_for_one_machine_too():
    found = judge_storage(healthy().places[:1], "studies")

    assert (found.state, found.seen) == ("ok", "studies is written, read, listed and cleared")
