"""What is settled before Ray starts: its address, its folders, its imports."""

import os
import socket
from pathlib import Path

import pytest

import search.cluster.session
from search.cluster.ray_folder import RayFolder
from search.cluster.session import check_answers, prepare_environment, ray_for
from search.cluster.shares import joined_address
from search.cluster.signals import Flag
from search.errors import InputError, SearchError
from search.running.run import _one_at_a_time
from tests.support.stub_study import stub_study


@pytest.mark.parametrize(
    ("value", "expected"),
    [("", ""), ("local", ""), ("auto", "auto"), (" host:1 ", "host:1")],
    ids=["empty", "local", "auto", "spaces"],
)
def test_ray_is_joined_where_the_environment_names_one(monkeypatch, value, expected):
    monkeypatch.setenv("RAY_ADDRESS", value)

    assert joined_address() == expected


def test_an_address_where_nothing_answers_is_refused_at_once():
    with socket.socket() as taken:  # bound, and not listening
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"

        with pytest.raises(InputError, match=f"RAY_ADDRESS needs .* running Ray, got '{address}'"):
            check_answers(address)


def test_a_user_without_a_home_and_without_an_entry_has_one_that_ray_can_be_imported_with(
    monkeypatch,
):
    monkeypatch.setattr("pwd.getpwuid", dict[int, str]().__getitem__)
    for name, value in os.environ.items():
        monkeypatch.setenv(name, value)  # also undoes what is set meanwhile
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("os.access", lambda *given: False)

    prepare_environment()

    assert Path("~/ray_results").expanduser() == Path("/ray_results")
    assert os.environ["KERAS_HOME"] == os.devnull


@pytest.mark.parametrize("address", ["somewhere", "host:", ":80", "host:99999", "host:x"])
def test_what_is_no_address_is_refused(address):
    with pytest.raises(InputError, match=f"RAY_ADDRESS needs host:port.* got '{address}'"):
        check_answers(address)


@pytest.mark.parametrize("address", ["", "ray://nowhere.invalid:1"])
def test_what_only_ray_can_resolve_is_left_to_it(address):
    check_answers(address)


def test_an_address_where_something_listens_is_taken():
    with socket.create_server(("127.0.0.1", 0)) as server:
        check_answers(f"127.0.0.1:{server.getsockname()[1]}")


def test_a_ray_that_cannot_be_found_is_bad_input(monkeypatch):
    ray = pytest.importorskip("ray")

    def fail(address, **arguments):
        raise ConnectionError("Could not find any running Ray instance.\nMore.")

    monkeypatch.setattr(ray, "init", fail)
    monkeypatch.setenv("RAY_ADDRESS", "ray://h:1")
    with pytest.raises(InputError, match=r"got 'ray://h:1' \(Could not find any .* instance\.\)$"):
        search.cluster.session._init({})


def test_only_a_folder_that_hides_ours_is_kept_from_the_workers(tmp_path, monkeypatch):
    prepare_environment()
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    study, folder = stub_study(tmp_path), RayFolder(root=tmp_path, lock_fd=-1)
    monkeypatch.chdir(tmp_path)
    assert "job_config" not in search.cluster.session._arguments(study, folder)

    (tmp_path / "search").mkdir()

    job = search.cluster.session._arguments(study, folder)["job_config"]
    assert job._runtime_env_has_working_dir()


def test_a_ray_whose_folder_others_can_enter_is_ended_and_told_of(tmp_path, monkeypatch):
    ray = pytest.importorskip("ray")
    ended = []

    def start(arguments, *, warms):
        Path(arguments["_temp_dir"]).parent.chmod(0o777)

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(search.cluster.session, "_init", start)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "shutdown", lambda: ended.append(True))
    with (
        pytest.raises(SearchError, match=r"folder .* of a Ray of ours .* got .* with mode 777"),
        ray_for(stub_study(tmp_path), str, Flag()),
    ):
        pass

    assert ended == [True]


def test_a_process_runs_one_study_at_a_time(tmp_path):
    one, other = stub_study(tmp_path, name="one"), stub_study(tmp_path, name="other")

    with (
        _one_at_a_time(one),
        pytest.raises(SearchError, match="already runs study 'one'; run 'other' after it"),
        _one_at_a_time(other),
    ):
        pass
    with _one_at_a_time(other):
        pass
