"""What the checkpoints of a run take of the disk at most, told before the first trial."""

import shutil
import warnings
from collections.abc import Callable, Sequence

from search.errors import StorageFull, StudyWarning
from search.record.history import TrialRecord
from search.running.plan import Plan
from search.running.probe import extremes
from search.study.configs import first_configs, parse
from search.study.prepared import Prepared
from search.study.study import Study
from search.text import count, gibibytes
from trainables.spec.footprint import Saved, saved_bytes
from trainables.storage.store import Store


def tell_disk(
    store: Store,
    plan: Plan,
    trials: Sequence[TrialRecord],
    saved: Saved,
    told: Callable[[str], None],
) -> None:
    """Say what the rest of a plan takes of the disk at most, and warn if less of it is free.

    Args:
        store: The study's folder.
        plan: What is to be trained.
        trials: Those that were begun.
        saved: The bytes of the largest checkpoint.
        told: Takes the line.

    Warns:
        StudyWarning: If the local disk has less room than the study may take.

    Raises:
        StorageFull: If it has not even room for one of the largest trials.
    """
    left = _left(plan, trials)
    if not left or not saved.total:
        return
    most = sum(most_bytes(plan.epochs_of(number), saved) for number in left)
    free = None if store.root is None else shutil.disk_usage(store.root).free
    line = (
        f"checkpoints take at most {gibibytes(most)}: {count(len(left), 'trial')}, up to "
        f"{gibibytes(saved.weights)} an epoch and {gibibytes(2 * saved.training)} to go on from"
    )
    told(line if free is None else f"{line}; {gibibytes(free)} are free")
    if free is not None and free < most:
        _warn(store, saved, free, told)


def _warn(store: Store, saved: Saved, free: int, told: Callable[[str], None]) -> None:
    where = f"the disk of {store.uri} has {gibibytes(free)} free"
    least = 2 * saved.total
    if free < least:
        raise StorageFull(
            f"{where}, and a trial of the largest model needs {gibibytes(least)} for its "
            "checkpoints: make room there, or give the study another storage"
        )
    said = f"{where}, less than the checkpoints may take: the study may end early for want of it"
    told(f"warning: {said}")
    warnings.warn(StudyWarning(said), stacklevel=2)


def most_bytes(epochs: int, saved: Saved) -> int:
    """Return what a trial takes at most: the weights of each epoch, and its state, twice.

    Twice, since the one before goes only after the newer one is recorded.
    """
    return epochs * saved.weights + 2 * saved.training


def _left(plan: Plan, trials: Sequence[TrialRecord]) -> list[int]:
    """Return the trials that are still to be trained, or to go on."""
    over = {
        trial.number
        for trial in trials
        if trial.state in {"stopped", "failed"}
        or (trial.state == "complete" and trial.num_epochs >= plan.epochs_of(trial.number))
    }
    return [number for number in range(plan.trials) if number not in over]


def largest_checkpoint(study: Study, prepared: Prepared) -> Saved:
    """Return the bytes of the largest checkpoint of a study of the built-in model."""
    first = (config for config, _ in first_configs(study, prepared))
    configs = (*extremes(prepared.space), *first)
    sizes = [saved_bytes(parse(study, config, prepared.data)) for config in configs]
    return max(sizes, key=lambda saved: saved.total)
