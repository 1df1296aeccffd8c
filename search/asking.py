"""What a sampler is asked, what it answers, and what is shown of the trials so far."""

import math
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from search.coding import Key
from search.space import Parameter

State = Literal["running", "complete", "stopped", "failed", "interrupted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedTrial:
    """What the study knows of a trial, as far as it matters for the next suggestion."""

    number: int
    """Place in the order of asking, from 0."""

    config: Mapping[str, Any]
    """Value of every parameter; it may name more than the space does. Never changed in place."""

    state: State
    """What became of it."""

    log_skills: tuple[float, ...] | None = None
    """``log(loss / baseline)`` of each head at the trial's point, or None without a point."""

    epoch: int = 0
    """Finished epochs at that point."""

    system_attrs: Mapping[str, Any] = field(default_factory=dict)
    """What the suggestion of this trial carried in ``Suggestion.system_attrs``."""

    @property
    def point(self) -> tuple[float, ...] | None:
        """The point that a sampler learns from, whatever ended the trial; finite, or None.

        A failed trial teaches nothing, nor does one with a NaN or an infinity.
        """
        if self.state in {"running", "failed"} or self.log_skills is None:
            return None
        return self.log_skills if all(map(math.isfinite, self.log_skills)) else None

    @property
    def is_pending(self) -> bool:
        """Whether its point is still to come; so of an interrupted trial that reached none."""
        return self.state == "running" or (self.state == "interrupted" and self.log_skills is None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """A config to try, and what the sampler wants to be told again about it."""

    config: dict[str, Any]
    """Parameter -> plain Python value; constants included."""

    system_attrs: dict[str, Any]
    """To be recorded with the trial; JSON values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """All that a sampler may look at: its answer is a function of this and nothing else."""

    kinds: Mapping[str, Parameter]
    """Searched parameter -> what it may be, in the order of the names; at least one."""

    known: tuple[tuple[RecordedTrial, Key], ...]
    """The other trials that lie in the space, each with its key, in the order of numbers."""

    tried: Set[Key]
    """Keys that should not be answered; a sampler that cannot help it may answer one."""

    num_heads: int
    """Length of each point."""

    seed: int
    """Of the study."""

    number: int
    """Of the trial to suggest for."""

    def sub_seed(self, draw: int = 0) -> int:
        """Return the seed of one draw, 32 bits, unrelated to that of any other."""
        sequence = np.random.SeedSequence(self.seed, spawn_key=(self.number, draw))
        return int(sequence.generate_state(1)[0])

    def rng(self, draw: int = 0) -> np.random.Generator:
        """Return the generator of one draw."""
        return np.random.default_rng(self.sub_seed(draw))


Draw = Callable[[Request], tuple[Key, dict[str, Any]]]
"""A sampler: from a request to a key, and what it wants to be told again of the trial."""
