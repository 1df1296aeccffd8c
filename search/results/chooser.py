"""Which of a study's points is chosen, why, and what other policies would have chosen."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np

from search.errors import InputError
from search.record.metrics import HasFigures
from search.results.pareto import Array, front_mask
from search.results.points import Point, log_skills_of, values_of
from search.results.policies import DEFAULT_POLICY, HEAD, LARGEST_LOG, POLICIES, choose, reason
from search.study.objective import Objective


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Chooser:
    """Chooses among points by what a study minimises."""

    objective: Objective
    baselines: Mapping[str, float]
    """The loss of the best constant prediction, of every head of the study."""

    def skills(self, point: HasFigures) -> dict[str, float]:
        """Return each value of the objective over that of the baselines."""
        yardstick = self.objective.values(self.baselines)
        values = self.objective.values(point.losses)
        return {name: value / yardstick[name] for name, value in values.items()}

    def log_skills(self, points: Sequence[HasFigures]) -> Array:
        """Return the log skills, shape ``(points, values)``, all finite for finite losses."""
        losses = [point.losses for point in points]
        return np.minimum(log_skills_of(losses, self.baselines, self.objective), LARGEST_LOG)

    def totals(self, losses: Mapping[str, float]) -> dict[str, float]:
        """Return what is minimised besides the losses of heads: the total, if it is."""
        values = self.objective.values(losses)
        return {name: value for name, value in values.items() if name not in losses}

    def front(self, points: Sequence[Point]) -> tuple[Point, ...]:
        """Return the points that no other beats, ordered by the first value."""
        if not points:
            return ()
        values = values_of([point.losses for point in points], self.objective)
        order = sorted(
            np.flatnonzero(front_mask(values)).tolist(),
            key=lambda row: (values[row, 0], points[row].number, points[row].epoch),
        )
        return tuple(points[row] for row in order)

    def pick(self, points: Sequence[Point], policy: str = DEFAULT_POLICY, **options: Any) -> Point:
        """Return the point that a policy picks; the reference only if none else is as good."""
        ordered = sorted(points, key=lambda p: (p.is_reference, p.number, p.epoch))
        index = choose(
            policy,
            values_of([point.losses for point in ordered], self.objective),
            heads=self.objective.names,
            baselines=self.objective.values(self.baselines),
            **options,
        )
        return ordered[index]

    def explained(self, points: Sequence[Point], policy: str, options: Mapping[str, Any]) -> Point:
        """Return the point that a policy picks of all, with why and its alternatives.

        The option ``head`` may name any head of the study.
        """
        if policy == HEAD and options.get("head") is None:
            options = {"head": self.objective.names[0]}
        looking = self.looking_at(options.get("head"))
        fronts = {looking.objective: looking.front(points)}
        front = fronts[looking.objective]
        best = looking.pick(front, policy, **options)
        why = reason(policy, looking.skills(best), num_points=len(front), **options)
        others = {}
        for name, other, told in self._alternatives():
            if (other, told) != (policy, dict(options)):
                there = self.looking_at(told.get("head"))
                if there.objective not in fronts:
                    fronts[there.objective] = there.front(points)
                others[name] = there.pick(fronts[there.objective], other, **told)
        return replace(best, policy=policy, why=why, others=others)

    def looking_at(self, head: str | None) -> "Chooser":
        """Return a chooser that sees a head which the objective may leave out; None: as it is."""
        if head is None:
            return self
        known = list(dict.fromkeys([*self.baselines, *self.objective.names]))
        if head not in known:
            raise InputError(f"policy needs heads among {known}, got {[head]}")
        is_named = head in self.objective.names
        return self if is_named else replace(self, objective=self.objective.with_head(head))

    def _alternatives(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Yield what could be asked for: name, policy and options; each head for itself too."""
        yield from ((name, name, {}) for name in POLICIES if name != HEAD)
        if len(self.baselines) > 1:
            yield from ((f"{HEAD}:{head}", HEAD, {"head": head}) for head in self.baselines)
