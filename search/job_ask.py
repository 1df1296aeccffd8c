"""Answers questions about the studies of a cluster, on its head; reads only."""

import contextlib
import io
import os
from argparse import Namespace
from collections.abc import Callable, Mapping
from typing import Any

from search.answers import error_to_plain, point_to_plain
from search.cli import main
from search.errors import InputError, NoCandidate, SearchError
from search.job_request import folder_here, our_version, storage_here
from search.overview import state_of
from search.results import StudyResult, list_studies, load

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
            args.storage = storage_here(storage)

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
    return {"model": result.study.model, "state": state_of(result)}


def _status(storage: str, *, name: str) -> dict[str, Any]:
    """Tell where a study stands; one that has no folder yet has not begun."""
    folder = folder_here(storage, name)
    try:
        return _summary(load(folder))
    except InputError:
        return {"state": "not begun", "folder": folder}


def _studies(storage: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for folder in list_studies(storage_here(storage)):
        name = folder.rpartition("/")[2]
        try:
            found[name] = _summary(load(folder))
        except SearchError as error:
            found[name] = {"state": "unreadable", "message": " ".join(str(error).split())}
    return found


def _summary(result: StudyResult) -> dict[str, Any]:
    try:
        best: dict[str, Any] | None = point_to_plain(result.best())
    except NoCandidate:
        best = None
    return {
        "state": state_of(result),
        "folder": result.folder,
        "ended": sum(trial.state != "running" for trial in result.trials),
        "trials": result.study.budget.trials,
        "epochs": sum(trial.num_epochs for trial in result.trials),
        "best": best,
    }


TOLD: dict[str, Callable[..., dict[str, Any]]] = {
    "point": _point,
    "study": _study,
    "status": _status,
    "studies": _studies,
}
"""What can be asked for as a value."""
