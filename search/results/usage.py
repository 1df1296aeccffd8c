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

FOLDER = StudyFolder.RUNS
KIND = "run"
_NAME = re.compile(rf"{FOLDER}/(\d{{6,}})\.json")


class _RunFigures(Struct, frozen=True, kw_only=True):
    """What is recorded of a run; see `Usage.to_dict`."""

    wall_seconds: float
    startup_seconds: float
    idle_seconds: float
    slots: Annotated[int, Meta(ge=0)]
    trials: Annotated[int, Meta(ge=0)]
    trial_seconds: tuple[tuple[int, int, float], ...] = ()


class Usage:
    """Takes note of when each process of some slots began its first trial and ended its last."""

    def __init__(self, slots: int, now: Callable[[], float] = time.time) -> None:
        self._slots = slots
        self._now = now
        self._started = now()
        self._closed = self._started
        self._began: dict[str, float] = {}
        self._last_end: dict[str, float] = {}
        self._trials: list[tuple[int, int, float]] = []

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

    def close(self) -> None:
        """Note that the run is over."""
        self._closed = self._now()

    def to_dict(self) -> dict[str, Any]:
        """Return the figures, in seconds, each summed over the slots but for the wall time.

        ``startup_seconds``: until each slot's first process began its first trial.
        ``idle_seconds``: from each process' last trial to the end, when none was left for it.
        ``trial_seconds``: number, attempt and seconds of a slot of each trial that ended.
        """
        began = sorted(self._began.values())[: self._slots]
        unused = self._slots - len(began)
        wall = self._closed - self._started
        return {
            "wall_seconds": wall,
            "slots": self._slots,
            "startup_seconds": sum(max(0.0, b - self._started) for b in began) + unused * wall,
            "idle_seconds": sum(max(0.0, self._closed - end) for end in self._ends()),
            "trials": len(self._trials),
            "trial_seconds": [list(trial) for trial in self._trials],
        }

    def _ends(self) -> list[float]:
        """Return when each slot ended its last trial."""
        return sorted(self._last_end.values(), reverse=True)[: self._slots]


@contextmanager
def recorded(usage: Usage, store: Store, generation: int) -> Iterator[None]:
    """Write a run's usage to ``runs/`` when it is over, however it ends.

    What ended the run is raised, also where its usage cannot be written.
    """
    try:
        yield
    except BaseException:
        with suppress(Exception):
            usage.close()
            _write_run(store, generation, usage.to_dict())
        raise
    usage.close()
    _write_run(store, generation, usage.to_dict())


def read_runs(store: Store) -> tuple[Mapping[str, Any], ...]:
    """Return the figures of every run of a study, oldest first.

    No result depends on them: those of a run that cannot be read are left out, with a
    ``StudyWarning``. Files of other names are other programs'.
    """
    try:
        paths = store.list(FOLDER)
    except StorageError as error:
        _warn(error)
        return ()
    found = (_read(store, path, int(m[1])) for path in paths if (m := _NAME.fullmatch(path)))
    return tuple(figures for figures in found if figures is not None)


def _write_run(store: Store, generation: int, figures: Mapping[str, Any]) -> None:
    """Write the figures of a run; raises `StorageError`."""
    body = {"generation": generation, **figures}
    store.put(f"{FOLDER}/{generation:06d}.json", seal(KIND, body))


def _read(store: Store, path: str, generation: int) -> Mapping[str, Any] | None:
    try:
        figures = {"generation": generation, **_figures(store.get(path), path)}
        if figures["generation"] != generation:
            raise InputError(f"{path} holds the figures of run {shown(figures['generation'])}")
    except FileNotFoundError:
        return None  # deleted since it was listed
    except (StorageError, InputError) as error:
        _warn(error)
        return None
    return figures


def _figures(data: bytes, path: str) -> dict[str, Any]:
    plain = unseal(KIND, data, path)
    try:
        convert(plain, _RunFigures)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return plain


def _warn(error: Exception) -> None:
    said = f"the times of a run are left out, as they cannot be read: {error}"
    warnings.warn(StudyWarning(said), stacklevel=4)
