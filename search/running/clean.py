"""Deletes what a study keeps for going on, when it is not to go on."""

import os

from search.errors import StudyLocked
from search.record.ownership import claim, holder
from search.results.kept import DiskUse, disk_use
from search.results.load import load
from search.results.result import StudyResult
from search.study.study import Study


def clean(
    folder: str | os.PathLike[str] | StudyResult | Study, *, stopped: bool = False
) -> DiskUse:
    """Delete the states of a study's complete trials; return what was there before.

    Weights stay: every point can be chosen as before. Under a larger epoch budget these trials
    are trained again from their first epoch, and the figures are the same.

    Args:
        folder: See `search.load`.
        stopped: Also those of stopped trials, one of which the sampler may take up again if
            there are to be more trials.

    Raises:
        InputError: If there is no study.
        StudyLocked: If a process runs or confirms it.
        StorageError: If something cannot be deleted.
    """
    result = load(folder)
    if result.is_running:
        who = holder(result.store) or "another process"
        raise StudyLocked(
            f"study {result.study.name!r} is being run by {who}; clean it when that has ended"
        )
    with claim(result.store):
        used = disk_use(load(result))  # it may have been run on meanwhile
        for states in (used.complete, *([used.stopped] if stopped else [])):
            for path in states.sizes:
                result.store.delete(path)
    return used
