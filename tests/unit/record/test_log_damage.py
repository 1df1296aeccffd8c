"""Changed, foreign and missing objects are named, never believed."""

import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import search.record.epochs
import search.record.segments
from search.errors import InputError, SearchError, StudyDiffers
from search.record.decisions import Attempted, Closed, Ended
from search.record.log import StudyLog
from search.record.ownership import claim
from search.record.reader import StudyReader
from tests.support.faulty_files import Disk, MemoryFiles, copy_disk, empty_disk
from tests.support.scripted_study import (
    FOLDER,
    STUDY,
    Player,
    ask,
    measure,
    memory_store,
    open_log,
    reopen,
    small_packs,
)
from trainables.storage import sealed_json as sealing
from trainables.storage.sealed_json import DamagedRecord, NewerFormat, seal
from trainables.storage.store import Store


@pytest.fixture
def store() -> Store:
    return memory_store()


def test_creating_the_same_study_again_is_no_error(store: Store) -> None:
    assert StudyLog.create(store, {"name": "a", "seed": 0})
    assert not StudyLog.create(store, {"seed": 0, "name": "a"})

    with pytest.raises(StudyDiffers, match=r"keys that differ: \['extra', 'seed'\]"):
        StudyLog.create(store, {"name": "a", "seed": 1, "extra": 2})


def test_where_there_is_no_study_is_said(store: Store) -> None:
    with pytest.raises(InputError, match=r"digits holds no study: there is no study\.json"):
        StudyReader(store).read()
    with pytest.raises(InputError, match="holds no study"):
        StudyLog.open_for_writing(store, claim(store))


def test_a_study_of_a_newer_version_is_refused(store: Store) -> None:
    store.put("study.json", seal("study", STUDY).replace(b'"format":1', b'"format":7'))

    with pytest.raises(NewerFormat, match=r"study\.json has format 7.*use a newer"):
        StudyReader(store).read()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        pytest.param("log/notes.json", "is no segment", id="log"),
        pytest.param("log/000002-000000-999999.json", "is no segment", id="pack"),
        pytest.param("trials/x.json", "is no trial", id="trials"),
        pytest.param("trials/000001-000500.json", "is no block", id="block"),
        pytest.param("epochs/000001.json", "is no measurement", id="epochs"),
    ],
)
def test_a_foreign_file_is_named(path: str, message: str, store: Store) -> None:
    open_log(store)
    store.put(path, b"")

    with pytest.raises(DamagedRecord, match=f"{re.escape(path)} {message}"):
        StudyReader(store).read()


@pytest.mark.parametrize(
    "path",
    [
        "log/.nfs1",
        "epochs/.DS_Store",
        "trials/.x",
        "owner/.y",
        "log/notes.txt",
        "log/000001-000000.json.bak",
        "epochs/plot.png",
        "trials/notes.md",
        "owner/notes.txt",
    ],
)
def test_files_of_other_programs_are_ignored(path: str, store: Store) -> None:
    log = open_log(store)
    store.put(path, b"x")

    assert reopen(log).history().generation == 2


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        pytest.param("log/000001-000002.json", "log/000001-000002.json is missing", id="hole"),
        pytest.param("log/000002-000000.json", "log/000002-000000.json is missing", id="opened"),
        pytest.param(
            "epochs/000001-000000-001-0002.json", "epoch 2 of trial 0 is missing", id="epoch"
        ),
    ],
)
def test_a_missing_record_is_named(
    lost: str, message: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StudyLog, "fold", lambda self: None)
    monkeypatch.setattr(search.record.segments.SegmentFiles, "pack", lambda *_, **__: None)
    log = open_log(store)
    ask(log, 0)
    measure(log, 0, 1, 1, 2)
    log.record(Ended(number=0, state="complete"))
    ask(log, 1)
    ask(reopen(log), 2)
    assert StudyReader(store).read().generation == 2

    store.delete(lost)

    with pytest.raises(DamagedRecord, match=re.escape(message)):
        StudyReader(store).read()


@pytest.mark.parametrize(
    ("path", "data"),
    [
        pytest.param("log/000001-000001.json", seal("segment", {}), id="empty"),
        pytest.param(
            "log/000001-000001.json",
            search.record.segments.encode_segments(1, 2, [[Closed()]]),
            id="of_another_place",
        ),
        pytest.param(
            "log/000001-000001.json",
            search.record.segments.encode_segments(1, 1, [[Attempted(number=0, attempt=2)]]),
            id="contradiction",
        ),
        pytest.param(
            "log/000002-000000.json",
            search.record.segments.encode_segments(2, 0, [[Closed()]]),
            id="does_not_begin_with_opened",
        ),
    ],
)
def test_a_segment_that_does_not_fit_is_refused(path: str, data: bytes, store: Store) -> None:
    open_log(store)
    store.put(path, data)

    with pytest.raises(DamagedRecord, match=r"000001|000002|generation 1"):
        StudyReader(store).read()


def damage_somewhere(disk: Disk, where: int, bit: int, cut: bool) -> Disk:
    """Flip one bit of all the bytes on a disk, or cut its file there."""
    damaged = copy_disk(disk)
    for inode in damaged.values():
        if where < len(inode.data):
            data = bytearray(inode.data)
            data[where] ^= 1 << bit
            inode.data = inode.data[:where] if cut else bytes(data)
            return damaged
        where -= len(inode.data)
    return damaged


@pytest.fixture(scope="module")
def unfinished() -> Disk:
    """A study with everything in single objects."""
    files = MemoryFiles(empty_disk())
    player = Player(files)
    player.first_owner()
    return files.disk


def reads_as_before_or_refuses(before: Disk, where: int, bit: int, cut: bool) -> bool:
    expected = StudyReader(memory_store(before)).read()
    files = MemoryFiles(damage_somewhere(before, where, bit, cut))
    try:
        return StudyReader(Store(FOLDER, files=files)).read() == expected
    except SearchError:
        return True


@pytest.mark.parametrize("kind", ["packed", "single"])
@given(where=st.integers(0, 25_000), bit=st.integers(0, 7), cut=st.booleans())
@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_changed_byte_is_never_believed(
    played: Disk, unfinished: Disk, kind: str, where: int, bit: int, cut: bool
) -> None:
    with small_packs(trials=2 if kind == "packed" else 500):
        disk = played if kind == "packed" else unfinished
        where %= sum(len(inode.data) for inode in disk.values())

        assert reads_as_before_or_refuses(disk, where, bit, cut)


def test_without_the_checksum_changed_bytes_would_be_believed(
    unfinished: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unseal(kind: str, data: bytes, where: str) -> Any:
        found = sealing._parse(data)
        if not isinstance(found, dict) or not isinstance(found.get("body"), dict):
            raise DamagedRecord(where)
        return found["body"]

    for module in ("trainables.storage.study_folder", "search.record.compaction"):
        monkeypatch.setattr(f"{module}.unseal", unseal)
    monkeypatch.setattr("trainables.trial.measurement.unseal", unseal)
    size = sum(len(inode.data) for inode in unfinished.values())

    places = range(0, size, 23)
    believed = [p for p in places if not reads_as_before_or_refuses(unfinished, p, 0, False)]

    assert believed
