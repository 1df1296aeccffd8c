"""Which share a trial takes and how many run at once."""

import pytest

from search.cluster.shares import Shares, check_local, local_cores, shares
from search.errors import InputError
from search.study.settings import Resources

NODE = {"CPU": 8.0, "GPU": 2.0, "memory": 16e9}


@pytest.mark.parametrize(
    ("resources", "nodes", "expected"),
    [
        pytest.param(Resources(cpu=1), [NODE], 8, id="one_cpu_each"),
        pytest.param(Resources(cpu=3), [NODE], 2, id="rounded_down"),
        pytest.param(Resources(cpu=1, gpu=0.5), [NODE], 4, id="half_gpus"),
        pytest.param(Resources(cpu=1, gpu=0.25), [NODE, NODE], 16, id="two_nodes"),
        pytest.param(Resources(cpu=2, gpu=2), [NODE], 1, id="whole_gpus"),
        pytest.param(Resources(cpu=4, gpu=0.25), [NODE], 2, id="cpu_is_short"),
        pytest.param(Resources(cpu=1, concurrent=3), [NODE], 3, id="as_told"),
        pytest.param(Resources(cpu=1, concurrent=99), [NODE], 8, id="no_more_than_fit"),
        pytest.param(Resources(cpu=5), [NODE, {"CPU": 2.0}], 1, id="small_nodes_do_not_add_up"),
    ],
)
def test_as_many_trials_run_at_once_as_there_is_room_for(resources, nodes, expected):
    assert shares(resources, nodes).concurrent == expected


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        pytest.param(Resources(cpu=9), "cpu=9 and gpu=0 for one trial; .* cpu=8", id="cpu"),
        pytest.param(
            Resources(gpu=3), "gpu=3 for one trial; the largest of 1 has .* gpu=2", id="gpu"
        ),
    ],
)
def test_what_no_node_can_ever_place_is_refused(resources, message):
    with pytest.raises(InputError, match=message):
        shares(resources, [NODE])


def test_more_cpus_than_this_machine_has_are_refused_before_anything_starts():
    with pytest.raises(InputError, match=f"resources.cpu needs at most {local_cores()}.*got 9999"):
        check_local(Resources(cpu=9999))


@pytest.mark.parametrize(
    ("gpu", "expected"),
    [
        pytest.param(0, {"cpu": 2}, id="cpu_only"),
        pytest.param(0.5, {"cpu": 2, "gpu": 0.5}, id="with_gpu"),
    ],
)
def test_a_request_names_a_gpu_only_if_there_is_one(gpu, expected):
    assert Shares(cpu=2, gpu=gpu, concurrent=1, recycle_bytes=1).request == expected


def write_files(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")


V1 = {
    "proc/self/cgroup": "5:cpu,cpuacct:/docker/abc\n3:memory:/docker/abc",
    "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "150000",
    "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param({}, 8, id="no_groups"),
        pytest.param({"proc/self/cgroup": "0::/"}, 8, id="no_quota_file"),
        pytest.param(
            {"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "max 100000"}, 8, id="no_quota"
        ),
        pytest.param(
            {"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "250000 100000"}, 3, id="up"
        ),
        pytest.param(
            {"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "2000 100000"}, 1, id="tiny"
        ),
        pytest.param(
            {"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "9900000 100000"}, 8, id="more"
        ),
        pytest.param(
            {
                "proc/self/cgroup": "0::/a/b",
                "sys/fs/cgroup/a/cpu.max": "200000 100000",
                "sys/fs/cgroup/a/b/cpu.max": "400000 100000",
            },
            2,
            id="the_group_above_has_less",
        ),
        pytest.param(V1, 2, id="version_1"),
        pytest.param(
            {**V1, "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1"}, 8, id="version_1_none"
        ),
    ],
)
def test_a_container_with_a_quota_has_that_many_cpus(tmp_path, monkeypatch, files, expected):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(8)))
    write_files(tmp_path, files)

    assert local_cores(tmp_path) == expected
