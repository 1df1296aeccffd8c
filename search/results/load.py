"""Reads studies from their folders."""

import os
from collections.abc import Iterator, Mapping
from typing import Any

from search.errors import InputError, StorageError
from search.record.ownership import holder
from search.record.reader import StudyReader
from search.record.segments import has_log
from search.results.result import StudyResult
from search.results.usage import read_runs
from search.study.fields import NAME
from search.study.moved_data import places_now
from search.study.study import DEFAULT_STORAGE, Study
from trainables.spec.plain_values import plain
from trainables.spec.problems import shown
from trainables.storage.local import absolute_path
from trainables.storage.sealed_json import DamagedRecord
from trainables.storage.store import Store
from trainables.storage.study_folder import StudyFolder


def load(folder: "str | os.PathLike[str] | StudyResult | Study") -> StudyResult:
    """Read a study from its folder, also while it runs.

    Args:
        folder: ``<storage>/<name>``, a path or a URI; the name alone of a study in ``studies``;
            or a study or its result, to read it again.

    Raises:
        InputError: If there is no study.
        StorageError: If its records are damaged.
    """
    return read(StudyReader(StudyFolder(study_folder(folder))))


def study_folder(given: "str | os.PathLike[str] | StudyResult | Study") -> str:
    """Return the folder of a study: of its path, its URI, its name in ``studies``, or itself.

    A folder of that name here comes before the one in ``studies``; raises `InputError` if there
    is neither.
    """
    if isinstance(given, StudyResult | Study):
        return given.folder
    if not isinstance(given, str | os.PathLike):
        rule = "a study needs its folder, such as 'studies/digits', its name or its result"
        raise InputError(f"{rule}, got {shown(given)}")
    said: str = plain(os.fspath(given))
    if not NAME.fullmatch(said):
        return said
    found = _find_study(said)
    if found is None:
        looked = " and ".join(map(absolute_path, _places(said)))
        raise InputError(f"there is no study {said!r}: looked for study.json in {looked}")
    return found


def given_study(given: Any) -> Study:
    """Return the study that is given, or that a study file or a mapping describes.

    Or, to go on with a study, that of its folder, its name in ``studies`` or its result; raises
    `InputError` if it is none of them, or the study cannot be.
    """
    given = getattr(given, "study", given)
    if isinstance(given, Study):
        return given
    if isinstance(given, Mapping):
        return Study.from_dict(given)
    if isinstance(given, str | os.PathLike):
        folder = None if os.path.isfile(given) else _find_study(os.fspath(given))
        return Study.from_yaml(os.fspath(given)) if folder is None else load(folder).study
    rule = "a study needs a Study, the path of a study file or a mapping with its keys"
    raise InputError(f"{rule}, got {shown(given)}")


def _find_study(said: str) -> str | None:
    """Return the folder of the study that a path or a name means; a URI is taken for one."""
    if "://" in said:
        return said
    marks = "study.json", StudyFolder.LOG  # the log may be all that is left of a study
    for place in _places(said):
        if any(os.path.lexists(os.path.join(place, mark)) for mark in marks):
            return place
    return None


def _places(said: str) -> tuple[str, ...]:
    return (said, os.path.join(DEFAULT_STORAGE, said)) if NAME.fullmatch(said) else (said,)


def read(reader: StudyReader) -> StudyResult:
    """Read a study by what may have read it before; raises what `load` raises."""
    store = reader.store
    history, standing = reader.read_whole()
    parent, _, name = store.uri.rstrip("/").rpartition("/")
    _check_name(name, history.study, store)
    storage = parent or "/"  # it may have been moved
    now = {"storage": storage, "name": name, **places_now(history.study, storage)}
    budget = {"budget": dict(history.budget)} if history.budget else {}
    study = Study.from_dict({**history.study, **now, **budget})
    if history.prepared is None and history.trials:
        raise DamagedRecord(f"{store.uri}/prepared.json is missing; restore it from a copy")
    is_running = bool(holder(store, standing=standing))
    return StudyResult(store.uri, study, history, is_running=is_running, runs=read_runs(store))


def _check_name(name: str, recorded: Mapping[str, Any], store: StudyFolder) -> None:
    """Refuse a folder whose name, since it was renamed, is no study's name."""
    if not NAME.fullmatch(name):
        was = recorded.get("name")
        raise InputError(
            f"the folder {store.uri!r} of study {was!r} needs the name of a study, of letters, "
            f"digits, '.', '_' and '-', got {name!r}: rename it, such as to {was!r}"
        )


def list_studies(storage: str) -> Iterator[str]:
    """Yield the folder of every study in a storage, by name; also of what is left of one."""
    store = Store(storage)
    for name in store.folders():
        try:
            is_study = store.exists(f"{name}/study.json") or has_log(store.child(name))
        except StorageError:
            is_study = True  # whoever reads it is told why it cannot be seen
        if is_study:
            yield store.child(name).uri
