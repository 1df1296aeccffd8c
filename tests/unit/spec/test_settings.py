import json
from dataclasses import asdict

import pytest

from trainables.spec.heads import HeadSpec
from trainables.spec.settings import StudySettings
from trainables.storage.sealed_json import convert

SETTINGS = StudySettings(
    study="file:///studies/digits",
    storage="file:///studies",
    image_shape=(32, 32, 1),
    heads=(HeadSpec(name="c_output", kind="classification", units=2, classes=("a", "b")),),
    model="my_models:build",
    signature={"format": 1},
    rungs=(1, 3),
    gpu=0.5,
)


def test_settings_travel_as_json_and_arrive_as_they_were():
    assert convert(json.loads(json.dumps(asdict(SETTINGS))), StudySettings) == SETTINGS


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        pytest.param({"gpu": 0.25}, None, id="not_measured"),
        pytest.param({"gpu": 0, "gpu_usable_bytes": 0, "gpu_outside_bytes": 0}, None, id="cpu"),
        pytest.param(
            {"gpu": 0.25, "gpu_usable_bytes": 4000, "gpu_outside_bytes": 300}, 700, id="quarter"
        ),
        pytest.param(
            {"gpu": 1.0, "gpu_usable_bytes": 4000, "gpu_outside_bytes": 300}, None, id="whole"
        ),
    ],
)
def test_tensorflow_is_limited_to_a_measured_share_less_what_is_taken_besides(settings, expected):
    assert StudySettings(study="s", storage="d", **settings).gpu_limit_bytes == expected
