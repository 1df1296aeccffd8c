from dataclasses import replace

import pytest

from search.doctor.checks import VERSIONS
from search.doctor.findings import judge
from search.doctor.node import PACKAGES, _code_digest, version_of
from search.doctor.versions import _is_older, declared_bounds
from tests.unit.doctor.doctor_facts import healthy, with_last_saying


def judged(cluster):
    (found,) = judge([VERSIONS], cluster)
    return found


def plant(folder, name, version):
    """Write what pip writes of an installed distribution."""
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def test_the_version_that_comes_first_in_the_path_is_the_one_that_counts(tmp_path, monkeypatch):
    plant(tmp_path, "keras", "3.1.0")

    monkeypatch.syspath_prepend(tmp_path)

    assert version_of("keras") == "3.1.0"


def test_a_distribution_that_is_not_there_has_no_version():
    assert version_of("no-such-distribution") is None


def test_the_floors_are_those_that_our_own_distribution_declares():
    bounds = declared_bounds()

    assert bounds.keys() >= set(PACKAGES) - {"twohead-search"}
    assert {bound.operator for bound in bounds["ray"]} == {">=", "<"}


@pytest.mark.parametrize(
    ("requirement", "expected"),
    [
        pytest.param("ray[default,tune]<2.61,>=2.60", {"ray": "<2.61,>=2.60"}, id="extras"),
        pytest.param("PyYAML>=6.0.2", {"pyyaml": ">=6.0.2"}, id="letters"),
        pytest.param("numpy", {"numpy": ""}, id="none"),
        pytest.param('torch>=2.6; extra == "gp"', {}, id="of_an_extra"),
    ],
)
def test_requirements_are_read_as_they_stand_in_the_metadata(requirement, expected, monkeypatch):
    monkeypatch.setattr("search.doctor.versions.metadata.requires", lambda name: [requirement])

    assert {name: str(bounds) for name, bounds in declared_bounds().items()} == expected


@pytest.mark.parametrize(
    ("version", "other", "expected"),
    [
        pytest.param("2.9.0", "2.10", True, id="by_number_not_by_letter"),
        pytest.param("2.60.0+cu12", "2.60", False, id="local"),
        pytest.param("unknown", "1.0", True, id="no_version_at_all"),
    ],
)
def test_versions_are_compared_by_their_numbers(version, other, expected):
    assert _is_older(version, other) is expected


def test_without_our_own_metadata_the_floors_are_said_to_be_unknown():
    found = judged(replace(healthy(), bounds={}))

    assert found.state == "warn"
    assert "the floors are not known" in found.seen


def test_other_code_at_another_version_is_told_once():
    versions = {**healthy().machines[0].facts.versions, "twohead-search": "0.2.0"}

    found = judged(with_last_saying(healthy(), versions=versions, code="x"))

    assert found.seen == "two: twohead-search 0.2.0, but 0.1.0 on head"


def test_silent_nodes_are_not_compared():
    head, *others = healthy().machines

    assert judged(replace(healthy(), machines=[replace(head, told=None), *others])).state == "ok"


def test_a_changed_line_changes_the_digest_of_our_code(tmp_path, monkeypatch):
    for package in ("search", "trainables"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "a.py").write_text("x = 1\n")
    monkeypatch.setattr(
        "search.doctor.node.find_spec",
        lambda name: type("Spec", (), {"submodule_search_locations": [str(tmp_path / name)]}),
    )
    before = _code_digest()

    (tmp_path / "trainables" / "a.py").write_text("x = 2\n")

    assert before is not None
    assert _code_digest() not in {None, before}
