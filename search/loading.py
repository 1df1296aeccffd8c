"""Reads studies from their folders."""

from collections.abc import Iterator

from search.ownership import holder
from search.reader import PREPARED, STUDY, StudyReader
from search.results import StudyResult
from search.segments import has_log
from search.study import Study
from search.usage import read_runs
from trainables.record import DamagedRecord
from trainables.store import Store


def load(folder: str) -> StudyResult:
    """Read a study from its folder, also while it runs.

    Args:
        folder: ``<storage>/<name>``, a path or a URI.

    Raises:
        InputError: If there is no study.
        StorageError: If its records are damaged.
    """
    return read(StudyReader(Store(folder)))


def read(reader: StudyReader) -> StudyResult:
    """Read a study by what may have read it before; raises what `load` raises."""
    store = reader.store
    history, standing = reader.read_whole()
    parent, _, name = store.uri.rstrip("/").rpartition("/")
    now = {"storage": parent or "/", "name": name}  # it may have been moved
    budget = {"budget": dict(history.budget)} if history.budget else {}
    study = Study.from_dict({**history.study, **now, **budget})
    if history.prepared is None and history.trials:
        raise DamagedRecord(f"{store.uri}/{PREPARED} is missing; restore it from a copy")
    is_running = bool(holder(store, standing=standing))
    return StudyResult(store.uri, study, history, is_running=is_running, runs=read_runs(store))


def list_studies(storage: str) -> Iterator[str]:
    """Yield the folder of every study in a storage, by name; also of what is left of one."""
    store = Store(storage)
    found = (
        name
        for name in store.folders()
        if store.exists(f"{name}/{STUDY}") or has_log(store.child(name))
    )
    yield from (store.child(name).uri for name in found)
