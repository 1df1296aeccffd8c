"""The private folder of a Ray of ours: where it lies, who may enter, and what is swept away."""

import fcntl
import os
import platform
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from search.cluster import ray_folder
from search.cluster.ray_folder import BASE_BYTES, NAME, RayFolder, places, private_folder, sweep
from search.cluster.watchdog import LOCK
from search.errors import InputError, SearchError
from tests.support.processes import kill

OTHER = 65534
needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root gives a folder away")


@pytest.fixture
def base(monkeypatch):
    """Make a folder that ours lie in; no other is looked at."""
    made = Path(tempfile.mkdtemp(prefix="b", dir="/tmp"))
    monkeypatch.setenv("RAY_TMPDIR", str(made))
    monkeypatch.delenv("TMPDIR", raising=False)
    monkeypatch.setattr(ray_folder, "FALLBACK", str(made))
    yield made
    shutil.rmtree(made, ignore_errors=True)


def mode(path):
    return stat.S_IMODE(path.lstat().st_mode)


def test_what_ray_opens_to_all_lies_in_a_folder_that_only_its_user_enters(base):
    with private_folder() as folder:
        folder.temp.mkdir()
        folder.temp.chmod(0o777)  # as Ray does
        folder.check()

        assert folder.root.parent == base
        assert folder.temp.parent == folder.root
        assert (mode(folder.root), folder.root.stat().st_uid) == (0o700, os.getuid())
        with open(folder.root / LOCK) as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert not os.get_inheritable(folder.lock_fd)
    assert os.listdir(base) == []


def test_a_folder_that_was_opened_to_others_is_told_of(base):
    with private_folder() as folder:
        folder.root.chmod(0o755)

        with pytest.raises(
            SearchError, match=r"needs to be a folder .* with mode 700, got .* 755"
        ):
            folder.check()


@needs_root
def test_a_folder_that_another_user_has_is_told_of(base):
    with private_folder() as folder:
        os.chown(folder.root, OTHER, OTHER)

        with pytest.raises(SearchError, match=f"got a folder of user {OTHER} with mode 700"):
            folder.check()


def test_a_link_in_the_place_of_the_folder_is_told_of(base):
    (base / "elsewhere").mkdir(mode=0o700)
    (base / "link").symlink_to("elsewhere")

    with pytest.raises(SearchError, match="got no folder of user"):
        RayFolder(root=base / "link", lock_fd=-1).check()


def spoilt(base, how):
    """Return a folder that is no place for ours."""
    folder = base / "bad"
    folder.mkdir()
    if how == "long":
        folder = folder / ("x" * BASE_BYTES)
    elif how == "file":
        folder = folder / "file"
        folder.touch()
    elif how == "open":
        folder.chmod(0o777)
    elif how == "open_above":
        folder.chmod(0o777)
        folder = folder / "s"
        folder.mkdir()
    elif how == "group":
        os.chown(folder, -1, OTHER)
        folder.chmod(0o775)
    elif how == "owner":
        os.chown(folder, OTHER, -1)
    return folder


@pytest.mark.parametrize(
    ("how", "message"),
    [
        pytest.param("long", f"is longer than {BASE_BYTES} bytes", id="long"),
        pytest.param("file", "is no folder", id="file"),
        pytest.param("open", "where others may rename (mode 777)", id="open"),
        pytest.param("open_above", "where others may rename (mode 777)", id="open_above"),
        pytest.param("group", "others may rename (mode 775)", marks=needs_root, id="group"),
        pytest.param("owner", f"of user {OTHER}", marks=needs_root, id="owner"),
    ],
)
def test_a_place_that_is_too_long_or_where_others_may_rename_is_passed_over(
    base, monkeypatch, how, message
):
    folder = spoilt(base, how)
    monkeypatch.setenv("RAY_TMPDIR", str(folder))
    with private_folder() as private:
        assert private.root.parent == base

    monkeypatch.setattr(ray_folder, "FALLBACK", str(folder))
    with (
        pytest.raises(InputError, match=rf"RAY_TMPDIR needs a folder .*{re.escape(message)}"),
        private_folder(),
    ):
        pass


def test_a_place_where_only_its_owner_renames_a_folder_is_taken(base):
    base.chmod(0o1777)

    with private_folder() as folder:
        assert folder.root.parent == base


@pytest.mark.parametrize(
    ("group", "members", "is_taken"),
    [
        pytest.param("ana", [], True, id="of_one"),
        pytest.param("ana", ["ana"], True, id="of_one_who_is_listed"),
        pytest.param("ana", ["ben"], False, id="of_two"),
        pytest.param("staff", [], False, id="of_all"),
    ],
)
def test_a_place_where_the_users_first_group_may_rename_is_taken_if_nobody_else_is_in_it(
    base, monkeypatch, group, members, is_taken
):
    monkeypatch.setattr("pwd.getpwuid", lambda user: SimpleNamespace(pw_name="ana"))
    entry = SimpleNamespace(gr_name=group, gr_mem=members)
    monkeypatch.setattr("grp.getgrgid", lambda group: entry)
    base.chmod(0o775)

    assert (places()[0] == (base, None)) is is_taken


def test_the_first_variable_comes_first_and_a_folder_it_names_is_made(base, monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", str(base / "a"))
    monkeypatch.setenv("TMPDIR", str(base / "b"))
    with private_folder() as folder:
        assert folder.root.parent == base / "a"

    monkeypatch.delenv("RAY_TMPDIR")
    with private_folder() as folder:
        assert folder.root.parent == base / "b"


def test_a_link_to_a_place_is_judged_and_taken_by_what_it_leads_to(base, monkeypatch):
    (base / "real").mkdir()
    (base / "link").symlink_to("real")
    monkeypatch.setenv("RAY_TMPDIR", str(base / "link"))

    with private_folder() as folder:
        assert folder.root.parent == base / "real"


KEPT = """
import os, sys
from search.cluster.ray_folder import private_folder
with private_folder() as folder:
    folder.temp.mkdir()
    (folder.temp / "file").touch()
    print(folder.root, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other_run(base):
    """Run another process that has a folder; it may end by itself, or be killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", KEPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    root = Path(process.stdout.readline().strip())
    yield process, root
    process.kill()
    process.communicate()


def test_a_run_sweeps_what_a_killed_one_left_and_never_what_a_live_one_has(base, other_run):
    process, root = other_run
    with private_folder() as mine:
        assert sorted(base.iterdir()) == sorted([root, mine.root])
        sweep()
        assert (root / "r" / "file").exists()

    kill(process.pid)
    process.wait()
    with private_folder() as mine:
        assert list(base.iterdir()) == [mine.root]


def test_a_process_that_inherits_the_lock_keeps_the_folder_when_the_first_one_ends(base):
    folder = ray_folder._make()
    heir = subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[folder.lock_fd]
    )
    os.close(folder.lock_fd)
    sweep()
    assert folder.root.exists()

    heir.communicate(b"\n")
    sweep()
    assert not folder.root.exists()


def left(base, name="twohead-abcdefgh"):
    """Make what a killed run leaves."""
    root = base / name
    (root / "r").mkdir(parents=True)
    root.chmod(0o700)
    (root / LOCK).write_text(platform.node())
    return root


def test_what_a_killed_run_leaves_is_known_by_its_name(base):
    root = left(base)

    assert NAME.fullmatch(root.name)
    sweep()
    assert not root.exists()


def without_lock(root):
    (root / LOCK).unlink()


def with_linked_lock(root):
    (root / LOCK).rename(root / "lock")
    (root / LOCK).symlink_to("lock")


def of_another_machine(root):
    (root / LOCK).write_text(f"{platform.node()}2")


def behind_a_link(root):
    root.rename(root.with_name("elsewhere"))
    root.symlink_to("elsewhere")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda root: root.chmod(0o755), id="open"),
        pytest.param(lambda root: os.chown(root, OTHER, OTHER), marks=needs_root, id="owner"),
        pytest.param(lambda root: root.rename(root.with_name("twohead-pictures")), id="by_chance"),
        pytest.param(lambda root: root.rename(root.with_name("twohead-tune-abc")), id="name"),
        pytest.param(without_lock, id="just_made"),
        pytest.param(of_another_machine, id="machine"),
        pytest.param(with_linked_lock, id="linked_lock"),
        pytest.param(behind_a_link, id="link"),
    ],
)
def test_what_is_not_surely_left_by_a_killed_run_stays(base, change, request):
    root = left(base)
    if "by_chance" in request.node.name:
        without_lock(root)
    change(root)
    sweep()

    assert len(list(base.glob("**/r"))) == 1


def test_a_sweep_follows_no_link_that_lies_in_what_it_removes(base):
    (base / "kept").mkdir()
    (base / "kept" / "file").touch()
    root = left(base)
    (root / "folder").symlink_to(base / "kept")
    (root / "r" / "folder").symlink_to(base / "kept")

    sweep()

    assert not root.exists()
    assert (base / "kept" / "file").exists()


TURNS = """
from search.cluster.ray_folder import private_folder
for _ in range(100):
    with private_folder() as folder:
        folder.temp.mkdir()
        folder.check()
"""


@pytest.mark.slow
def test_runs_that_begin_and_end_at_once_never_sweep_each_others_folder(base):
    processes = [subprocess.Popen([sys.executable, "-c", TURNS]) for _ in range(4)]

    assert [process.wait(120) for process in processes] == [0] * 4
    assert os.listdir(base) == []
