"""Answers questions about the studies of a cluster, on its head; reads only."""

import contextlib
import io
import os
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from search.cli.main import main
from search.errors import InputError, NoCandidate, SearchError
from search.remote.questions import error_to_plain, point_to_plain
from search.remote.request import STORAGE, folder_here, our_version, storage_here
from search.results.load import list_studies, load
from search.results.result import StudyResult
from search.study.study import DEFAULT_STORAGE

RELAYED = ("best", "show", "list", "doctor")
"""Commands that only read, and print alike wherever they run."""


def relay(argv: list[str], *, storage: str, columns: int | None) -> dict[str, Any]:
    """Run a `twohead` command with a study's name in the place of its folder.

    Args:
        argv: The command and its arguments.
        storage: Where studies lie; empty for what the nodes say.
        columns: Of the terminal that shall show it; None for a file's.

    Returns:
        ``status``, ``out`` and ``err``: what the command ended with and printed.
    """
    out, err = io.StringIO(), io.StringIO()

    def place(args: Namespace) -> None:
        if getattr(args, "folder", None) is not None:
            args.folder = folder_here(storage, args.folder)
        elif argv[0] == "list":
            said = "" if args.storage == DEFAULT_STORAGE else args.storage
            args.storage = storage_here(said or storage)

    os.environ.pop("COLUMNS", None)
    if columns is not None:
        os.environ["COLUMNS"] = str(columns)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        if argv[:1] and argv[0] in RELAYED:
            status = main(argv, place=place)
        else:
            raise InputError(f"a cluster is asked one of {list(RELAYED)}, got {argv[:1]}")
    return {"status": status, "out": out.getvalue(), "err": err.getvalue()}


def tell(what: str, options: Mapping[str, Any], *, storage: str) -> dict[str, Any]:
    """Return a value, or the error in its place, as plain values.

    Args:
        what: One of ``TOLD``.
        options: Of that question.
        storage: Where studies lie; empty for what the nodes say.
    """
    try:
        return {"value": TOLD[what](storage, **options), "version": our_version()}
    except SearchError as error:
        return {"error": error_to_plain(error), "version": our_version()}


def _point(storage: str, *, name: str, policy: Mapping[str, Any]) -> dict[str, Any]:
    return point_to_plain(load(folder_here(storage, name)).best(**policy))


def _study(storage: str, *, name: str) -> dict[str, Any]:
    """Tell what decides how a study is gone on with."""
    result = load(folder_here(storage, name))
    return {"model": result.study.model, "state": result.state}


def _status(storage: str, *, name: str) -> dict[str, Any]:
    """Tell where a study stands; one that has no folder yet has not begun."""
    folder = folder_here(storage, name)
    try:
        return _summary(load(folder))
    except InputError:
        return {"state": "not begun", "folder": folder}


def _studies(storage: str, *, others: Sequence[str]) -> dict[str, Any]:
    """Tell where all studies of a storage stand, and of others that jobs have named."""
    found: dict[str, Any] = {}
    for place in dict.fromkeys([storage, *others]):
        if not place and others and not os.environ.get(STORAGE):
            continue
        for folder in list_studies(storage_here(place)):
            found.setdefault(folder.rpartition("/")[2], _summary_of(folder))
    return found


def _is_running(storage: str, *, job_id: str) -> bool:
    """Tell whether a process of a job lives on this node, whatever Ray still believes of it.

    After a head was started again, Ray takes a minute to see that its jobs have died (2.60).
    """
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                is_ours = b"search.cli.job" in (folder / "cmdline").read_bytes()
                if is_ours and job_id.encode() in (folder / "environ").read_bytes():
                    return True
    return False


def _summary_of(folder: str) -> dict[str, Any]:
    try:
        return _summary(load(folder))
    except SearchError as error:
        return {"state": "unreadable", "message": " ".join(str(error).split())}


def _summary(result: StudyResult) -> dict[str, Any]:
    try:
        best: dict[str, Any] | None = point_to_plain(result.best())
    except NoCandidate:
        best = None
    return {
        "state": result.state,
        "folder": result.folder,
        "ended": sum(trial.state != "running" for trial in result.trials),
        "trials": result.study.budget.trials,
        "epochs": sum(trial.num_epochs for trial in result.trials),
        "best": best,
    }


TOLD: dict[str, Callable[..., Any]] = {
    "is_running": _is_running,
    "point": _point,
    "study": _study,
    "status": _status,
    "studies": _studies,
}
"""What can be asked for as a value."""
