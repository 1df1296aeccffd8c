"""Every point at which the study's storage can be cut: nothing acknowledged is ever lost."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import search.record.epochs
import search.record.history
from search.errors import InputError, SearchError
from search.record.decisions import Decision, Opened
from search.record.epochs import EpochFiles
from search.record.log import StudyLog
from search.record.ownership import claim
from search.record.reader import StudyReader
from tests.support.faulty_files import (
    POWER_CUTS,
    Disk,
    MemoryFiles,
    after_power_cut,
    copy_disk,
    empty_disk,
)
from tests.support.scripted_study import (
    EPOCHS,
    FOLDER,
    PREPARED,
    STATES,
    STUDY,
    Acknowledged,
    Player,
    measured,
    table,
)
from trainables.storage.local import LocalFolder
from trainables.storage.store import Store

pytestmark = pytest.mark.usefixtures("small_packs")


@dataclass
class CrashPoint:
    operation: str
    disk: Disk
    acknowledged: Acknowledged


def crash_points(files_type: type[MemoryFiles] = MemoryFiles) -> list[CrashPoint]:
    """Play the script once and keep the disk as it is before, and within, each operation."""
    points: list[CrashPoint] = []
    files = files_type(empty_disk())
    player = Player(files)

    def watch(operation: str) -> None:
        disk, acknowledged = copy_disk(files.disk), player.acknowledged.copy()
        points.append(CrashPoint(operation, disk, acknowledged))

    files.watch = watch
    player.play()
    watch("end")
    return points


def check_recovery(point: CrashPoint, how: str, seed: int, files_type=MemoryFiles) -> None:
    """Start again after a cut: read, take over, finish, lose power, read again."""
    disk = copy_disk(point.disk)
    if how != "killed":
        disk = after_power_cut(disk, how, seed)
    files = files_type(disk)
    check_acknowledged(files, point.acknowledged)
    if how == "killed":
        check_taken_over(files_type(copy_disk(files.disk)), files_type)

    player = Player(files)
    player.finish()

    for last in (files, files_type(after_power_cut(files.disk, "names_lost"))):
        check_finished(last)
        check_acknowledged(last, point.acknowledged, is_over=True)
    assert not [path for path in files.tree() if "/.tmp-" in path]


def check_taken_over(files: MemoryFiles, files_type: type[MemoryFiles]) -> None:
    """What a new owner has seen when it opened the study is there after a power cut."""
    store = Store(FOLDER, files=files)
    with claim(store) as ownership:
        StudyLog.create(store, STUDY)
        log = StudyLog.open_for_writing(store, ownership, budget={})
    seen = log.history()

    left = files_type(after_power_cut(files.disk, "names_lost"))

    assert StudyReader(Store(FOLDER, files=left)).read() == seen
    with claim(Store(FOLDER, files=left)) as next_ownership:
        assert next_ownership.generation == ownership.generation + 1


def check_acknowledged(
    files: MemoryFiles, acknowledged: Acknowledged, *, is_over: bool = False
) -> None:
    store = Store(FOLDER, files=files)
    try:
        history = StudyReader(store).read()
    except InputError:
        assert not acknowledged.is_created
        return
    assert history.study == STUDY
    assert history.prepared == PREPARED or not acknowledged.is_prepared
    check_decisions(store, acknowledged, is_over=is_over)
    found = {(m.number, m.epoch): m for trial in history.trials for m in trial.measurements}
    for trial in history.trials:
        epochs = [m.epoch for m in trial.measurements]
        assert epochs == list(range(1, len(epochs) + 1))
    for one in acknowledged.measurements:
        assert found[one.number, one.epoch].attempt >= one.attempt
    for one in found.values():  # also that none was written too late
        assert one == measured(one.number, one.attempt, one.epoch, one.generation)


def check_decisions(store: Store, acknowledged: Acknowledged, *, is_over: bool) -> None:
    """What was acknowledged is logged, in order; beyond it at most what was under way."""
    logged: list[Decision] = []
    for _, segment in StudyReader(store).segments.read():
        logged.extend(d for d in segment if not isinstance(d, Opened))
    known = len(acknowledged.decisions)
    assert logged[:known] == acknowledged.decisions
    if not is_over and len(logged) > known:
        pending = acknowledged.pending
        assert isinstance(pending, tuple)
        assert [type(d) for d in logged[known:]] == [type(d) for d in pending]


def check_finished(files: MemoryFiles) -> None:
    history = StudyReader(Store(FOLDER, files=files)).read()
    assert history.is_closed
    assert {t.number: t.state for t in history.trials} == STATES
    assert table(history) == [
        (number, STATES[number], epoch, dict(measured(number, 1, epoch, 1).losses))
        for number, epochs in EPOCHS.items()
        for epoch in range(1, epochs + 1)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["killed", *POWER_CUTS])
def test_nothing_acknowledged_is_lost_at_any_crash_point(how: str) -> None:
    points = crash_points()
    seen: set[object] = set()

    for seed, point in enumerate(points):
        left = point.disk if how == "killed" else after_power_cut(point.disk, how, seed)
        state = (fingerprint(left), repr(point.acknowledged))
        if state in seen:
            continue  # the operation before changed nothing that outlives this cut
        seen.add(state)
        try:
            check_recovery(point, how, seed)
        except (AssertionError, SearchError, KeyError) as error:
            pytest.fail(f"{how} at operation {seed} ({point.operation}): {error!r}")

    assert len(points) >= 250  # times four ways to be cut
    assert Counter(p.operation for p in points)["torn write"] >= 30


def fingerprint(disk: Disk) -> tuple[object, ...]:
    """Return what is on a disk, whatever the numbers of its inodes."""
    return tuple(
        (inode.data, inode.durable_data, tuple(inode.entries), tuple(inode.durable_entries))
        for _, inode in sorted(disk.items())
        if inode.is_folder or inode.data
    )


class WithoutFileSync(MemoryFiles):
    def sync(self, handle: int) -> None:
        self.watch("sync")


class WithoutFolderSync(MemoryFiles):
    def sync_folder(self, path: str) -> None:
        self.watch("sync_folder")


def write_in_place(folder: LocalFolder, path: str, data: bytes) -> bool:
    target = folder.root / path
    folder._settle(target.parent)
    if folder.files.exists(str(target)):
        return False
    folder._fill(folder.files.create(str(target)), data)
    folder.files.sync_folder(str(target.parent))
    return True


def make_folders_only(folder: LocalFolder, path: Path) -> None:
    for parent in reversed([path, *path.parents]):
        if not folder.files.exists(str(parent)):
            folder.files.make_folder(str(parent))


def nothing(*_: object) -> None: ...


def always(*_: object) -> bool:
    return True


SABOTAGE = [
    pytest.param([(LocalFolder, "put_new", write_in_place)], "killed", id="no_temporary_name"),
    pytest.param([(LocalFolder, "_settle", make_folders_only)], "names_lost", id="folders"),
    pytest.param([(LocalFolder, "settle", nothing)], "killed", id="new_owner_syncs"),
    pytest.param([(EpochFiles, "_fold", nothing)], "killed", id="fold_before_delete"),
    pytest.param(
        [(search.record.history, "counts", always), (search.record.epochs, "counts", always)],
        "killed",
        id="late_writes",
    ),
]


@pytest.mark.parametrize(
    ("files_type", "how"),
    [
        pytest.param(WithoutFileSync, "content_lost", id="file"),
        pytest.param(WithoutFolderSync, "names_lost", id="folder"),
    ],
)
def test_a_missing_sync_is_found(files_type: type[MemoryFiles], how: str) -> None:
    assert is_red(lambda: crash_points(files_type), how, files_type)


@pytest.mark.slow
@pytest.mark.parametrize(("parts", "how"), SABOTAGE)
def test_a_missing_precaution_is_found(
    parts: list[tuple[object, str, Callable[..., object]]],
    how: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for part in parts:
        monkeypatch.setattr(*part)

    assert is_red(crash_points, how)


def is_red(points: Callable[[], list[CrashPoint]], how: str, files_type=MemoryFiles) -> bool:
    try:
        for seed, point in enumerate(points()):
            check_recovery(point, how, seed, files_type)
    except (AssertionError, SearchError, KeyError):
        return True
    return False
