"""A study at one moment: each trial with what was decided and what was measured of it."""

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import replace

from search.record.decisions import EndState, Origin, Released, Tested
from search.record.metrics import point_words
from search.text import count, one_line
from trainables.trial.measurement import Measurement

TrialState = EndState | Literal["running"]
"""Where a trial stands; ``running`` also while it waits for its next attempt."""


class RecordedAttempt(Struct, frozen=True, kw_only=True):
    """One try to train a trial."""

    attempt: int
    """From 1."""
    generation: int
    """The generation that started it; only measurements of this generation belong to it."""
    last: int | None = None
    """The last epoch that counts once the attempt is over; None while it may go on."""


class TrialRecord(Struct, frozen=True, kw_only=True):
    """All that is known of one trial: what was decided, joined with what was measured."""

    number: int
    config: Mapping[str, Any]
    origin: Origin
    is_reference: bool
    system: Mapping[str, Any]
    """What the sampler noted for itself when it proposed the config."""
    attempts: tuple[RecordedAttempt, ...]
    state: TrialState = "running"
    reason: str = ""
    """Why it ended, for people; empty while it runs."""
    epoch: int | None = None
    """The last epoch that counts, 0 for none; None while it runs."""
    stopped_at: int | None = None
    """The epoch after which the scheduler stopped it; set before the trial has ended."""
    taken_up_after: int = 0
    """The epoch after which it had ended and was taken up again; 0 if it was not."""
    releases: tuple[Released, ...] = ()
    """The attempts that ended without ending the trial."""
    num_forgiven: int = 0
    """Of the releases: those before it was last put back, which count against it no more."""
    tested: tuple[Tested, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    """Epochs 1, 2, ... without a gap, each by the newest attempt that measured it."""
    resumable: tuple[Measurement, ...] = ()
    """Every accepted measurement with a checkpoint, newest first; empty once the trial ended.

    A next attempt may continue from these and from no other checkpoint in the folder.
    """

    @property
    def has_ended(self) -> bool:
        """Whether nothing more is to come."""
        return self.state != "running"

    @property
    def is_open(self) -> bool:
        """Whether nothing has been decided yet of its newest attempt."""
        return not self.has_ended and self.attempts[-1].last is None

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
            if one.epoch < last or one.epoch <= self.taken_up_after or one.epoch == self.stopped_at
        )

    @property
    def counted_releases(self) -> tuple[Released, ...]:
        """The releases that count against it."""
        return self.releases[self.num_forgiven :]

    @property
    def charged_failures(self) -> int:
        """Attempts that were lost through the trial's own doing."""
        return sum(release.charged for release in self.counted_releases)

    @property
    def node_losses(self) -> int:
        """Attempts that were lost with their node, or preempted."""
        return sum(release.cause in {"node", "preempted"} for release in self.counted_releases)

    @property
    def num_attempts(self) -> int:
        """Attempts that were begun."""
        return len(self.attempts)

    @property
    def num_epochs(self) -> int:
        """Epochs that were measured."""
        return len(self.measurements)

    @property
    def nodes(self) -> tuple[str, ...]:
        """The machines that trained it, in the order of its epochs."""
        return tuple(dict.fromkeys(m.node for m in self.measurements if m.node))

    def __repr__(self) -> str:
        return one_line(self, self._words)

    def _words(self) -> str:
        reference = " (reference)" if self.is_reference else ""
        said = f"{self.number}{reference}: {self.state}, {count(self.num_epochs, 'epoch')}"
        said += f", {self.reason}" if self.reason else ""
        last = f", last {point_words(self.measurements[-1])}" if self.measurements else ""
        return f"{said}{last}"

    def last_epoch(self, attempt: int) -> int:
        """Return the last epoch that counts of one of its attempts; 0 for none."""
        return max((m.epoch for m in self.measurements if m.attempt == attempt), default=0)

    def closed(self, last: int) -> "TrialRecord":
        """Return the trial with its newest attempt over after epoch ``last``."""
        return replace(self, attempts=(*self.attempts[:-1], replace(self.attempts[-1], last=last)))

    def joined(self, measured: Iterable[Measurement]) -> "TrialRecord":
        """Return the trial with what was measured of it, of which not all may count."""
        counting = [m for m in measured if counts(self, m.generation, m.attempt, m.epoch)]
        kept = [m for m in counting if m.checkpoint is not None and not self.has_ended]
        kept.sort(key=lambda m: (m.epoch, m.attempt), reverse=True)
        return replace(self, measurements=_without_gaps(counting), resumable=tuple(kept))


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
    trials: tuple[TrialRecord, ...]
    """Trial ``n`` at index ``n``."""


def counts(trial: TrialRecord, generation: int, attempt: int, epoch: int) -> bool:
    """Tell whether a measurement belongs to what was decided about its trial.

    Late writes of an attempt that was given up, or of an older generation's, do not.
    """
    if attempt > len(trial.attempts):
        return False  # newer than the decisions at hand
    known = trial.attempts[attempt - 1]
    last = trial.epoch if trial.has_ended else trial.stopped_at
    return generation == known.generation and all(
        limit is None or epoch <= limit for limit in (known.last, last)
    )


def _without_gaps(counting: Iterable[Measurement]) -> tuple[Measurement, ...]:
    """Return epochs 1, 2, ... up to the first one missing, each by its newest attempt."""
    newest = {one.epoch: one for one in sorted(counting, key=attrgetter("attempt"))}
    whole = itertools.takewhile(newest.__contains__, itertools.count(1))
    return tuple(map(newest.__getitem__, whole))
