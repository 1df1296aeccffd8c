"""Where what a study names lies now: a folder above it may have moved, or be another mount.

A study's data are known by their content. They are looked for where they lay when the study
began, and as far from the storage as they lay then.
"""

import os
import posixpath
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from search.errors import InputError, SearchError, StudyDiffers
from search.study.configs import data_request
from search.study.study import Study
from trainables.data.request import DataInfo
from trainables.storage.store import Store

SHORT = 12
"""Digits of a fingerprint that a message shows."""


def places_now(recorded: Mapping[str, Any], storage: str) -> dict[str, str]:
    """Return where the data and the modules of a recorded study lie, by the study's field.

    Only what is not where it was recorded, and is there as far from the storage as it was.
    """
    found = {}
    if recorded["storage"] != storage:
        for field in ("data", "module_folder"):
            was = recorded.get(field) or ""
            if not was or "://" in was or os.path.exists(was):
                continue
            now = _moved(was, recorded["storage"], storage)
            if now is not None and _is_there(now):
                found[field] = now
    return found


def find_data(study: Study, recorded: Mapping[str, Any], data: DataInfo) -> Study:
    """Return a study with its data where they lie now.

    A place that the record does not name, such as that of a study file, is the only one.

    Raises:
        StudyDiffers: If the data that the study began with are nowhere; it says what is where.
    """
    from trainables.data.check import fingerprint_of  # loads pyarrow

    looked = {}
    for place in _places(study, recorded):
        found = study.with_data(place)
        try:
            fingerprint = fingerprint_of(data_request(found, data.rules))
        except InputError as error:
            looked[place] = str(error)
            continue
        if fingerprint == data.fingerprint:
            return found
        looked[place] = f"what lies at {place} has fingerprint {fingerprint[:SHORT]}"
    raise StudyDiffers(
        f"study {study.name!r} needs the data set it began with, of fingerprint "
        f"{data.fingerprint[:SHORT]}, which was looked for at {' and '.join(looked)}: "
        f"{'; '.join(looked.values())}. Where it has moved, name its place (--data, or data= in "
        "Python); for other data give the study another name"
    )


def is_known_place(study: Study, recorded: Mapping[str, Any]) -> bool:
    """Tell whether a study's data are to be where its record says, or as far from the storage."""
    return study.data in (recorded["data"], _moved_data(study, recorded))


def _places(study: Study, recorded: Mapping[str, Any]) -> list[str]:
    if not is_known_place(study, recorded):
        return [study.data]
    moved = _moved_data(study, recorded) or study.data
    return list(dict.fromkeys([study.data, recorded["data"], moved]))


def _moved_data(study: Study, recorded: Mapping[str, Any]) -> str | None:
    return _moved(recorded["data"], recorded["storage"], study.storage)


def _moved(place: str, storage: str, now: str) -> str | None:
    """Return what lies as far from a storage now as a place lay; None if that is nowhere."""
    (root, path), (old_root, old) = _parts(place), _parts(storage)
    if root != old_root:
        return None
    new_root, new = _parts(now)
    return f"{new_root}{posixpath.normpath(posixpath.join(new, posixpath.relpath(path, old)))}"


def _parts(place: str) -> tuple[str, str]:
    """Return the scheme and the host of a place, empty for a path, and its absolute path."""
    if "://" not in place:
        return "", place
    parts = urlsplit(place)
    if parts.scheme == "file":
        return "", unquote(parts.path)
    return f"{parts.scheme}://{parts.netloc}", parts.path or "/"


def _is_there(place: str) -> bool:
    if "://" not in place:
        return os.path.exists(place)
    folder, _, name = place.rpartition("/")
    try:
        return Store(folder).exists(name)
    except SearchError:
        return False
