"""What this study's sampler is told of earlier studies: chosen once, sealed, read ever after."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from search.ownership import Ownership
from search.prepared import Prepared
from search.searcher import RecordedTrial
from search.sorting import front_ranks
from search.study import Study
from search.warm_places import place
from search.warm_sources import Earlier, Known
from search.wording import count, short_path
from trainables.errors import InputError
from trainables.record import DamagedRecord, as_count, as_float, seal, unseal
from trainables.store import Store

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What was taken of one earlier study."""

    folder: str
    num_trials: int
    """All trials that it had then."""
    left_out: Mapping[str, int]
    """By reason: how many."""
    trials: tuple[Known, ...]
    """By number, each with its config as this study's space names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmStart:
    """What was taken of all earlier studies.

    Only the sampler is told of it. The scheduler begins anew: its rungs compare losses after
    the same number of epochs on the same data, and an earlier study may have had others.
    """

    taken: tuple[Taken, ...] = ()

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

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return {
            "studies": [
                {
                    "folder": taken.folder,
                    "num_trials": taken.num_trials,
                    "left_out": dict(taken.left_out),
                    "trials": [trial.to_dict() for trial in taken.trials],
                }
                for taken in self.taken
            ]
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "WarmStart":
        """Return what ``to_dict`` was made from.

        Raises:
            InputError: If a field is missing or has another form.
        """
        try:
            return cls(taken=tuple(_taken_from(one) for one in values["studies"]))
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"a warm start needs the fields of to_dict: {error}") from error


def warm_start(
    study: Study, prepared: Prepared, ownership: Ownership, earlier: Sequence[Earlier]
) -> WarmStart:
    """Return what this study takes of earlier ones: at its first opening once and for all.

    Later it is read from the study's folder, whatever has become of the earlier studies, so
    that suggestions stay a function of seed, number and recorded trials.

    Args:
        study: The study.
        prepared: With its whole space.
        ownership: The claim on its folder.
        earlier: What ``warm_sources.read_earlier`` returned; empty at a resume.

    Raises:
        DamagedRecord: If what was taken is missing or not what was written.
        StudyLocked: If the study was taken over meanwhile.
        StorageError: If the storage refuses.
    """
    if not study.warm_start:
        return WarmStart()
    store = Store(study.folder)
    try:
        data = store.get(WARM)
    except FileNotFoundError:
        if not earlier:
            raise DamagedRecord(f"{store.uri}/{WARM} is missing; restore it from a copy") from None
        taken = WarmStart(taken=tuple(take(one, study, prepared) for one in earlier))
        ownership.check()
        store.put(WARM, seal("warm", taken.to_dict()))
        return taken
    try:
        return WarmStart.from_dict(unseal("warm", data, f"{store.uri}/{WARM}"))
    except InputError as error:
        raise DamagedRecord(f"{store.uri}/{WARM} is no record of this study: {error}") from error


def take(earlier: Earlier, study: Study, prepared: Prepared) -> Taken:
    """Choose what is taken of one earlier study.

    Of more than ``MOST_TAKEN`` trials the best are taken (by front, then by the mean log
    skill), and of the rest every so many-th, so that the sampler also sees what is bad.
    """
    has_point = [trial for trial in earlier.trials if trial.log_skills]
    placed = [
        trial.with_config(config)
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


def choose(trials: Sequence[Known], most: int) -> tuple[Known, ...]:
    """Return at most so many trials, by number: the best, and a spread over the others.

    Args:
        trials: Each with log skills.
        most: How many, at least 2.
    """
    if len(trials) <= most:
        return tuple(sorted(trials, key=lambda trial: trial.number))
    skills = np.array([trial.log_skills for trial in trials], dtype=np.float64)
    numbers = np.array([trial.number for trial in trials])
    order = np.lexsort((numbers, skills.mean(axis=1), front_ranks(skills)))
    num_best = max(1, int(most * SHARE_OF_BEST))
    spread = np.linspace(num_best, len(trials) - 1, most - num_best).round().astype(int)
    places = [*range(num_best), *spread.tolist()]
    return tuple(sorted((trials[order[i]] for i in places), key=lambda trial: trial.number))


def _told(taken: Taken) -> str:
    reasons = [f"{num} {_REASONS[why][num > 1]}" for why, num in taken.left_out.items()]
    what = f"{len(taken.trials)} of {count(taken.num_trials, 'trial')}"
    why = f" ({', '.join(reasons)})" if reasons else ""
    return f"{what} of {short_path(taken.folder)}{why}"


def _taken_from(values: Mapping[str, Any]) -> Taken:
    left_out = {
        reason: as_count(num, "left out", least=1) for reason, num in values["left_out"].items()
    }
    return Taken(
        folder=str(values["folder"]),
        num_trials=as_count(values["num_trials"], "num_trials"),
        left_out={reason: left_out[reason] for reason in _REASONS if reason in left_out},
        trials=tuple(
            Known(
                number=as_count(trial["number"], "number"),
                config=dict(trial["config"]),
                log_skills=tuple(as_float(x, "log skill") for x in trial["log_skills"]),
                epoch=as_count(trial["epoch"], "epoch", least=1),
            )
            for trial in values["trials"]
        ),
    )
