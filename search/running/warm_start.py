"""What this study's sampler is told of earlier studies: chosen once, sealed, read ever after."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from msgspec import Meta, Struct, field, to_builtins
from msgspec.structs import replace as changed

from search.errors import InputError, StorageError
from search.record.history import TrialRecord
from search.record.ownership import Ownership
from search.record.reader import StudyReader
from search.results.pareto import front_ranks
from search.results.points import best_log_skills
from search.sampling.trials import RecordedTrial
from search.space.encoding import key_of
from search.space.space import SearchSpace
from search.study.objective import objective_of
from search.study.prepared import Prepared
from search.study.study import Study
from search.text import count, short_path
from trainables.spec.parameters import DEPTH, config_depth
from trainables.spec.problems import Path, refused
from trainables.storage.sealed_json import DamagedRecord, convert
from trainables.storage.store import Store
from trainables.storage.study_folder import StudyFolder

WARM = "warm.json"
"""Where a study keeps what it took, relative to its folder."""
MOST_TAKEN = 200
"""Trials that are taken of one earlier study. More of them would outweigh the study's own,
and every suggestion costs time in proportion to what the sampler is shown."""
SHARE_OF_BEST = 0.5
"""Of those, the share that is taken from the best; the others are spread over the rest."""
OUTSIDE = "outside the space"
POINTLESS = "without a finite point"
BEYOND = f"beyond the {MOST_TAKEN} that are taken of a study"
"""Why a trial was left out."""

_REASONS = {
    OUTSIDE: ("lies outside the space", "lie outside the space"),
    POINTLESS: ("has no finite point", "have no finite point"),
    BEYOND: (f"is {BEYOND}", f"are {BEYOND}"),
}


class EarlierTrial(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one trial of an earlier study says."""

    number: Annotated[int, Meta(ge=0)]
    """In that study."""
    config: Mapping[str, Any]
    log_skills: tuple[float, ...] = ()
    """``log(value / baseline)`` of all that is minimised here, in that order, at the point that
    the trial is known by and against the baselines of its own study; empty without a finite
    point."""
    epoch: Annotated[int, Meta(ge=0)] = 0
    """Finished epochs at that point."""
    is_foreign: bool = False
    """Whether it trained another model than its study's: the built-in reference beside
    a user's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierStudy:
    """An earlier study at the moment when it was read."""

    folder: str
    model: str | None
    """Its ``model``: a user's own function, or None for the built-in one."""
    trials: tuple[EarlierTrial, ...]


class Taken(Struct, frozen=True, kw_only=True):
    """What was taken of one earlier study."""

    folder: str
    num_trials: Annotated[int, Meta(ge=0)]
    """All trials that it had then."""
    left_out: Mapping[str, Annotated[int, Meta(ge=1)]]
    """By reason: how many."""
    trials: tuple[EarlierTrial, ...]
    """By number, each with its config as this study's space names it."""


class WarmStart(Struct, frozen=True, kw_only=True):
    """What was taken of all earlier studies.

    Only the sampler is told of it. The scheduler begins anew: its rungs compare losses after
    the same number of epochs on the same data, and an earlier study may have had others.
    """

    taken: tuple[Taken, ...] = field(default=(), name="studies")

    def recorded(self) -> tuple[RecordedTrial, ...]:
        """Return the trials as a sampler sees them, in the order in which they were taken.

        Their numbers are negative and end with -1: before, and apart from, all of this study.
        They are shown as interrupted ones, which count with the point that they reached and
        whose configs may be suggested again: only a trial of this study can be its best.
        """
        known = [trial for taken in self.taken for trial in taken.trials]
        return tuple(
            RecordedTrial(
                number=index - len(known),
                config=trial.config,
                state="interrupted",
                log_skills=trial.log_skills,
                epoch=trial.epoch,
            )
            for index, trial in enumerate(known)
        )

    def line(self) -> str:
        """Say in one line what was taken; empty without any earlier study.

        Example:
            >>> left_out = {"outside the space": 2}
            >>> taken = Taken(folder="studies/old", num_trials=2, left_out=left_out, trials=())
            >>> WarmStart(taken=(taken,)).line()
            'warm start: 0 of 2 trials of studies/old (2 lie outside the space)'
        """
        told = ", ".join(_told(taken) for taken in self.taken)
        return f"warm start: {told}" if told else ""


def warm_start(
    folder: StudyFolder,
    study: Study,
    prepared: Prepared,
    ownership: Ownership,
    earlier: Sequence[EarlierStudy],
) -> WarmStart:
    """Return what this study takes of earlier ones: at its first opening once and for all.

    Later, when none of them is read any more, it is read from the study's folder, so that
    suggestions stay a function of seed, number and recorded trials.

    Raises:
        DamagedRecord: If what was taken is missing or not what was written.
        StudyLocked: If the study was taken over meanwhile.
        StorageError: If the storage refuses.
    """
    if not study.warm_start:
        return WarmStart()
    body = folder.read("warm")
    try:
        if body is not None:
            return convert(body, WarmStart)
    except InputError as error:
        said = f"{folder.uri}/{WARM} is no record of this study: {error}"
        raise DamagedRecord(said) from error
    if not earlier:
        raise DamagedRecord(f"{folder.uri}/{WARM} is missing; restore it from a copy")
    taken = WarmStart(taken=tuple(take(one, study, prepared) for one in earlier))
    ownership.check()
    folder.write("warm", to_builtins(taken))
    return taken


def read_earlier(study: Study) -> tuple[EarlierStudy, ...]:
    """Read the studies that ``study.warm_start`` names, as they are now.

    A study that is being run counts with what it has measured so far.
    """
    found: list[EarlierStudy] = []
    for index, folder in enumerate(study.warm_start):
        at: Path = ("warm_start", index)
        uri = Store(folder).uri.rstrip("/")
        if uri == Store(study.folder).uri.rstrip("/"):
            raise refused(at, f"needs an earlier study, got this one: {uri}")
        if uri in [earlier.folder for earlier in found]:
            raise refused(at, f"needs a folder that is not named before, got {uri} again")
        found.append(_read(uri, study, at))
    return tuple(found)


def take(earlier: EarlierStudy, study: Study, prepared: Prepared) -> Taken:
    """Choose what is taken of one earlier study.

    Of more than ``MOST_TAKEN`` trials the best are taken (by front, then by the mean log
    skill), and of the rest every so many-th, so that the sampler also sees what is bad.
    """
    has_point = [trial for trial in earlier.trials if trial.log_skills]
    placed = [
        changed(trial, config=config)
        for trial in has_point
        if (config := place(trial, earlier.model, study.model, prepared.space)) is not None
    ]
    chosen = choose(placed, MOST_TAKEN)
    left_out = {
        OUTSIDE: len(has_point) - len(placed),
        POINTLESS: len(earlier.trials) - len(has_point),
        BEYOND: len(placed) - len(chosen),
    }
    return Taken(
        folder=earlier.folder,
        num_trials=len(earlier.trials),
        left_out={reason: num for reason, num in left_out.items() if num},
        trials=chosen,
    )


def choose(trials: Sequence[EarlierTrial], most: int) -> tuple[EarlierTrial, ...]:
    """Return at most so many trials, by number: the best, and a spread over the others."""
    if len(trials) <= most:
        return tuple(sorted(trials, key=lambda trial: trial.number))
    skills = np.array([trial.log_skills for trial in trials], dtype=np.float64)
    numbers = np.array([trial.number for trial in trials])
    order = np.lexsort((numbers, skills.mean(axis=1), front_ranks(skills)))
    num_best = max(1, int(most * SHARE_OF_BEST))
    spread = np.linspace(num_best, len(trials) - 1, most - num_best).round().astype(int)
    places = [*range(num_best), *spread.tolist()]
    return tuple(sorted((trials[order[i]] for i in places), key=lambda trial: trial.number))


def place(
    trial: EarlierTrial, model_there: str | None, model_here: str | None, space: SearchSpace
) -> dict[str, Any] | None:
    """Return an earlier trial's config as this study's space names it, None if it is outside.

    What the space leaves constant must be the same, what it searches a possible value, and a
    parameter that the space does not know shapes another model. Only the depth may be said in
    one study and follow from the blocks in the other.
    """
    if trial.is_foreign or (model_there is None) != (model_here is None):
        return None
    config = dict(trial.config)
    if model_here is None:
        config = _with_depth(config, space)
    names = [name for name, _ in space.parameters]
    if not config.keys() <= set(names):
        return None
    if key_of(dict(space.searched), dict(space.constants), config, space.gates) is None:
        return None
    return {name: config[name] for name in names if name in config}


def _with_depth(config: Mapping[str, Any], space: SearchSpace) -> dict[str, Any]:
    """Return a config that says its depth if, and only if, the space does."""
    known = dict(space.parameters)
    plain = {name: value for name, value in config.items() if name != DEPTH}
    depth = config_depth(list(plain), config.get(DEPTH))
    # A depth that the space has not is left in, where it is a parameter unknown to it.
    if DEPTH not in known and depth == config_depth(list(known), None):
        return plain
    return {DEPTH: depth, **plain}


def _read(folder: str, study: Study, at: Path) -> EarlierStudy:
    try:
        history = StudyReader(Store(folder)).read()
    except InputError as error:
        raise refused(at, f"needs the folder of a study: {error}") from error
    except StorageError as error:  # else it would read like damage of the new study
        raise type(error)(f"warm_start[{at[1]}] {folder}: {error}") from error
    if history.prepared is None or not history.trials:
        raise refused(at, f"needs a study with trials, got {folder}, which has none yet")
    prepared = Prepared.from_dict(history.prepared)
    there = {head.name: head.kind for head in prepared.data.heads}
    here = {head.name: head.kind for head in study.heads}
    if there != here:
        raise refused(at, f"needs a study of the heads {here}, got {folder} of {there}")
    baselines = {head.name: prepared.data.baselines[head.name] for head in study.heads}
    model, objective = history.study.get("model"), objective_of(study)
    has_foreign = model is not None and prepared.reference is None

    def known(trial: TrialRecord) -> EarlierTrial:
        # None of a failed one, as in its own study.
        is_told = trial.state != "failed"
        skills, epoch = best_log_skills(trial, baselines, objective) if is_told else (None, 0)
        return EarlierTrial(
            number=trial.number,
            config=trial.config,
            log_skills=skills or (),
            epoch=epoch,
            is_foreign=trial.is_reference and has_foreign,
        )

    return EarlierStudy(folder=folder, model=model, trials=tuple(map(known, history.trials)))


def _told(taken: Taken) -> str:
    reasons = [
        f"{num} {_REASONS[why][num > 1]}" for why, num in taken.left_out.items() if why in _REASONS
    ]
    what = f"{len(taken.trials)} of {count(taken.num_trials, 'trial')}"
    why = f" ({', '.join(reasons)})" if reasons else ""
    return f"{what} of {short_path(taken.folder)}{why}"
