"""A study's images are decoded once, and anew where what was decoded is damaged."""

from pathlib import Path

import pytest

import search.running.prepare as decoding
from search.study.study import Study
from tests.support.data_sets import write
from trainables.data.check import check_dataset
from trainables.data.decode import decode_dataset, is_intact


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    monkeypatch.setattr(decoding, "run_task", lambda task, *arguments: task(*arguments))
    return Study(
        name="small",
        data=write(tmp_path / "a.parquet"),
        heads={"c_output": {"kind": "classification"}, "r_output": {"kind": "regression"}},
        storage=str(tmp_path / "storage"),
    )


@pytest.mark.parametrize("is_damaged", [False, True])
def test_what_was_decoded_before_is_compared_when_a_study_begins(
    is_damaged: bool, study: Study
) -> None:
    data = check_dataset(decoding.data_request(study)).info
    decode_dataset(decoding.data_request(study), data.fingerprint, study.storage)
    image = Path(study.storage) / ".data" / data.fingerprint / "train-image.npy"
    if is_damaged:
        image.write_bytes(bytes(image.stat().st_size))
    made = image.stat().st_mtime_ns

    with decoding.decoding(study, data) as decoded:
        decoded()

    assert is_intact(data, study.storage)
    assert (image.stat().st_mtime_ns != made) == is_damaged
