"""What a cluster's head answers about its studies: each question is a function that only reads."""

import io
import os
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any

from search.cli.main import COMMANDS, drive, fail
from search.errors import InputError, NoCandidate, SearchError
from search.remote.questions import CommandOutput, StudyStatus, error_to_plain
from search.remote.request import COMMAND, STORAGE, folder_here, storage_here
from search.results.load import list_studies, load
from search.results.points import Point
from search.results.result import StudyResult
from search.study.study import DEFAULT_STORAGE

READING = {command.name: command for command in COMMANDS if command.only_reads}


def answer(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ``value`` of a question of `search.remote.questions.ask`, or its ``error``."""
    try:
        return {"value": ANSWERS[asked["what"]](asked["storage"], **asked["options"])}
    except SearchError as error:
        return {"error": error_to_plain(error)}


def _command(
    storage: str, *, name: str, arguments: Mapping[str, Any], columns: int | None
) -> CommandOutput:
    """Run a command on arguments that were parsed elsewhere; see `search.remote.client.relay`."""
    if name not in READING:
        raise InputError(f"a cluster is asked one of {list(READING)}, got {name!r}")
    args = Namespace(
        **{"traceback": False, **arguments, "command": READING[name], "address": None}
    )
    os.environ.pop("COLUMNS", None)
    if columns is not None:
        os.environ["COLUMNS"] = str(columns)
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            _find_places(args, storage)
        except SearchError as error:
            status = fail(error, show=False)
        else:
            status = drive(args)
    return CommandOutput(status=status, out=out.getvalue(), err=err.getvalue())


def _find_places(args: Namespace, storage: str) -> None:
    """Put what lies on the cluster in the place of a study's name, or of the storage to list."""
    if "folder" in args:
        args.folder = folder_here(storage, args.folder)
    elif args.command.name == "list":
        said = "" if args.storage == DEFAULT_STORAGE else args.storage
        args.storage = storage_here(said or storage)


def _point(storage: str, *, name: str, policy: Mapping[str, Any]) -> Point:
    return load(folder_here(storage, name)).best(**policy)


def _model(storage: str, *, name: str) -> str | None:
    """Return which function of the user's own makes a study's models, None without one."""
    return load(folder_here(storage, name)).study.model


def _status(storage: str, *, name: str) -> StudyStatus:
    """Return where a study stands; one that has no folder yet has not begun."""
    folder = folder_here(storage, name)
    try:
        return _status_of(load(folder))
    except InputError:
        return StudyStatus(name=name, state="not begun", folder=folder)


def _studies(storage: str, *, others: Sequence[str]) -> list[StudyStatus]:
    """Return where all studies of a storage stand, and of others that jobs have named."""
    found: dict[str, StudyStatus] = {}
    for place in dict.fromkeys([storage, *others]):
        if not place and others and not os.environ.get(STORAGE):
            continue
        for folder in list_studies(storage_here(place)):
            name = folder.rpartition("/")[2]
            if name in found:
                continue
            try:
                found[name] = _status_of(load(folder))
            except SearchError as error:
                why = " ".join(str(error).split())
                found[name] = StudyStatus(name=name, state="unreadable", message=why)
    return list(found.values())


def _status_of(result: StudyResult) -> StudyStatus:
    try:
        best = result.best()
    except NoCandidate:
        best = None
    return StudyStatus(
        name=result.study.name,
        state=result.state,
        num_ended=sum(trial.state != "running" for trial in result.trials),
        num_trials=result.study.budget.trials,
        best=best,
        folder=result.folder,
    )


def _is_running(storage: str, *, job_id: str) -> bool:
    """Tell whether a process of a job lives on this node, whatever Ray still believes of it.

    After a head was started again, Ray takes a minute to see that its jobs have died (2.60).
    """
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            is_ours = COMMAND[-1].encode() in (folder / "cmdline").read_bytes()
            if is_ours and job_id.encode() in (folder / "environ").read_bytes():
                return True
    return False


ANSWERS: Mapping[str, Callable[..., Any]] = {
    "command": _command,
    "is_running": _is_running,
    "model": _model,
    "point": _point,
    "status": _status,
    "studies": _studies,
}
"""What can be asked; called with the storage and the question's options."""
