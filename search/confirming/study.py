"""Confirms a study: trains its leading points again where needed, and compares."""

import os
from typing import TYPE_CHECKING, Any, NoReturn

from search.confirming.confirmation import Confirmation
from search.confirming.plan import check_extent, fresh_seeds, leading_points, trainings_of
from search.confirming.record import is_done, read_confirmation, record_of
from search.errors import StudyLocked
from search.loading import load
from search.ownership import holder
from search.policies import DEFAULT_POLICY
from search.results import StudyResult
from search.study import Study
from trainables.plain_values import plain
from trainables.store import Store

if TYPE_CHECKING:
    from search.confirming.run import Watcher


def confirm(
    folder: str | os.PathLike[str] | StudyResult | Study,
    *,
    seeds: int = 2,
    top: int = 3,
    policy: str = DEFAULT_POLICY,
    watcher: "Watcher | None" = None,
    factory: str | None = None,
    **options: Any,
) -> Confirmation:
    """Train a study's leading points again with fresh seeds, and compare.

    What was trained for an earlier call is taken as it is, also if that was interrupted.

    Args:
        folder: See `search.load`.
        seeds: How many.
        top: How many points, one of each trial; the reference's comes on top.
        policy: Which points lead; see `StudyResult.best`.
        watcher: Who looks on.
        factory: ``module:function`` of what trains; None for Keras.
        **options: Of the policy: ``head``, ``exponents`` and so on.

    Raises:
        InputError: If a number, the policy or an option cannot be, or there is no study.
        NoCandidate: If no trial of the study has a point.
        StudyLocked: If a process runs or confirms the study.
        StudyDiffers: If its data set has changed since.
        StorageError: If a record is damaged or cannot be written.
        Interrupted: On SIGINT, SIGTERM or SIGHUP.
    """
    seeds, top = plain(seeds), plain(top)
    check_extent(seeds, top)
    options = {name: plain(value) for name, value in options.items() if value is not None}
    policy = "head" if "head" in options else plain(policy)
    result = load(folder)
    if result.is_running:
        _refuse_running(result)
    points = leading_points(result, top=top, policy=policy, options=options)
    chosen = fresh_seeds(result.study.seed, seeds)
    wanted = trainings_of(points, chosen)
    if not is_done(record_of(result.folder), wanted):
        from search.confirming.run import train  # loads Optuna
        from search.runner import KERAS

        train(result, wanted, watcher=watcher, factory=factory or KERAS)
    return read_confirmation(result, points, seeds=chosen, policy=policy, options=options)


def _refuse_running(result: StudyResult) -> NoReturn:
    who = holder(Store(result.folder)) or "another process"
    raise StudyLocked(
        f"study {result.study.name!r} is being run by {who}; confirm it when that has ended"
    )
