"""A study at one moment: what was decided, joined with what was measured."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from search.record.decisions import EndState, Origin, Released, Tested
from search.record.replay import Attempt, Replay, TrialDecisions
from trainables.trial.measurement import Measurement

State = EndState | Literal["running"]
"""Where a trial stands; ``running`` also while it waits for its next attempt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialHistory:
    """All that is known of one trial."""

    number: int
    config: Mapping[str, Any]
    is_reference: bool
    origin: Origin
    system: Mapping[str, Any]
    """What the sampler noted for itself when it proposed the config."""
    state: State
    reason: str
    """Why it ended, for people; empty while it runs."""
    stopped_at: int | None
    """The epoch after which the scheduler stopped it; set before the trial has ended."""
    passed: int
    """The epoch after which it had ended and was taken up again; 0 if it was not."""
    attempts: tuple[Attempt, ...]
    releases: tuple[Released, ...]
    """The attempts that ended without ending the trial."""
    measurements: tuple[Measurement, ...]
    """Epochs 1, 2, ... without a gap, each by the newest attempt that measured it."""
    resumable: tuple[Measurement, ...]
    """Every accepted measurement with a checkpoint, newest first; empty once the trial ended.

    A next attempt may continue from these and from no other checkpoint in the folder.
    """
    tested: tuple[Tested, ...]

    @property
    def has_ended(self) -> bool:
        """Whether nothing more is to come."""
        return self.state != "running"

    @property
    def decided(self) -> tuple[Measurement, ...]:
        """The epochs after which it was decided whether it goes on.

        One that another followed was let pass, as was one after which the trial was taken up
        again; of the last one only the log knows.
        """
        last = len(self.measurements)
        if self.has_ended:
            return self.measurements
        return tuple(
            one
            for one in self.measurements
            if one.epoch < last or one.epoch <= self.passed or one.epoch == self.stopped_at
        )

    @property
    def charged_failures(self) -> int:
        """Attempts that were lost through the trial's own doing."""
        return sum(release.charged for release in self.releases)

    @property
    def node_losses(self) -> int:
        """Attempts that were lost with their node, or preempted."""
        return sum(release.cause in {"node", "preempted"} for release in self.releases)


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """All that is known of a study at one moment; a value that never changes."""

    study: Mapping[str, Any]
    """The study as it was created."""
    prepared: Mapping[str, Any] | None
    """What was found out about the data before the first trial; None before that."""
    budget: Mapping[str, Any]
    """The budget in force; empty before the first owner."""
    generation: int
    """The newest owner's generation; 0 before the first."""
    is_closed: bool
    """Whether the newest owner ended in order; if not, it is at work or was killed."""
    close_reason: str
    trials: tuple[TrialHistory, ...]
    """Trial ``n`` at index ``n``."""


def trial_history(
    number: int, decisions: TrialDecisions, measured: Iterable[Measurement]
) -> TrialHistory:
    """Join what was decided about a trial with what was measured of it.

    Args:
        number: The trial.
        decisions: Its decisions.
        measured: Everything found of this trial, in any order; what does not count is left out.
    """
    counting = [m for m in measured if counts(decisions, m.generation, m.attempt, m.epoch)]
    ended = decisions.ended
    return TrialHistory(
        number=number,
        config=decisions.asked.config,
        is_reference=decisions.asked.is_reference,
        origin=decisions.asked.origin,
        system=decisions.asked.system,
        state=ended.state if ended else "running",
        reason=ended.reason if ended else "",
        stopped_at=decisions.stopped_at,
        passed=decisions.passed,
        attempts=decisions.attempts,
        releases=decisions.releases,
        measurements=without_gaps(counting),
        resumable=() if ended else _resumable(counting),
        tested=decisions.tested,
    )


def counts(decisions: TrialDecisions, generation: int, attempt: int, epoch: int) -> bool:
    """Tell whether a measurement belongs to what was decided about its trial.

    Late writes of an attempt that was given up, or of an older generation's, do not.
    """
    if attempt > len(decisions.attempts):
        return False  # newer than the decisions at hand
    known = decisions.attempts[attempt - 1]
    limits = (known.last, decisions.last_epoch)
    return generation == known.generation and all(
        limit is None or epoch <= limit for limit in limits
    )


def without_gaps(counting: Iterable[Measurement]) -> tuple[Measurement, ...]:
    """Return epochs 1, 2, ... up to the first one missing, each by its newest attempt."""
    newest: dict[int, Measurement] = {}
    for measurement in counting:
        known = newest.get(measurement.epoch)
        if known is None or measurement.attempt > known.attempt:
            newest[measurement.epoch] = measurement
    epochs = range(1, len(newest) + 1)
    whole = next((epoch - 1 for epoch in epochs if epoch not in newest), len(newest))
    return tuple(newest[epoch] for epoch in range(1, whole + 1))


def study_history(
    replay: Replay,
    trials: Iterable[TrialHistory],
    *,
    study: Mapping[str, Any],
    prepared: Mapping[str, Any] | None,
) -> History:
    """Put the trials and the study's own decisions together."""
    return History(
        study=study,
        prepared=prepared,
        budget=replay.budget,
        generation=replay.generation,
        is_closed=replay.closed is not None,
        close_reason=replay.closed.reason if replay.closed else "",
        trials=tuple(trials),
    )


def _resumable(counting: Iterable[Measurement]) -> tuple[Measurement, ...]:
    kept = [m for m in counting if m.checkpoint is not None]
    return tuple(sorted(kept, key=lambda m: (m.epoch, m.attempt), reverse=True))
