"""Up to which epoch an attempt counts that another one, or an end, follows."""

from search.decisions import Accepted, Ended, Released
from search.history import TrialHistory


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


def last_of(trial: TrialHistory, decision: Ended | Released) -> int:
    """Return the last measured epoch that an end, or a release, can count up to."""
    if isinstance(decision, Ended):
        return len(trial.measurements)
    newest = trial.attempts[-1]
    if newest.last is not None and newest.attempt == decision.attempt:
        return newest.last  # taken over: decided when this generation was opened
    return _last_epoch(trial, decision.attempt)


def _last_epoch(trial: TrialHistory, attempt: int) -> int:
    return max((m.epoch for m in trial.measurements if m.attempt == attempt), default=0)
