"""How the slots of a run were used: what the wall time, times the slots, went into."""

import re
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Annotated, Any

from msgspec import Meta, Struct

from search.errors import InputError, StorageError, StudyWarning
from trainables.spec.problems import shown
from trainables.storage.sealed_json import convert, seal, unseal
from trainables.storage.store import Store
from trainables.storage.study_folder import StudyFolder

KIND = "run"
_NAME = re.compile(rf"{StudyFolder.RUNS}/(\d{{6,}})\.json")


class _RunFigures(Struct, frozen=True, kw_only=True):
    """What is recorded of a run; see `Usage.to_dict`."""

    wall_seconds: float
    startup_seconds: float
    idle_seconds: float
    slots: Annotated[int, Meta(ge=0)]
    trials: Annotated[int, Meta(ge=0)]
    trial_seconds: tuple[tuple[int, int, float], ...] = ()


class Usage:
    """Takes note of when the processes of some slots began, and when the slots had no trial."""

    def __init__(self, slots: int, now: Callable[[], float] = time.time) -> None:
        self._slots = slots
        self._now = now
        self._started = now()
        self._began: dict[str, float] = {}
        self._last_end: dict[str, float] = {}
        self._trials: list[tuple[int, int, float]] = []
        self._free: list[float] = []
        """Since when each slot that had a trial has none, the newest last."""

    def handed(self) -> None:
        """Note that an attempt goes to a slot: to the one that became free last, if any is."""
        if self._free:
            self._free.pop()

    def freed(self) -> None:
        """Note that a slot has lost its attempt, of which there had been a result.

        One that is lost before its process gave any has only started.
        """
        self._free.append(self._now())

    def seen(self, process: str, began_at: float) -> None:
        """Note a result of a process, which began its first trial at ``began_at``."""
        self._began.setdefault(process, began_at)

    def ended(self, process: str, number: int, attempt: int) -> None:
        """Note that a process has ended this attempt at a trial, and with it the trial, just now.

        All since it ended the one before, or began its first, is this one's.
        """
        now = self._now()
        since = self._last_end.get(process, self._began.get(process, now))
        self._trials.append((number, attempt, round(now - since, 6)))
        self._last_end[process] = now
        self._free.append(now)

    def to_dict(self) -> dict[str, Any]:
        """Return the figures of a run that is over now, in seconds.

        Each is summed over the slots but for the wall time.

        ``startup_seconds``: until each slot's first process began its first trial.
        ``idle_seconds``: of the slots that have no trial at the end, since they had their last.
        ``trial_seconds``: number, attempt and seconds of a slot of each trial that ended.
        """
        began = sorted(self._began.values())[: self._slots]
        free = sorted(self._free, reverse=True)[: self._slots]
        unused = self._slots - len(began)
        now = self._now()
        wall = now - self._started
        return {
            "wall_seconds": wall,
            "slots": self._slots,
            "startup_seconds": sum(max(0.0, b - self._started) for b in began) + unused * wall,
            "idle_seconds": sum(max(0.0, now - since) for since in free),
            "trials": len(self._trials),
            "trial_seconds": [list(trial) for trial in self._trials],
        }


@contextmanager
def recorded(usage: Usage, store: Store, generation: int) -> Iterator[None]:
    """Write a run's usage to ``runs/`` when it is over, however it ends.

    What ended the run is raised, also where its usage cannot be written.
    """
    try:
        yield
    except BaseException:
        with suppress(Exception):
            _write_run(store, generation, usage.to_dict())
        raise
    _write_run(store, generation, usage.to_dict())


def read_runs(store: Store) -> tuple[Mapping[str, Any], ...]:
    """Return the figures of every run of a study, oldest first.

    No result depends on them: what cannot be read is left out, with a ``StudyWarning``.
    """
    try:
        paths = store.list(StudyFolder.RUNS)
    except StorageError as error:
        _warn(error)
        return ()
    # Files of other names are other programs'.
    found = (_read(store, path, int(m[1])) for path in paths if (m := _NAME.fullmatch(path)))
    return tuple(figures for figures in found if figures is not None)


def _write_run(store: Store, generation: int, figures: Mapping[str, Any]) -> None:
    """Write the figures of a run; raises `StorageError`."""
    body = {"generation": generation, **figures}
    store.put(f"{StudyFolder.RUNS}/{generation:06d}.json", seal(KIND, body))


def _read(store: Store, path: str, generation: int) -> Mapping[str, Any] | None:
    try:
        figures = {"generation": generation, **unseal(KIND, store.get(path), path)}
        try:
            convert(figures, _RunFigures)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        if figures["generation"] != generation:
            raise InputError(f"{path} holds the figures of run {shown(figures['generation'])}")
    except FileNotFoundError:
        return None  # deleted since it was listed
    except (StorageError, InputError) as error:
        _warn(error)
        return None
    return figures


def _warn(error: Exception) -> None:
    said = f"the times of a run are left out, as they cannot be read: {error}"
    warnings.warn(StudyWarning(said), stacklevel=4)
