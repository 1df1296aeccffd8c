"""The golden studies are read as they were: every command prints the same, to the digit."""

import pytest

from tests.golden.files import NAMES, OUTPUTS, QUESTIONS, STUDIES, answer, unpacked


@pytest.fixture(name="folder", scope="module")
def unpacked_studies(tmp_path_factory):
    folder = tmp_path_factory.mktemp("golden")
    with unpacked(folder):
        yield folder


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_command_prints_of_a_golden_study_what_it_did(folder, name):
    assert answer(QUESTIONS[name], folder) == (OUTPUTS / name).read_text()


def test_every_golden_study_is_asked_for():
    assert {path.name for path in STUDIES.iterdir() if path.is_dir()} == set(NAMES)
    outputs = {str(path.relative_to(OUTPUTS)) for path in OUTPUTS.glob("**/*.*")}
    assert outputs == set(QUESTIONS)
