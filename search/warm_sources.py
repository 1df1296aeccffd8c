"""Reads the earlier studies that inform a new one: the point and the config of every trial."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from search.candidates import best_log_skills
from search.history import History, TrialHistory
from search.keys import Path, refused
from search.log import StudyLog
from search.objective import Objective, objective_of
from search.prepared import Prepared
from search.study import Study
from trainables.errors import InputError, StorageError
from trainables.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What one trial of an earlier study says."""

    number: int
    """In that study."""
    config: Mapping[str, Any]
    log_skills: tuple[float, ...] = ()
    """``log(value / baseline)`` of all that is minimised here, in that order, at the point that
    the trial is known by and against the baselines of its own study; empty without a finite
    point."""
    epoch: int = 0
    """Finished epochs at that point."""
    is_foreign: bool = False
    """Whether it trained another model than its study's: the built-in reference beside
    a user's own."""

    def with_config(self, config: Mapping[str, Any]) -> "Known":
        """Return the same of another config."""
        return replace(self, config=dict(config))

    def to_dict(self) -> dict[str, Any]:
        """Return what is kept of it as plain JSON values."""
        return {
            "number": self.number,
            "config": dict(self.config),
            "log_skills": list(self.log_skills),
            "epoch": self.epoch,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """An earlier study at the moment when it was read."""

    folder: str
    model: str | None
    """Its ``model``: a user's own function, or None for the built-in one."""
    trials: tuple[Known, ...]


def read_earlier(study: Study) -> tuple[Earlier, ...]:
    """Read the studies that ``study.warm_start`` names, as they are now.

    A study that is being run counts with what it has measured so far.

    Raises:
        InputError: If one is missing, is this study itself or named twice, has no trials, or
            has heads of other names or kinds.
        StorageError: If its records are damaged or written by a newer version.
    """
    found: list[Earlier] = []
    for index, folder in enumerate(study.warm_start):
        at: Path = ("warm_start", index)
        uri = Store(folder).uri.rstrip("/")
        if uri == Store(study.folder).uri.rstrip("/"):
            raise refused(at, f"needs an earlier study, got this one: {uri}")
        if uri in [earlier.folder for earlier in found]:
            raise refused(at, f"needs a folder that is not named before, got {uri} again")
        found.append(_read(uri, study, at))
    return tuple(found)


def _read(folder: str, study: Study, at: Path) -> Earlier:
    try:
        history = StudyLog.read(Store(folder))
    except InputError as error:
        raise refused(at, f"needs the folder of a study: {error}") from error
    except StorageError as error:  # else it would read like damage of the new study
        raise type(error)(f"warm_start[{at[1]}] {folder}: {error}") from error
    if history.prepared is None or not history.trials:
        raise refused(at, f"needs a study with trials, got {folder}, which has none yet")
    prepared = Prepared.from_dict(history.prepared)
    _check_heads(folder, prepared, study, at)
    baselines = {head.name: prepared.data.baselines[head.name] for head in study.heads}
    model = history.study.get("model")
    has_foreign = model is not None and prepared.reference is None
    known = _known(history, baselines, objective_of(study), has_foreign=has_foreign)
    return Earlier(folder=folder, model=model, trials=tuple(known))


def _check_heads(folder: str, prepared: Prepared, study: Study, at: Path) -> None:
    there = {head.name: head.kind for head in prepared.data.heads}
    here = {head.name: head.kind for head in study.heads}
    if there != here:
        raise refused(at, f"needs a study of the heads {here}, got {folder} of {there}")


def _known(
    history: History,
    baselines: Mapping[str, float],
    objective: Objective,
    *,
    has_foreign: bool,
) -> Iterator[Known]:
    for trial in history.trials:
        skills, epoch = _point(trial, baselines, objective)
        yield Known(
            number=trial.number,
            config=trial.config,
            log_skills=skills,
            epoch=epoch,
            is_foreign=trial.is_reference and has_foreign,
        )


def _point(
    trial: TrialHistory, baselines: Mapping[str, float], objective: Objective
) -> tuple[tuple[float, ...], int]:
    """Return the point that a trial is known by; none of a failed one, as in its own study."""
    if trial.state == "failed":
        return (), 0
    skills, epoch = best_log_skills(trial, baselines, objective)
    return skills or (), epoch
