import subprocess
import sys

import pytest

from search.doctor import node
from search.doctor.checks import ALONE, MACHINE, STORAGE
from search.doctor.cluster import _let_travel
from search.doctor.doctor import _machine_facts
from search.doctor.facts import ClusterFacts, GpuFacts, Machine, NodeFacts, StorageFacts
from search.doctor.findings import judge
from search.doctor.node import gpu_facts, has_nvidia, remove_probe, unseen_probes, write_probe


def test_a_good_storage_is_written_read_listed_and_left_as_it_was(tmp_path):
    told = write_probe(str(tmp_path), "run")
    failed = remove_probe(str(tmp_path), "run", [])

    assert (told.errors, told.made, failed) == ({}, False, None)
    assert told.disk.free > 0
    assert list(tmp_path.iterdir()) == []


def test_a_storage_that_was_not_there_is_not_there_afterwards(tmp_path):
    storage = tmp_path / "studies"

    told = write_probe(str(storage), "run")
    remove_probe(str(storage), "run", ["here"])

    assert told.made
    assert not storage.exists()


def test_a_folder_with_studies_is_never_removed(tmp_path):
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "digits").touch()

    remove_probe(str(tmp_path / "studies"), "run", ["here"])

    assert (tmp_path / "studies" / "digits").exists()


def test_a_storage_that_refuses_to_be_written_says_why(tmp_path):
    (tmp_path / "studies").write_text("a file, where a folder should be")

    told = write_probe(str(tmp_path / "studies"), "run")
    facts = _machine_facts("")
    one = Machine(title="one", told=facts.machines[0].told, storage=told)
    (found,) = judge([STORAGE], ClusterFacts(machines=[one], storage="studies"))

    assert found.state == "FAIL"
    assert found.seen.startswith("one: cannot write in studies: cannot write")


def test_folders_of_one_name_that_are_not_shared_are_told_apart(tmp_path, monkeypatch):
    """Two machines with a folder each: neither sees what the other has written."""
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    for folder, name in ((one, "a"), (two, "b")):
        monkeypatch.setattr(node, "probe_name", lambda name=name: name)
        write_probe(folder, "run")

    assert unseen_probes(one, "run", ["a", "b"]) == ["b"]
    assert unseen_probes(two, "run", ["a", "b"]) == ["a"]


def test_a_uri_that_nothing_opens_is_a_finding_and_its_key_is_not_shown():
    why = write_probe("nowhere://user:canary-key@host/studies", "run").errors["write"]

    assert why.startswith("storage needs a URI without a password or key")
    assert "canary-key" not in why


def test_a_full_temporary_folder_is_found_where_tmpdir_points(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "not" / "yet"))
    monkeypatch.setattr("search.doctor.checks.LEAST_DISK", 2**80)

    found = here()["disk"]

    assert found.state == "FAIL"
    assert f"{tmp_path}/not/yet (temporary files) has" in found.seen


WITHOUT_OURS = """
import sys

sys.modules["search"] = sys.modules["trainables"] = None  # cannot be imported
from ray import cloudpickle

with open(sys.argv[1], "rb") as file:
    facts, probe = cloudpickle.load(file)
with open(sys.argv[1], "wb") as file:
    cloudpickle.dump((facts("", None, b"salt"), probe("studies", "run")), file)
"""


def test_a_node_that_has_nothing_of_ours_tells_its_facts_by_the_code_of_the_driver(tmp_path):
    from ray import cloudpickle

    file = tmp_path / "travelling"
    _let_travel()
    file.write_bytes(cloudpickle.dumps((node.node_facts, node.write_probe)))

    subprocess.run([sys.executable, "-c", WITHOUT_OURS, str(file)], check=True, timeout=120)
    facts, stored = cloudpickle.loads(file.read_bytes())

    assert isinstance(facts, NodeFacts)
    assert isinstance(stored, StorageFacts)
    assert facts.code is None
    assert "trainables" in stored.errors["write"]


def here(checks=MACHINE, storage=""):
    return {found.check: found for found in judge(checks, _machine_facts(storage))}


def test_simulated_gpus_are_not_looked_for(monkeypatch):
    monkeypatch.setenv("TWOHEAD_SIMULATED_GPU", "1")

    assert gpu_facts(0.001).is_simulated


@pytest.mark.parametrize(
    ("question", "seconds", "expected"),
    [
        pytest.param("print('noise'); print('visible:', 3)", 60, (3, None), id="told"),
        pytest.param("raise ImportError('no cuda')", 60, (None, "ImportError: no cuda"), id="no"),
        pytest.param(
            "import time; time.sleep(60)", 0.5, (None, "no answer within 0.5 s"), id="late"
        ),
        pytest.param("import os; os._exit(9)", 60, (None, "it ended with status 9"), id="killed"),
    ],
)
def test_who_is_asked_for_gpus_tells_their_number_or_why_not(
    monkeypatch, question, seconds, expected
):
    monkeypatch.delenv("TWOHEAD_SIMULATED_GPU", raising=False)
    monkeypatch.setattr(node, "GPU_QUESTION", question)

    told = gpu_facts(seconds)

    assert (told.seen, told.problem) == expected


def test_the_gpus_of_the_node_are_asked_for_not_those_of_a_task_without(monkeypatch):
    question = "import os; print('visible:', len(os.environ['CUDA_VISIBLE_DEVICES'].split(',')))"
    monkeypatch.setattr(node, "GPU_QUESTION", question)
    monkeypatch.setattr(node, "environment_of", lambda _: {"CUDA_VISIBLE_DEVICES": "0,1"})
    monkeypatch.delenv("TWOHEAD_SIMULATED_GPU", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")

    assert gpu_facts(60).seen == 2


def test_an_nvidia_device_is_seen_without_loading_anything(tmp_path):
    assert not has_nvidia(tmp_path)

    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "nvidia0").touch()

    assert has_nvidia(tmp_path)


def test_a_machine_alone_is_examined_without_ray(tmp_path, monkeypatch):
    monkeypatch.setattr(node, "has_nvidia", lambda: False)
    monkeypatch.chdir(tmp_path)

    found = here(ALONE, str(tmp_path))

    assert list(found) == [
        "versions", "token file", "ports", "private folder", "disk", "shared memory", "memory",
        "open files", "GPUs", "storage",
    ]  # fmt: skip
    assert found["storage"].state == "ok"


def test_a_device_that_tensorflow_does_not_see_fails(monkeypatch):
    monkeypatch.setattr(node, "has_nvidia", lambda: True)
    monkeypatch.setattr(node, "gpu_facts", lambda seconds: GpuFacts(seen=0))

    found = here()["GPUs"]

    assert found.state == "FAIL"
    assert "TensorFlow sees 0" in found.seen
