"""Up to which epoch an attempt counts that another one, or an end, follows."""

from dataclasses import replace

from search.decisions import Accepted, Ended, Released
from search.history import TrialHistory
from trainables.errors import InputError


def is_open(trial: TrialHistory) -> bool:
    """Tell whether nothing has been decided yet of a trial's newest attempt."""
    return not trial.has_ended and trial.attempts[-1].last is None


def accepted(trial: TrialHistory) -> Accepted:
    """Return what a new owner accepts of a trial's open attempt: all that is there."""
    newest = trial.attempts[-1]
    return Accepted(
        number=trial.number,
        attempt=newest.attempt,
        generation=newest.generation,
        epoch=_last_epoch(trial, newest.attempt),
    )


def completed(decision: Ended | Released, trial: TrialHistory) -> Ended | Released:
    """Return an end, or a release, with the last epoch that counts: by itself the last measured.

    Raises:
        InputError: If it says one that was not measured.
    """
    measured = _last_of(trial, decision)
    if decision.epoch is None:
        return replace(decision, epoch=measured)
    if decision.epoch > measured:
        raise InputError(
            f"trial {decision.number} has {measured} measured epochs, "
            f"it cannot be {decision.kind} after {decision.epoch}"
        )
    return decision


def _last_of(trial: TrialHistory, decision: Ended | Released) -> int:
    if isinstance(decision, Ended):
        return len(trial.measurements)
    newest = trial.attempts[-1]
    if newest.last is not None and newest.attempt == decision.attempt:
        return newest.last  # taken over: decided when this generation was opened
    return _last_epoch(trial, decision.attempt)


def _last_epoch(trial: TrialHistory, attempt: int) -> int:
    return max((m.epoch for m in trial.measurements if m.attempt == attempt), default=0)
