"""What a job on a cluster is asked to run, as it travels from a laptop to the head."""

import json
import os
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import msgspec

from search.errors import InputError
from search.results.load import load
from search.study.digits_study import data_in
from search.study.fields import NAME
from search.study.study import DEFAULT_STORAGE, Study
from search.text import our_version
from trainables.model.user_modules import JOB
from trainables.spec.plain_values import plain
from trainables.storage.local import absolute_path
from trainables.storage.study_folder import StudyFolder

COMMAND = ("python", "-P", "-m", "search.cli.job")
"""Starts a job. ``-P``: what lies in the folder that Ray was started in hides nothing."""
REQUEST_FILE = "study.json"
"""The request, among the files of its job."""
CODE_FOLDER = "own-code"
"""The user's modules, among the files of their job; no name that Python could import."""
STORAGE = "TWOHEAD_STORAGE"
"""On the nodes: where studies lie that do not say it themselves."""


class JobRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A study to run, or the name of one to go on with."""

    study: dict[str, Any] | None = None
    """In the form of `Study.to_dict`, without ``data`` where these are the bundled digits, which
    the head writes; None to go on with ``name``."""
    name: str
    storage: str = ""
    """A URI or an absolute path; empty for what the nodes say."""
    trials: Any = None
    """To go on with a larger budget; the study checks it, as it does ``epochs``."""
    epochs: Any = None
    data: str = ""
    """To go on with data that have moved; empty for where the study finds them."""
    retry_failed: bool = False
    """Left out as it travels unless it is set: programs of before do not know it."""
    version: str = msgspec.field(default_factory=our_version)
    """Of this program where the request was made."""

    def to_json(self) -> str:
        """Return the request as it travels."""
        values = msgspec.structs.asdict(self)
        if not self.retry_failed:
            del values["retry_failed"]
        return json.dumps(plain(values), sort_keys=True)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return the request of a file; refuse one that another version of this program made."""
        try:
            return msgspec.convert(json.loads(path.read_text()), cls)
        except (OSError, ValueError, msgspec.ValidationError) as error:
            raise InputError(
                f"{path} needs a request of this version ({our_version()}), got {error}: install "
                "the same twohead-search on the cluster and where the study is submitted"
            ) from None

    def study_here(self) -> Study:
        """Return the study, as it is to be run in this process.

        Modules come from the job's own files, always: who can write to the storage must not be
        able to run code.
        """
        storage = storage_here(self.storage)
        if self.study is not None:
            data = self.study.get("data") or data_in(storage)
            study = Study.from_dict({**self.study, "storage": storage, "data": data})
        else:
            stored = load(folder_here(storage, self.name)).study
            study = stored.with_data(self.data or None)
            study = study.with_budget(trials=self.trials, epochs=self.epochs)
        folder = None if study.model is None else f"{JOB}{CODE_FOLDER}"
        return replace(study, module_folder=folder)


def storage_here(said: str) -> str:
    """Return where studies lie, on a node: as it is said, else as ``TWOHEAD_STORAGE`` says."""
    place = said or os.environ.get(STORAGE, "").strip()
    if not place:
        raise InputError(
            f"storage needs a place that all nodes reach, got none: {STORAGE} is not set on "
            f"{socket.gethostname()}; export it where `ray start` runs, as cluster.yaml does, or "
            "name a URI with --storage"
        )
    check_place("storage" if said else f"{STORAGE} on {socket.gethostname()}", place)
    return place


def is_place(said: str) -> bool:
    """Tell whether something means the same on every machine: a URI or an absolute path."""
    return "://" in said or os.path.isabs(said)


def check_place(what: str, place: str) -> None:
    """Refuse a place that is relative to some folder."""
    if not is_place(place):
        raise InputError(f"{what} needs a URI or an absolute path, got {place!r}")


def storage_there(storage: str) -> str:
    """Return a study's storage, empty for the default one.

    A study makes its storage absolute: the default then lies in the current folder of a machine
    that no node of a cluster can see. Any other is taken at its word.
    """
    return "" if storage == absolute_path(DEFAULT_STORAGE) else storage


def folder_here(said: str, name: str) -> str:
    """Return a study's folder on a node of the cluster, of its name or as it is given."""
    if is_place(name):
        return name
    _check_name(name)
    storage = storage_here(said)
    return storage + name if storage.endswith("://") else f"{storage.rstrip('/')}/{name}"


def place_and_name(said: str) -> tuple[str, str]:
    """Return the storage and the name of a study, of its folder or its name; "" for no storage."""
    if not isinstance(said, str) or not is_place(said):
        _check_name(said)
        return "", said
    storage, _, name = said.rstrip("/").rpartition("/")
    _check_name(name)
    return (f"{storage}/" if not storage or storage.endswith(":/") else storage), name


def _check_name(name: str) -> None:
    """Refuse what can be no study's name."""
    if not (isinstance(name, str) and NAME.fullmatch(name)):
        rule = "the name of a study, such as 'digits', or its folder as an absolute path or a URI"
        raise InputError(f"a study on a cluster needs {rule}, got {name!r}")


def check_places(study: Study) -> None:
    """Refuse local paths that are not on this node; the message says what to do.

    What a study took of earlier ones when it began holds: these may have moved since.
    """
    earlier = () if StudyFolder(study.folder).has("warm") else study.warm_start
    for what, place in (("data", study.data), *(("warm_start", one) for one in earlier)):
        if "://" not in place and not os.path.exists(place):
            raise InputError(
                f"{what} needs a place that the cluster's nodes reach, got {place}, which is not "
                f"on {socket.gethostname()}: put it at a URI such as s3://bucket/data.parquet, or "
                "into a folder that all nodes mount, and name that"
            )
