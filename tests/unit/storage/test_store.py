import errno
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pyarrow import fs

from tests.support.faulty_files import (
    POWER_CUTS,
    MemoryFiles,
    after_power_cut,
    copy_disk,
    empty_disk,
)
from trainables.errors import InputError, StorageError, StorageFull
from trainables.storage.local import LocalFiles
from trainables.storage.store import Store


def local_store(folder: Path) -> Store:
    return Store(folder / "study")


def remote_store(folder: Path) -> Store:
    return Store("mock://bucket/study", filesystem=fs._MockFileSystem())


def mounted_store(folder: Path) -> Store:
    filesystem = fs.SubTreeFileSystem(str(folder), fs.LocalFileSystem())
    return Store("shared://place/study?region=x", filesystem=filesystem)


def memory_store(folder: Path) -> Store:
    return Store("/study", files=MemoryFiles(empty_disk()))


@pytest.fixture(
    params=[
        pytest.param(local_store, id="local"),
        pytest.param(memory_store, id="memory"),
        pytest.param(remote_store, id="remote"),
        pytest.param(mounted_store, id="mounted"),
    ]
)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    make: Callable[[Path], Store] = request.param
    return make(tmp_path)


def test_put_replaces_what_get_returns(store: Store) -> None:
    store.put("a/b.json", b"old")
    store.put("a/b.json", b"new")

    assert store.get("a/b.json") == b"new"
    assert store.list() == ["a/b.json"]


def test_put_new_creates_once(store: Store) -> None:
    assert store.put_new("a/b.json", b"first")
    assert not store.put_new("a/b.json", b"second")

    assert store.get("a/b.json") == b"first"
    assert store.list() == ["a/b.json"]


@pytest.mark.parametrize("path", ["absent", "absent/deeper", "a/b.json/below"])
def test_get_of_nothing_raises_file_not_found(store: Store, path: str) -> None:
    store.put("a/b.json", b"")

    with pytest.raises(FileNotFoundError, match=r"cannot read .*: there is no such file"):
        store.get(path)
    assert not store.exists(path)


def test_list_is_sorted_recursive_and_relative(store: Store) -> None:
    for path in ("b/2", "b/10", "a", "b/c/d"):
        store.put(path, b"x")

    assert store.list() == ["a", "b/10", "b/2", "b/c/d"]
    assert store.list("b") == ["b/10", "b/2", "b/c/d"]
    assert store.list("nowhere") == []


def test_sizes_are_those_of_all_objects_below_a_folder(store: Store) -> None:
    for path, data in (("b/2", b"xy"), ("a", b"x"), ("b/c/d", b"")):
        store.put(path, data)

    assert store.sizes("b") == {"b/2": 2, "b/c/d": 0}
    assert store.sizes("nowhere") == {}


def test_folders_are_those_directly_inside(store: Store) -> None:
    for path in ("b/2", "c/d/3", "a", "b/e/4"):
        store.put(path, b"x")

    assert store.folders() == ["b", "c"]
    assert store.child("c").folders() == ["d"]
    assert store.child("nowhere").folders() == []


@pytest.mark.parametrize(
    ("path", "left"),
    [
        pytest.param("a", ["b/1", "b/c/2"], id="file"),
        pytest.param("b", ["a"], id="folder"),
        pytest.param("nowhere/x", ["a", "b/1", "b/c/2"], id="missing"),
    ],
)
def test_delete_removes_files_and_folders(store: Store, path: str, left: list[str]) -> None:
    for name in ("a", "b/1", "b/c/2"):
        store.put(name, b"x")

    store.delete(path)

    assert store.list() == left
    store.put("b/1", b"again")
    assert store.get("b/1") == b"again"


def test_a_child_is_the_folder_inside(store: Store) -> None:
    child = store.child("trials").child("000001")
    child.put("x", b"1")
    child.make()
    child.settle("nothing")
    child.sweep()

    assert store.list() == ["trials/000001/x"]
    assert child.list() == ["x"]
    assert child.uri.endswith("/trials/000001") or child.uri.endswith("/trials/000001?region=x")
    assert (child.root is None) == (store.root is None)


@pytest.mark.parametrize(
    "path", ["", "/etc/x", "../x", "a/../b", "a//b", "./a", "a/", "a\0b", ".tmp-1", "a/.tmp-1/b"]
)
def test_names_that_leave_the_folder_are_refused(store: Store, path: str) -> None:
    with pytest.raises(InputError, match="a store"):
        store.put(path, b"")


@pytest.mark.parametrize("uri", ["plain", "file://{}/of/a%20file", "~/home"])
def test_local_forms_name_an_absolute_folder(uri: str, tmp_path: Path) -> None:
    store = Store(uri.format(tmp_path))

    assert store.root is not None
    assert store.root.is_absolute()
    assert store.uri == str(store.root)
    assert "%20" not in store.uri


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        pytest.param("", "needs a path or a URI", id="empty"),
        pytest.param("nonsense://x/y", "that pyarrow.fs opens", id="scheme"),
        pytest.param("file://otherhost/x", "file:///absolute/path", id="host"),
    ],
)
def test_places_that_cannot_be_opened_are_refused(uri: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Store(uri)


def test_messages_hold_no_credentials() -> None:
    with pytest.raises(InputError, match="without a password or key") as caught:
        Store("s3://key:canary@bucket/study?token=canary", filesystem=fs._MockFileSystem())

    assert "canary" not in str(caught.value)
    assert repr(Store("file:///study")) == "Store('/study')"


def test_a_store_survives_pickling(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put("a", b"1")

    assert pickle.loads(pickle.dumps(store)).get("a") == b"1"


def test_a_local_store_does_not_import_pyarrow() -> None:
    code = (
        "import sys, trainables.storage.store as s; s.Store('x'); print('pyarrow' in sys.modules)"
    )

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert found.stdout.strip() == "False", found.stderr


class Failing(LocalFiles):
    """Fails one call with a given error number."""

    def __init__(self, call: str, code: int) -> None:
        self.call, self.code = call, code

    def __getattribute__(self, name: str) -> object:
        if name not in {"call", "code"} and name == self.call:
            code = self.code

            def fail(*_: object) -> None:
                raise OSError(code, os.strerror(code))

            return fail
        return super().__getattribute__(name)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
@pytest.mark.parametrize("call", ["create", "write", "sync", "rename", "make_folder"])
def test_a_full_disk_is_storage_full_and_leaves_nothing(
    call: str, code: int, tmp_path: Path
) -> None:
    Store(tmp_path).put("a", b"before")
    store = Store(tmp_path, files=Failing(call, code))

    with pytest.raises(StorageFull, match=r"cannot write .*/new/b: no room left"):
        store.put("new/b", b"x" * 100)

    assert Store(tmp_path).list() == ["a"]
    assert not list(tmp_path.rglob(".tmp-*"))


@pytest.mark.parametrize(
    "call", ["create", "write", "sync", "link", "sync_folder", "read", "scan"]
)
def test_other_errors_are_storage_errors_that_name_the_place(call: str, tmp_path: Path) -> None:
    Store(tmp_path).put("a", b"before")
    store = Store(tmp_path, files=Failing(call, errno.EIO))

    with pytest.raises(StorageError, match=rf"cannot \w+ {tmp_path}"):
        _ = store.put_new("b", b"x"), store.get("a"), store.list()
    assert not list(tmp_path.rglob(".tmp-*"))


def test_a_file_in_place_of_a_folder_is_a_storage_error(store: Store) -> None:
    store.put("a", b"x")

    with pytest.raises(StorageError, match="cannot write"):
        store.put("a/b", b"x")


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP])
def test_put_new_works_where_there_are_no_hard_links(code: int, tmp_path: Path) -> None:
    store = Store(tmp_path, files=Failing("link", code))

    assert store.put_new("a", b"1")
    assert not store.put_new("a", b"2")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_link_that_was_made_but_reported_as_existing_counts_as_made(tmp_path: Path) -> None:
    class Twice(LocalFiles):
        def link(self, source: str, target: str) -> None:
            super().link(source, target)
            super().link(source, target)

    assert Store(tmp_path, files=Twice()).put_new("a", b"1")


def test_a_folder_that_another_process_deleted_is_made_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put("a/b/1", b"x")
    Store(tmp_path).delete("a")

    store.put("a/b/2", b"y")

    assert store.list() == ["a/b/2"]


def test_deleting_a_folder_does_not_follow_links(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "precious").touch()
    store = Store(tmp_path / "study")
    store.put("a/b", b"")
    (tmp_path / "study" / "a" / "link").symlink_to(tmp_path / "outside")

    store.delete("a")

    assert (tmp_path / "outside" / "precious").exists()
    assert store.list() == []


def test_sweep_removes_only_what_interrupted_writers_left(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put("a/b", b"")
    (tmp_path / "a" / f".tmp-{'1' * 32}").touch()
    (tmp_path / f".tmp-{'2' * 32}").mkdir()
    (tmp_path / f".tmp-{'2' * 32}" / "c").touch()
    (tmp_path / ".tmp-of-the-user").mkdir()
    (tmp_path / ".tmp-of-the-user" / "c").touch()

    assert store.list() == ["a/b"]
    store.sweep()

    left = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*"))
    assert left == [".tmp-of-the-user", ".tmp-of-the-user/c", "a", "a/b"]


@pytest.mark.parametrize(
    ("name", "depth"),
    [
        pytest.param(f".tmp-{'1' * 32}", 1_500, id="left_behind"),
        pytest.param("foreign", 3_000, id="too_deep_for_any_path"),
    ],
)
def test_sweep_is_not_stopped_by_how_deep_folders_lie(
    name: str, depth: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in (name, *["d"] * depth):  # in steps, as a path may have 4,096 bytes
        os.mkdir(folder)
        os.chdir(folder)
    os.chdir(tmp_path)
    (tmp_path / f".tmp-{'2' * 32}").touch()

    try:
        Store(tmp_path).sweep()
        left = os.listdir(tmp_path)
    finally:  # what pytest itself removes folders with is recursive
        subprocess.run(["rm", "-rf", str(tmp_path / name)], check=True)

    assert left == ([] if name.startswith(".tmp-") else [name])


@pytest.mark.parametrize("call", ["rename", "link"])
def test_a_write_survives_that_another_process_sweeps_its_temporary_file(
    call: str, tmp_path: Path
) -> None:
    class Swept(LocalFiles):
        sweeps = 1

        def rename(self, source: str, target: str) -> None:
            self.sweep("rename")
            super().rename(source, target)

        def link(self, source: str, target: str) -> None:
            self.sweep("link")
            super().link(source, target)

        def sweep(self, name: str) -> None:
            if name == call and self.sweeps:
                self.sweeps -= 1
                Store(tmp_path).sweep()

    store = Store(tmp_path, files=Swept())
    store.put("a", b"1")

    assert store.put_new("b", b"2")
    assert (store.get("a"), store.get("b")) == (b"1", b"2")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


@pytest.mark.parametrize("how", POWER_CUTS)
def test_a_deleted_folder_is_there_whole_or_not_at_all(how: str) -> None:
    files = MemoryFiles(empty_disk())
    store = Store("/study", files=files)
    names = ["checkpoints/1/manifest", "checkpoints/1/weights"]
    for name in names:
        store.put(name, b"x")
    disks = []
    files.watch = lambda operation: disks.append(copy_disk(files.disk))

    store.delete("checkpoints/1")
    files.watch("end")

    for seed, disk in enumerate(disks):
        left = Store("/study", files=MemoryFiles(after_power_cut(disk, how, seed)))
        assert left.list() in ([], names)
    assert len(disks) >= 5
