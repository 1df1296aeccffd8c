"""The share that a probe picks, against what trainings really take; more of it in a benchmark."""

import json

import msgspec
import pytest

from search.study.shares import Peaks
from tests.benchmarks.probe_classes import measure, report

pytestmark = pytest.mark.slow

CONFIGS = 6


def test_no_share_is_too_small_for_a_training_nor_more_than_one_class_too_large(tmp_path):
    out = tmp_path / "measured.jsonl"

    measure(out, side=48, configs=CONFIGS, seed=1, seconds=600)

    first, *trainings = map(json.loads, out.read_text().splitlines())
    found = report(msgspec.convert(first, Peaks), trainings)
    assert found["configs"] == CONFIGS
    assert set(found["on all GPUs"]) <= {"0", "1"}
    assert set(found["with nothing beside"]) <= {"0", "1"}
    assert found["predicted/took"][0] > 1
