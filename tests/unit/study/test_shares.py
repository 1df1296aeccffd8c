"""What was measured for a study's trials: kept, read again, and said."""

import pytest

from search.study.settings import Resources
from search.study.shares import (
    MeasuredShares,
    Peak,
    Peaks,
    read_shares,
    threads_of,
    write_shares,
)
from search.study.study import Study
from trainables.storage.sealed_json import DamagedRecord, seal
from trainables.storage.store import Store

GIB = 2**30
PEAKS = Peaks(
    measured=tuple(Peak(weights=n, activations=n, num_bytes=n * GIB) for n in (1, 5)),
)
ON_GPU = MeasuredShares(cpu=2, gpu=0.5, gpu_bytes=16 * GIB, outside_bytes=GIB // 2, peaks=PEAKS)
ON_CPU = MeasuredShares(cpu=2, gpu=0, peaks=PEAKS, speeds={1: 90.0, 2: 100.4})


@pytest.mark.parametrize("shares", [ON_GPU, ON_CPU, MeasuredShares(cpu=1, gpu=0)])
def test_what_is_written_is_read_again(tmp_path, shares):
    store = Store(tmp_path)
    write_shares(store, shares)

    assert read_shares(store) == shares


def test_a_study_with_fixed_shares_has_none(tmp_path):
    assert read_shares(Store(tmp_path)) is None


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({}, id="empty"),
        pytest.param({**ON_GPU.to_dict(), "cpu": 0}, id="no_cpu"),
        pytest.param({**ON_GPU.to_dict(), "gpu": "half"}, id="text"),
        pytest.param({**ON_GPU.to_dict(), "peaks": [1]}, id="peaks"),
        pytest.param({**ON_GPU.to_dict(), "speeds": {"one": 2.0}}, id="threads"),
    ],
)
def test_a_record_that_cannot_be_is_damaged(tmp_path, body):
    Store(tmp_path).put("shares.json", seal("shares", body))

    with pytest.raises(DamagedRecord, match=r"shares.json is no record of shares: "):
        read_shares(Store(tmp_path))


def test_a_changed_byte_is_not_believed(tmp_path):
    write_shares(Store(tmp_path), ON_GPU)
    file = tmp_path / "shares.json"
    file.write_bytes(file.read_bytes().replace(b'"cpu":2', b'"cpu":4'))

    with pytest.raises(DamagedRecord, match="checksum does not fit"):
        read_shares(Store(tmp_path))


@pytest.mark.parametrize(
    ("shares", "resources", "lines"),
    [
        pytest.param(
            ON_GPU,
            Resources(gpu="auto"),
            ["a trial needs at most 5.5 GiB: half a GPU each, 2 on a GPU of 16 GiB"],
            id="gpu",
        ),
        pytest.param(
            ON_CPU,
            Resources(cpu="auto"),
            [
                "2 threads for each trial (images a second on a full node, by threads of a trial: "
                "1: 90, 2: 100)"
            ],
            id="cpu",
        ),
        pytest.param(
            ON_CPU,
            Resources(gpu="auto"),
            ["no node has a GPU, and none that may come: trials train on the CPU"],
            id="no_gpu",
        ),
        pytest.param(
            MeasuredShares(cpu=4, gpu=1.0),
            Resources(cpu="auto", gpu=1),
            ["4 threads for each trial: the CPUs beside its GPU"],
            id="cpus_beside_a_gpu",
        ),
    ],
)
def test_what_was_found_is_said_once_for_each_share_that_was_left_open(shares, resources, lines):
    assert shares.lines(resources) == lines


def test_threads_that_were_measured_are_used_again_by_whoever_reads_the_study(tmp_path):
    heads = {"c_output": {"kind": "classification"}}
    auto = Study(
        name="s",
        data="d.parquet",
        heads=heads,
        resources={"cpu": "auto"},
        storage=str(tmp_path),
    )

    before = threads_of(auto)
    write_shares(Store(auto.folder), ON_CPU)

    assert (before, threads_of(auto)) == (1, 2)
