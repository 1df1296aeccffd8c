"""What a job on a cluster is asked to run, as it travels from a laptop to the head."""

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Self

from search.errors import InputError
from search.study.fields import NAME
from search.study.study import DEFAULT_STORAGE, Study
from trainables.model.user_modules import JOB
from trainables.spec.plain_values import plain

REQUEST_FILE = "study.json"
"""The request, among the files of its job."""
CODE_FOLDER = "own-code"
"""The user's modules, among the files of their job; no name that Python could import."""
STORAGE = "TWOHEAD_STORAGE"
"""On the nodes: where studies lie that do not say it themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """A study to run, or the name of one to go on with."""

    study: Mapping[str, Any] | None = None
    """In the form of `Study.to_dict`; None to go on with ``name``, or for the digits."""
    name: str
    storage: str = ""
    """A URI or an absolute path; empty for what the nodes say."""
    changes: Mapping[str, Any]
    """``trials``, ``epochs``, ``concurrent``, ``seed``: where they are not None."""
    is_digits: bool = False
    """Whether the study is that of the bundled digits, whose data the head writes."""
    version: str
    """Of this program where the request was made."""

    def to_json(self) -> str:
        """Return the request as it travels."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return json.dumps(plain(values), sort_keys=True)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return the request of a file.

        Raises:
            InputError: If another version of this program made it, so that it cannot be read.
        """
        try:
            return cls(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise InputError(
                f"{path} needs a request of this version ({our_version()}), got {error}: install "
                "the same twohead-search on the cluster and where the study is submitted"
            ) from None

    def study_here(self) -> Study:
        """Return the study, as it is to be run in this process.

        Modules come from the job's own files, always: who can write to the storage must not be
        able to run code.

        Raises:
            InputError: If the study cannot be, or there is none to go on with.
        """
        storage = storage_here(self.storage)
        if self.study is not None:
            study = Study.from_dict({**self.study, "storage": storage})
        elif self.is_digits:
            study = _digits(storage, self.name, self.changes)
        else:
            study = _stored(storage, self.name)
        study = study.with_budget(**{key: self.changes.get(key) for key in ("trials", "epochs")})
        concurrent = self.changes.get("concurrent")
        if concurrent is not None:
            study = replace(study, resources=replace(study.resources, concurrent=concurrent))
        folder = None if study.model is None else f"{JOB}{CODE_FOLDER}"
        return replace(study, module_folder=folder)


def our_version() -> str:
    """Return the version of this program."""
    try:
        return version("twohead-search")
    except PackageNotFoundError:
        return "not installed"


def storage_here(said: str) -> str:
    """Return where studies lie, on a node of the cluster.

    Args:
        said: A URI or an absolute path; empty for what ``TWOHEAD_STORAGE`` says.

    Raises:
        InputError: If neither says it.
    """
    place = said or os.environ.get(STORAGE, "").strip()
    if not place:
        raise InputError(
            f"storage needs a place that all nodes reach, got none: {STORAGE} is not set on "
            f"{socket.gethostname()}; export it where `ray start` runs, as cluster.yaml does, or "
            "name a URI with --storage"
        )
    if not said:
        check_place(f"{STORAGE} on {socket.gethostname()}", place)
    else:
        check_place("storage", place)
    return place


def is_place(said: str) -> bool:
    """Tell whether something means the same on every machine: a URI or an absolute path."""
    return "://" in said or os.path.isabs(said)


def check_place(what: str, place: str) -> None:
    """Refuse a place that is relative to some folder.

    Raises:
        InputError: Saying what is needed.
    """
    if not is_place(place):
        raise InputError(f"{what} needs a URI or an absolute path, got {place!r}")


def storage_there(storage: str) -> str:
    """Return a study's storage, empty for the default one.

    A study makes its storage absolute: the default then lies in the current folder of a machine
    that no node of a cluster can see. Any other is taken at its word.
    """
    return "" if storage == os.path.abspath(DEFAULT_STORAGE) else storage


def folder_here(said: str, name: str) -> str:
    """Return a study's folder on a node of the cluster, of its name or as it is given.

    Raises:
        InputError: If the name is none, or nothing says where studies lie.
    """
    if is_place(name):
        return name
    check_name(name)
    storage = storage_here(said)
    return storage + name if storage.endswith("://") else f"{storage.rstrip('/')}/{name}"


def place_and_name(said: str) -> tuple[str, str]:
    """Return the storage and the name of a study, of its folder or its name; "" for no storage.

    Raises:
        InputError: If it is neither.

    Example:
        >>> place_and_name("s3://bucket/studies/digits")
        ('s3://bucket/studies', 'digits')
    """
    if not isinstance(said, str) or not is_place(said):
        check_name(said)
        return "", said
    storage, _, name = said.rstrip("/").rpartition("/")
    check_name(name)
    return (f"{storage}/" if not storage or storage.endswith(":/") else storage), name


def check_name(name: str) -> None:
    """Refuse what can be no study's name.

    Raises:
        InputError: Saying what one looks like.
    """
    if not (isinstance(name, str) and NAME.fullmatch(name)):
        rule = "the name of a study, such as 'digits', or its folder as an absolute path or a URI"
        raise InputError(f"a study on a cluster needs {rule}, got {name!r}")


def check_places(study: Study) -> None:
    """Refuse local paths that are not on this node.

    Raises:
        InputError: Naming the path and what to do.
    """
    places = [("data", study.data), *(("warm_start", place) for place in study.warm_start)]
    for what, place in places:
        if "://" not in place and not os.path.exists(place):
            raise InputError(
                f"{what} needs a place that the cluster's nodes reach, got {place}, which is not "
                f"on {socket.gethostname()}: put it at a URI such as s3://bucket/data.parquet, or "
                "into a folder that all nodes mount, and name that"
            )


def _digits(storage: str, name: str, changes: Mapping[str, Any]) -> Study:
    from search.study.digits import digits_study

    return digits_study(storage, seed=changes.get("seed") or 0, name=name)


def _stored(storage: str, name: str) -> Study:
    from search.results.load import load
    from search.study.digits import with_moved_data

    study = load(folder_here(storage, name)).study
    return with_moved_data(replace(study, storage=storage, name=name))


COMMAND = ("python", "-P", "-m", "search.cli.job")
"""Starts this on a node. ``-P``: what lies in the folder that Ray was started in hides nothing."""
