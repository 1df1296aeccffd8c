"""Hyperparameter search for Keras models with several heads, spread by Ray, suggested by Optuna.

Example:
    >>> import search
    >>> study = search.Study(name="digits", data="digits.parquet", heads={
    ...     "c_output": {"kind": "classification"}, "r_output": {"kind": "box"}})
    >>> result = search.run(study)  # doctest: +SKIP
    >>> result.best().config  # doctest: +SKIP
    >>> result.predict("photo.png")[0]["r_output"].box  # doctest: +SKIP

What to call:
    run: Run a study to its end, resume it or extend it; returns its result.
    load: Read a study from its folder, also while it runs.
    confirm: Train the leading points again with fresh seeds.
    connect: Return a client of a cluster.

What there is:
    Study: One search: data, heads, space, budget, resources.
    SearchSpace: What may vary: parameters by name, each searched or constant.
    StudyResult: What a study found: ``best()``, ``pareto()``, ``predict(...)``, ``table()``.
    TrialRecord: One trial of a result, with what was measured in every epoch.

What to handle:
    InputError: What was given is wrong; it is a `ValueError`.
    NoCandidate: No trial gave a point that could be chosen.
    StudyLocked: Another process runs the study.
    SearchError: Any of these, or a storage, a cluster or a run that failed.
"""

import os
import sys
from collections.abc import Mapping
from importlib import import_module
from os.path import dirname, realpath
from typing import TYPE_CHECKING, Any

try:
    from search.errors import InputError, NoCandidate, SearchError, StudyLocked
except ImportError as error:
    # A file of the user's own is named here; of one called search.py we never hear.
    found = sys.modules.get("trainables")
    file = getattr(found, "__file__", None) or ""
    if not file or dirname(dirname(realpath(file))) == dirname(dirname(realpath(__file__))):
        raise
    raise ImportError(
        f"{file} hides the package 'trainables' of twohead-search: rename it, or start Python "
        "with -P"
    ) from error

if TYPE_CHECKING:
    from search.record.history import TrialRecord
    from search.remote.client import Client
    from search.results.confirmation import Confirmation
    from search.results.load import load
    from search.results.result import StudyResult
    from search.space.space import SearchSpace
    from search.study.study import Study

__all__ = [
    "InputError",
    "NoCandidate",
    "SearchError",
    "SearchSpace",
    "Study",
    "StudyLocked",
    "StudyResult",
    "TrialRecord",
    "confirm",
    "connect",
    "load",
    "run",
]


_HOMES = {
    "SearchSpace": "search.space.space",
    "Study": "search.study.study",
    "StudyResult": "search.results.result",
    "TrialRecord": "search.record.history",
    "load": "search.results.load",
}
"""Where what is imported when it is first asked for comes from."""


if not TYPE_CHECKING:  # a checker would take every name for one

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_HOMES[name]), name)
        return value


def __dir__() -> list[str]:
    return list(__all__)


def run(
    study: "Study | StudyResult | str | os.PathLike[str] | Mapping[str, Any]",
    *,
    data: "str | os.PathLike[str] | None" = None,
    progress: bool = True,
    retry_failed: bool = False,
) -> "StudyResult":
    """Run a study to its end and return its result; resume it, or extend it, if it is there.

    A finished study is only read. One whose budget has grown goes on; any other difference
    from what was recorded under its name is refused. One whose first three trials fail alike,
    before any comes further, is paused with their reason as a `SearchError`. Importing this
    package loads neither TensorFlow nor Ray; this call loads Ray.

    A process of Ray's that dies is an error here, but for one case: Ray's own code may end the
    whole interpreter, without an exception, when its control process or node process is killed
    at an unlucky moment. Nothing that was recorded is lost; what is left of Ray ends within
    seconds, and the same call goes on with the study. The `twohead` command runs a study in a
    process apart, and says so.

    Args:
        study: What to search: a `Study`, the path of a study file or a mapping with its keys;
            or a study that is to go on: its folder, its name in ``studies`` or its result.
        data: Where the data set is now, if it has moved and is not found; it is known by its
            content.
        progress: Whether to show a live view on a terminal, or lines elsewhere.
        retry_failed: Whether to train the failed trials of a study that is there again, each
            with its config and from its last epoch; else they stay as they are.

    Raises:
        InputError: If the study, its data or its model cannot work.
        StudyLocked: If another process runs it.
        SearchError: If it was interrupted or paused, or its storage failed.
    """
    from search.results.load import given_study

    study = given_study(study).with_data(data)
    from search.running.run import run as run_study

    if not progress:
        return run_study(study, retry_failed=retry_failed)
    from search.view.live import watcher_for

    with watcher_for() as watcher:
        return run_study(study, watcher=watcher, retry_failed=retry_failed)


def confirm(
    folder: "str | os.PathLike[str] | StudyResult | Study",
    *,
    seeds: int = 2,
    top: int = 3,
    data: "str | os.PathLike[str] | None" = None,
    progress: bool = True,
    **policy: Any,
) -> "Confirmation":
    """Train the leading points of a study again with fresh seeds: a winner must survive its luck.

    Each is trained for exactly the epochs of the point, the reference's besides, with the seeds
    that follow the study's own. What an earlier call trained counts.

    Args:
        folder: What `load` takes: the study's folder, its name or its result.
        seeds: How many fresh ones, 1 to 100.
        top: How many points, one of each trial, 1 to 100.
        data: Where the data set is now, if it has moved and is not found.
        progress: Whether to show a live view on a terminal, or lines elsewhere.
        **policy: Which points lead: what `StudyResult.best` takes.

    Returns:
        ``verdict`` in words; the ``candidates`` by their rank now, each with its ``point``, its
        ``losses`` and its ``test`` by head: ``mean``, ``deviation``, ``least``, ``most``.

    Raises:
        InputError: If an argument cannot be, there is no study, or its data have changed since.
        NoCandidate: If no trial has a point.
        StudyLocked: If another process runs the study.
        SearchError: If it was interrupted, or its storage failed.
    """
    from search.running.confirm import confirm as confirm_study

    if not progress:
        return confirm_study(folder, seeds=seeds, top=top, data=data, **policy)
    from search.view.live import watcher_for

    with watcher_for() as watcher:
        return confirm_study(folder, seeds=seeds, top=top, data=data, watcher=watcher, **policy)


def connect(
    address: str | os.PathLike[str] | None = None, *, storage: str | None = None
) -> "Client":
    """Return a client of a cluster that `ray up` has launched; a context manager.

    Its methods: ``submit``, ``status``, ``logs``, ``stop``, ``resume``, ``wait``, ``best``,
    ``best_config``, ``studies`` and ``close``.

    Args:
        address: The file that `ray up` was given, whose SSH tunnel is opened here; or what a
            tunnel listens on, a URL or ``host:port``. None: what ``RAY_API_SERVER_ADDRESS``
            says, else ``http://127.0.0.1:8265``, where `ray dashboard` listens.
        storage: Where studies lie, a URI; None for what the cluster's nodes say. Where this
            machine can read it, results are read directly.

    Raises:
        InputError: If it is no address, or others can read the token.
        ClusterError: If nothing answers there, or it asks for another token.

    Example:
        >>> with search.connect("cluster.yaml") as cluster:  # doctest: +SKIP
        ...     cluster.submit(study)
        ...     cluster.wait("digits")
        ...     print(cluster.best_config("digits"))
    """
    from search.remote.client import Client

    return Client(address, storage=storage)
