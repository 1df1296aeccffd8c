from dataclasses import replace

import pytest

from search.doctor.checks import CLUSTER, STORAGE
from search.doctor.facts import GpuFacts, Silence, StorageFacts
from search.doctor.findings import judge
from tests.unit.doctor.doctor_facts import (
    GIB,
    REFUSED,
    VERSIONS,
    disk,
    healthy,
    listener,
    with_head_saying,
    with_last,
    with_last_saying,
)

OPEN = replace(REFUSED, none="answered", wrong="answered")
METRICS = replace(OPEN, by="metrics")


def judged(cluster):
    return {found.check: found for found in judge(CLUSTER, cluster)}


def saying(**changes):
    return lambda cluster: with_last_saying(cluster, **changes)


def head_saying(**changes):
    return lambda cluster: with_head_saying(cluster, **changes)


def last(**changes):
    return lambda cluster: with_last(cluster, **changes)


def whole(**changes):
    return lambda cluster: replace(cluster, **changes)


def token(**changes):
    return lambda cluster: with_last_saying(
        cluster, token=replace(cluster.machines[-1].facts.token, **changes)
    )


def listening(*more):
    return lambda cluster: with_head_saying(
        cluster, listeners=[*cluster.machines[0].facts.listeners, *more]
    )


def versions(**changes):
    return saying(versions={**VERSIONS, **changes})


def seen(num, **changes):
    return last(gpu=GpuFacts(seen=num, **changes))


def stored(**changes):
    return last(storage=StorageFacts(**changes))


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
    ("lets_in", listening(listener("Ray Client", 10001, answers=OPEN)), "refusal", "FAIL",
     "head: Ray Client on port 10001 answers to no token and a wrong token"),
    ("lets_wrong_in", listening(listener("x", 1, answers=replace(REFUSED, wrong="answered"))),
     "refusal", "FAIL", "x on port 1 answers to a wrong token"),
    ("refuses_us", listening(listener("x", 1, answers=replace(REFUSED, right="refused"))),
     "refusal", "FAIL", "x on port 1 refuses our own token"),
    ("unproved", head_saying(listeners=[]), "refusal", "warn", "control service, dashboard"),
    ("open_dashboard", listening(listener("dashboard", 8265)), "dashboard", "FAIL",
     "head: dashboard and jobs listen on 0.0.0.0:8265"),
    ("metrics", listening(listener("autoscaler", 44217, answers=METRICS)), "ports", "warn",
     "head: metrics are told without a token"),
    ("stranger", listening(listener("redis", 6380, "::", is_rays=False)), "ports", "warn",
     "besides Ray and SSH: 6380 (redis)"),
    ("no_gpu", seen(0), "GPUs", "FAIL", "two: Ray promises 1 GPUs, TensorFlow sees 0"),
    ("gpu_unknown", seen(None, problem="no cuda"), "GPUs", "FAIL", "two: TensorFlow could"),
    ("gpu_idle", seen(4), "GPUs", "warn", "two: Ray promises 1 GPUs, TensorFlow sees 4"),
    ("unwritable", stored(errors={"write": "denied"}), "storage", "FAIL",
     "two: cannot write in s3://bucket/studies: denied"),
    ("undeletable", stored(errors={"delete": "denied"}), "storage", "FAIL",
     "two: cannot delete in s3://bucket/studies: denied"),
    ("local", stored(unseen=["head", "one"]), "storage", "FAIL",
     "two: does not see in s3://bucket/studies what was written by head, one"),
    ("no_storage", whole(storage=""), "storage", "warn", "none is set here"),
    ("full", saying(disks=[disk("Ray's session", free=GIB // 2)]), "disk", "FAIL",
     "two: /tmp (Ray's session) has 512 MiB free of 100 GiB"),
    ("scarce", saying(disks=[disk("temporary files", free=4 * GIB)]), "disk", "warn",
     "two: /tmp (temporary files) has 4.0 GiB free"),
    ("95_percent", saying(disks=[disk("x", free=40 * GIB, total=1000 * GIB)]), "disk", "warn",
     "has 40 GiB free of 1000 GiB"),
    ("inodes", saying(disks=[disk("x", has_inodes=False)]), "disk", "FAIL", "no inode left"),
    ("storage_full", stored(disk=disk("storage", free=5)), "disk", "FAIL",
     "two: /tmp (storage) has 0 MiB free"),
    ("shm", saying(shm=disk("shared memory", free=GIB // 16)), "shared memory", "FAIL",
     "two: /dev/shm has 64 MiB free"),
    ("small_shm", saying(shm=disk("x", free=GIB // 16, total=GIB // 16)), "shared memory", "warn",
     "two: /dev/shm is as small as 64 MiB: Ray takes the disk instead"),
    ("memory", saying(memory_total=GIB, memory_available=GIB // 2), "memory", "warn",
     "two: 512 MiB available of 1.0 GiB"),
    ("files", saying(open_files=1024), "open files", "warn", "two: at most 1024"),
    ("ahead", saying(skew=(59.9, 60.1)), "clocks", "FAIL", "two: its clock is 59.9 s ahead"),
    ("behind", saying(skew=(-4.0, -3.9)), "clocks", "warn", "two: its clock is 3.9 s behind"),
    ("hours", saying(skew=(-7201.0, -7200.0)), "clocks", "FAIL", "clock is 120 min behind"),
    ("no_clock", saying(skew=None), "clocks", "warn", "two: its clock could not be compared"),
    ("silent", last(told=None, storage=None, silence=Silence(reason="no answer within 25 s")),
     "nodes", "FAIL", "two: no answer within 25 s, though its raylet answers"),
    ("gone", last(told=None, storage=None, silence=Silence(reason="late", is_gone=True)),
     "nodes", "FAIL", "two: late, and its Ray does not answer either"),
    ("refused", last(told=None, silence=Silence(reason="late", has_other_token=True)),
     "nodes", "FAIL", "two: late; its log tells of a token that was refused"),
    ("dead", whole(dead=["10.0.0.3 (health check failed)"]), "nodes", "warn",
     "1 node died: 10.0.0.3 (health check failed)"),
    ("busy_head", lambda cluster: replace(
        cluster, machines=[replace(cluster.machines[0], cpus=8), *cluster.machines[1:]]),
     "head", "warn", "head: offers 8 CPUs for trials"),
    ("crash", whole(autoscaler_crash="KeyError"), "autoscaler", "FAIL", "it ended: KeyError"),
    ("quota", whole(autoscaler_troubles=["could not start g5"]), "autoscaler", "warn",
     "could not start g5"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("plant", "check", "state", "said"),
    [pytest.param(*fault[1:], id=fault[0]) for fault in FAULTS],
)
def test_each_planted_fault_is_found_named_and_given_a_cure(plant, check, state, said):
    findings = judged(plant(healthy()))

    assert (findings[check].state, said in findings[check].seen) == (state, True), findings[check]
    assert all(cure[0].isupper() and not cure.endswith(".") for cure in findings[check].cures)
    assert findings[check].cures
    assert {each.check for each in findings.values() if each.state == "FAIL"} <= {check}


def test_a_cluster_in_good_health_is_fit_and_needs_no_cure():
    findings = judge(CLUSTER, healthy())

    assert [found.check for found in findings] == [
        "nodes", "versions", "token mode", "token file", "refusal", "dashboard", "ports", "GPUs",
        "storage", "disk", "shared memory", "memory", "open files", "clocks", "head", "autoscaler",
    ]  # fmt: skip
    assert {found.state for found in findings} == {"ok"}
    assert not any(found.cures for found in findings)


def test_the_same_fault_of_many_nodes_is_told_once_with_a_few_of_their_names():
    head, *_, worker = healthy().machines
    ill = replace(worker, told=replace(worker.facts, open_files=256))
    workers = [replace(ill, title=f"w{num}") for num in range(40)]

    found = judged(replace(healthy(), machines=[head, *workers]))["open files"]

    assert found.seen == "w0, w1, w2 and 37 more: at most 256"
    assert len(found.cures) == 1


def test_the_worst_of_several_faults_is_told_first_and_gives_the_mark():
    facts = with_last_saying(healthy(), skew=(3.0, 3.1))
    facts = with_head_saying(facts, skew=(60.0, 60.1))

    clocks = judged(facts)["clocks"]

    assert clocks.state == "FAIL"
    assert clocks.seen.startswith("head: its clock is 60.0 s ahead")
    assert "two: its clock is 3.0 s ahead" in clocks.seen


def test_a_clock_whose_reading_took_long_is_not_accused():
    assert judged(with_last_saying(healthy(), skew=(-1.0, 30.0)))["clocks"].state == "ok"


def test_simulated_gpus_are_said_to_be():
    found = judged(with_last(healthy(), gpu=GpuFacts(is_simulated=True)))["GPUs"]

    assert (found.state, found.seen) == ("ok", "2 promised; simulated on two")


def test_no_refusal_is_asked_of_a_dashboard_that_does_not_run():
    listeners = healthy().machines[0].facts.listeners
    without = [one for one in listeners if one.holder != "dashboard"]

    findings = judged(replace(with_head_saying(healthy(), listeners=without), dashboard=""))

    assert findings["refusal"].state == "ok"
    assert findings["dashboard"].seen == "none runs"


def test_ports_are_told_of_beside_what_is_wrong_with_them():
    found = judged(listening(listener("redis", 6380, "::", is_rays=False))(healthy()))["ports"]

    assert found.seen == (
        "head: reached from other machines besides Ray and SSH: 6380 (redis) (all: head: control "
        "service 6379, dashboard 8265, raylet 34567; one, two: raylet)"
    )


def test_every_check_is_told_of_where_no_machine_answers():
    gone = Silence(reason="late", is_gone=True)
    silent = [replace(one, told=None, silence=gone) for one in healthy().machines]

    findings = judged(replace(healthy(), machines=silent))

    assert findings.keys() == judged(healthy()).keys()
    assert [found.check for found in findings.values() if found.state == "FAIL"] == ["nodes"]
    assert findings["versions"].seen == "nothing to compare"


def test_a_storage_is_judged_for_one_machine_too():
    (found,) = judge([STORAGE], replace(healthy(), machines=healthy().machines[:1]))

    assert found.state == "ok"
    assert found.seen == "s3://bucket/studies is written, read, listed and cleared"
