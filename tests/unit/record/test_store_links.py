"""A local store reads plain files alone: it follows no link and never waits for a pipe."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from search.record.ownership import claim
from search.results.load import load
from tests.support.finished_study import write_study
from trainables.errors import OversizedObject, StorageError
from trainables.storage.local import is_foreign
from trainables.storage.store import Store


def as_pipe(path: Path) -> None:
    os.mkfifo(path)


def as_link(path: Path) -> None:
    path.symlink_to("/etc/passwd")


def as_device(path: Path) -> None:
    if os.geteuid():
        pytest.skip("only root makes devices")
    os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5))  # /dev/zero, which never ends


def as_socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # a socket's path may have 107 bytes
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)
    os.chdir(here)


def as_folder(path: Path) -> None:
    path.mkdir()


KINDS = [
    pytest.param(as_pipe, "it is a pipe, and only plain files", id="pipe"),
    pytest.param(as_link, "it is a symbolic link, and only plain files", id="link"),
    pytest.param(as_device, "it is a device, and only plain files", id="device"),
    pytest.param(as_socket, "it is a socket, and only plain files", id="socket"),
    pytest.param(as_folder, "it is a folder, where a file is needed", id="folder"),
]


@pytest.mark.parametrize(("make", "message"), KINDS)
def test_what_is_no_plain_file_is_refused_in_words(
    make: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    make(tmp_path / "a")

    with pytest.raises(StorageError, match=f"cannot read .*a: {message}"):
        Store(tmp_path).get("a")


@pytest.mark.parametrize(("make", "message"), KINDS)
@pytest.mark.parametrize("name", ["study.json", "prepared.json", "log/000001-000000.json"])
def test_a_study_with_a_record_that_is_no_plain_file_is_refused_in_words(
    name: str, make: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    folder = Path(write_study(tmp_path).folder)
    (folder / name).unlink()
    make(folder / name)

    with pytest.raises(StorageError, match=message):
        load(str(folder))


@pytest.mark.parametrize("name", ["log", "trials", "epochs", "owner", "checkpoints/000001"])
def test_a_folder_that_is_a_link_is_never_entered(name: str, tmp_path: Path) -> None:
    (tmp_path / "elsewhere" / "deep").mkdir(parents=True)
    (tmp_path / "elsewhere" / "deep" / "x").write_bytes(b"secret")
    store = Store(tmp_path / "study")
    store.put(f"{name}/own", b"")
    (tmp_path / "study" / name / "own").unlink()
    (tmp_path / "study" / name).rmdir()
    (tmp_path / "study" / name).symlink_to(tmp_path / "elsewhere")
    again = Store(tmp_path / "study")

    for use in (
        lambda: again.list(name),
        lambda: again.get(f"{name}/deep/x"),
        lambda: again.exists(f"{name}/deep/x"),
        lambda: again.put(f"{name}/deep/y", b""),
        lambda: again.put_new(f"{name}/y", b""),
        lambda: again.delete(f"{name}/deep"),
        lambda: again.settle(f"{name}/deep"),
        lambda: again.child(name).list(),
        lambda: again.child(name).sweep(),
        lambda: again.child(name).make(),
    ):
        with pytest.raises(StorageError, match="it is a symbolic link"):
            use()
    assert again.list() == [name]
    assert [p.name for p in (tmp_path / "elsewhere" / "deep").iterdir()] == ["x"]


def test_a_link_is_deleted_and_not_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x").touch()
    store = Store(tmp_path / "study")
    store.make()
    (tmp_path / "study" / "a").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "study" / f".tmp-{'0' * 32}").symlink_to(tmp_path / "elsewhere")

    store.delete("a")
    store.sweep()

    assert not list((tmp_path / "study").iterdir())
    assert (tmp_path / "elsewhere" / "x").exists()


def test_the_folder_that_a_user_names_may_be_a_link(tmp_path: Path) -> None:
    write_study(tmp_path / "big_disk")
    (tmp_path / "studies").symlink_to(tmp_path / "big_disk")
    (tmp_path / "mine").symlink_to(tmp_path / "big_disk" / "digits")

    assert len(load(str(tmp_path / "studies" / "digits")).trials) == 6
    assert len(load(str(tmp_path / "mine")).trials) == 6
    assert Store(tmp_path / "studies").folders() == ["digits"]
    with claim(Store(tmp_path / "mine")) as ownership:
        assert ownership.generation == 2


def test_a_file_where_a_folder_is_needed_is_no_empty_folder(tmp_path: Path) -> None:
    folder = Path(write_study(tmp_path).folder)
    for segment in (folder / "log").iterdir():
        segment.unlink()
    (folder / "log").rmdir()
    (folder / "log").touch()

    with pytest.raises(StorageError, match=r"cannot list .*log: its folder is gone or is a file"):
        load(str(folder))


def test_what_is_longer_than_a_record_can_be_is_refused_unread(tmp_path: Path) -> None:
    study = Path(write_study(tmp_path).folder)
    with (study / "prepared.json").open("wb") as file:
        file.truncate(5 * 2**40)  # a hole: it takes no room, and no memory has any for it

    with pytest.raises(OversizedObject, match=r"prepared.json: it has 5497558138880 bytes, more"):
        load(str(study))


FOREIGN = [
    *(".DS_Store", ".nfs0000a1", "Thumbs.db", "desktop.ini"),
    *("000001.json~", ".#x", "#x#", "._x", ".git/config"),
]


def test_other_programs_files_are_ignored_anywhere_in_a_study(tmp_path: Path) -> None:
    study = Path(write_study(tmp_path).folder)
    before = load(str(study))
    for folder in ("", "log", "epochs", "trials", "owner", "lease", "runs", "recycled"):
        for name in FOREIGN:
            (study / folder / name).parent.mkdir(parents=True, exist_ok=True)
            (study / folder / name).write_bytes(b"anything")

    result = load(str(study))

    assert all(is_foreign(name.split("/")[0]) for name in FOREIGN)
    assert (result.trials, result.runs) == (before.trials, before.runs)
    with claim(Store(study)) as ownership:
        assert ownership.generation == 2
