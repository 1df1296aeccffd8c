"""What trainings with fresh seeds say of a study's leading points: means, spreads, ranks."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from search.choosing import Chooser
from search.metrics import own_metric, point_words
from search.pareto import Array
from search.points import Figures, Point
from search.policies import Options, choose
from search.wording import count, number, one_line

LARGEST_EXPONENT = 700.0
"""Below the logarithm of the largest float."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """One training of a point's config with a fresh seed, to the point's epoch."""

    seed: int
    figures: Figures | None
    """On the validation split; None if it failed."""
    test: Figures | None = None
    """On the test split, where there is one."""
    failure: str = ""
    """Why it failed."""

    def __repr__(self) -> str:
        return one_line(self, self._words)

    def _words(self) -> str:
        if self.figures is None:
            return f"seed {self.seed} failed: {self.failure}"
        return f"seed {self.seed}: {point_words(self.figures)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """One figure over several seeds."""

    mean: float
    deviation: float | None
    """Standard deviation of a sample (divided by ``num - 1``); None of a single seed."""
    least: float
    most: float
    num: int

    def __repr__(self) -> str:
        return one_line(self, self._words)

    def _words(self) -> str:
        ends = f"{number(self.least)} .. {number(self.most)}"
        return f"{self.in_digits()} ({ends}, {count(self.num, 'seed')})"

    def in_digits(self, digits: Callable[[float], str] = number) -> str:
        """Return mean and deviation.

        Args:
            digits: Puts the mean into words.

        Example:
            >>> spread_of([0.4, 0.42]).in_digits(), spread_of([0.4]).in_digits()
            ('0.41 ± 0.014', '0.4')
        """
        if self.deviation is None:
            return digits(self.mean)
        return f"{digits(self.mean)} ± {number(float(f'{self.deviation:.2g}'))}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A leading point of a study, and how its config did with fresh seeds."""

    point: Point
    """The point in the study. Its figures were selected: they are optimistic."""
    was: int
    """Its rank in the study, from 1."""
    repeats: tuple[Repeat, ...]
    """By seed; those that have ended."""

    def __repr__(self) -> str:
        return one_line(self, self._words)

    def _words(self) -> str:
        heads = ", ".join(self.in_words(head) for head in self.losses)
        failed = f"; {len(self.failed)} failed" if self.failed else ""
        seeds = count(len(self.trained), "fresh seed")
        return f"{self.point.name}, was {self.was}: {heads} ({seeds}){failed}"

    def in_words(self, head: str) -> str:
        """Return what fresh seeds gave for one head: its own metric, its loss beside it."""
        found, loss = own_metric(self.metrics, head), self.losses[head].in_digits()
        if found is None:
            return f"{head} loss {loss}"
        metric, spread = found
        return f"{head} {metric.label} {spread.in_digits(metric.in_digits)} (loss {loss})"

    @property
    def trained(self) -> tuple[Repeat, ...]:
        """The repeats that did not fail."""
        return tuple(one for one in self.repeats if one.figures is not None)

    @property
    def failed(self) -> tuple[Repeat, ...]:
        """The repeats that failed."""
        return tuple(one for one in self.repeats if one.figures is None)

    @property
    def losses(self) -> dict[str, Spread]:
        """Validation loss by head over the seeds; empty if none was trained."""
        return _spreads([one.figures.losses for one in self.trained if one.figures])

    @property
    def metrics(self) -> dict[str, Spread]:
        """Validation metrics over the seeds, by ``val_<head>_<metric>``."""
        return _spreads([one.figures.metrics for one in self.trained if one.figures])

    @property
    def test(self) -> dict[str, Spread]:
        """Loss by head on the test split; empty without one."""
        return _spreads([one.test.losses for one in self.trained if one.test])

    @property
    def test_metrics(self) -> dict[str, Spread]:
        """Metrics on the test split, by ``<head>_<metric>``; empty without one."""
        return _spreads([one.test.metrics for one in self.trained if one.test])


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """What became of a study's leading points when they were trained again.

    Example:
        >>> confirmed = search.confirm("studies/digits")  # doctest: +SKIP
        >>> confirmed.verdict, confirmed.leader.losses["c_output"].mean  # doctest: +SKIP
    """

    name: str
    """Of the study."""
    folder: str
    policy: str
    options: Mapping[str, Any]
    """What the policy was told."""
    chooser: Chooser
    """What the study minimises, and the baseline of each head."""
    seeds: tuple[int, ...]
    candidates: tuple[Candidate, ...]
    """By their rank now. It comes from the fresh seeds alone: from the mean log skill of each
    value of the objective, to which the policy is applied. A candidate that failed with some
    seed comes after those that never did."""

    def __repr__(self) -> str:
        return one_line(self, lambda: f"{self.name!r}: {self.verdict}")

    @property
    def baselines(self) -> Mapping[str, float]:
        """The loss of the best constant prediction, by head."""
        return self.chooser.baselines

    @property
    def heads(self) -> tuple[str, ...]:
        """The names of the heads, in the study's order."""
        return tuple(self.baselines)

    @property
    def leader(self) -> Candidate:
        """The candidate that is first now."""
        return self.candidates[0]

    @property
    def first(self) -> Candidate:
        """The candidate that was first in the study."""
        return min(self.candidates, key=lambda one: one.was)

    @property
    def reference(self) -> Candidate | None:
        """The reference trial."""
        return next((one for one in self.candidates if one.point.is_reference), None)

    @property
    def verdict(self) -> str:
        """Whether the study's choice has survived its luck, in one sentence."""
        from search.confirming.verdict import verdict_of

        return verdict_of(self)

    @property
    def gain(self) -> str:
        """How far the leader is ahead of the reference trial; empty where that says nothing."""
        from search.confirming.verdict import gain_of

        return gain_of(self)

    def skill(self, candidate: Candidate) -> Spread | None:
        """Return the geometric mean of a candidate's skills over the seeds.

        They are those of what is minimised, weighed as the policy weighs them. Mean and
        deviation are those of the logarithms: the geometric mean, and the deviation as a share
        of it.
        """
        scores = [self.score(one.figures) for one in candidate.trained if one.figures]
        if not scores:
            return None
        logs = spread_of(scores)
        return Spread(
            mean=_exp(logs.mean),
            deviation=None if logs.deviation is None else _exp(logs.deviation) - 1,
            least=_exp(logs.least),
            most=_exp(logs.most),
            num=logs.num,
        )

    def study_skill(self, candidate: Candidate) -> float:
        """Return the same of the point in the study, which is optimistic."""
        return _exp(self.score(candidate.point))

    def score(self, figures: "Figures | Point") -> float:
        """Return the logarithm of a point's geometric mean of skills."""
        logs = self.chooser.log_skills([figures])[0]
        names = self.chooser.objective.names
        return float(logs @ score_weights(self.policy, self.options, names))


def confirmation(
    *,
    name: str,
    folder: str,
    policy: str,
    options: Mapping[str, Any],
    chooser: Chooser,
    seeds: Sequence[int],
    candidates: Sequence[Candidate],
) -> Confirmation:
    """Put the candidates in the order of their rank now.

    Args:
        name: Of the study.
        folder: Of the study.
        policy: One of ``search.policies.POLICIES``.
        options: What it is told.
        chooser: Says what is minimised, and the baselines.
        seeds: The fresh ones.
        candidates: At least one, in the order of the study.
    """
    unordered = Confirmation(
        name=name,
        folder=folder,
        policy=policy,
        options=dict(options),
        chooser=chooser,
        seeds=tuple(seeds),
        candidates=tuple(candidates),
    )
    return replace(unordered, candidates=_ranked(unordered))


def spread_of(values: Sequence[float]) -> Spread:
    """Return mean and spread of at least one finite figure.

    Example:
        >>> spread = spread_of([1.0, 3.0])
        >>> spread.mean, round(spread.deviation, 4), spread.least, spread.most
        (2.0, 1.4142, 1.0, 3.0)
    """
    return Spread(
        mean=statistics.fmean(values),
        deviation=statistics.stdev(values) if len(values) > 1 else None,
        least=min(values),
        most=max(values),
        num=len(values),
    )


def score_weights(policy: str, options: Mapping[str, Any], heads: Sequence[str]) -> Array:
    """Return how much each value counts in one figure for all: its share, summing to 1.

    ``ideal_point`` and ``lexicographic`` have no such figure; there all count the same.
    """
    shares = np.ones(len(heads))
    if policy == "geometric_mean":
        shares = Options(heads=tuple(heads), **options).weights
    elif policy == "head":
        shares = np.array([float(head == options.get("head", heads[0])) for head in heads])
    return np.asarray(shares / shares.sum())


def chosen_among(confirmed: Confirmation, skills: Array) -> int:
    """Return the index of the point that the policy picks.

    Args:
        confirmed: Says the policy.
        skills: Log skills, shape ``(points, values)``.
    """
    names = confirmed.chooser.objective.names
    # Skills are losses in the unit of the baseline, and no policy knows a unit.
    return choose(
        confirmed.policy,
        np.exp(np.minimum(skills, LARGEST_EXPONENT)),
        heads=names,
        baselines=dict.fromkeys(names, 1.0),
        **confirmed.options,
    )


def _ranked(confirmed: Confirmation) -> tuple[Candidate, ...]:
    trained = [one for one in confirmed.candidates if one.trained]
    return (
        *_by_policy(confirmed, [one for one in trained if not one.failed]),
        *_by_policy(confirmed, [one for one in trained if one.failed]),
        *(one for one in confirmed.candidates if not one.trained),
    )


def _by_policy(confirmed: Confirmation, candidates: Sequence[Candidate]) -> list[Candidate]:
    left = sorted(candidates, key=lambda one: (one.point.is_reference, one.was))
    ordered = []
    while left:
        means = np.array([_mean_log_skills(confirmed, one) for one in left])
        ordered.append(left.pop(chosen_among(confirmed, means)))
    return ordered


def _mean_log_skills(confirmed: Confirmation, candidate: Candidate) -> Array:
    figures = [one.figures for one in candidate.trained if one.figures]
    return np.asarray(confirmed.chooser.log_skills(figures).mean(axis=0))


def _spreads(found: Sequence[Mapping[str, float]]) -> dict[str, Spread]:
    """Return the spread of every figure that each of some mappings has."""
    names = [name for name in (found[0] if found else ()) if all(name in one for one in found)]
    return {name: spread_of([one[name] for one in found]) for name in names}


def _exp(value: float) -> float:
    return math.exp(min(value, LARGEST_EXPONENT))
