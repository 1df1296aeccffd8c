"""What trainings with fresh seeds say of a study's leading points: means, ranks, a verdict."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from search.record.decisions import Tested
from search.record.history import TrialRecord
from search.record.metrics import HasFigures, own_metric
from search.results.chooser import Chooser
from search.results.pareto import Array
from search.results.points import Point
from search.results.policies import Options, choose
from search.text import clean, count, number, one_line
from trainables.trial.measurement import Measurement

LARGEST_EXPONENT = 700.0
"""Below the logarithm of the largest float."""
MEASURED = ("geometric_mean", "head")
"""Policies whose score is a figure of one point, so that two points have a distance."""
LARGEST_SHARE = 10.0
"""Above this, percents are hard to read."""
MORE_SEEDS = 5
"""What is advised where too few seeds tell nothing."""


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
        """Return mean and deviation, the mean as ``digits`` puts it into words.

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
    repeats: Mapping[int, TrialRecord]
    """By fresh seed: how it was trained again to its epoch, if that has ended."""

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
    def name(self) -> str:
        """The trial in words."""
        return "the reference trial" if self.point.is_reference else f"trial {self.point.number}"

    @property
    def trained(self) -> dict[int, Measurement]:
        """By seed: what those that did not fail gave on the validation split."""
        return {
            seed: trial.measurements[-1]
            for seed, trial in self.repeats.items()
            if trial.state == "complete"
        }

    @property
    def tested(self) -> dict[int, Tested]:
        """By seed: what these gave on the test split; empty without one."""
        return {
            seed: self.repeats[seed].tested[-1]
            for seed in self.trained
            if self.repeats[seed].tested
        }

    @property
    def failed(self) -> dict[int, str]:
        """By seed: why the others failed."""
        return {
            seed: trial.reason or trial.state
            for seed, trial in self.repeats.items()
            if trial.state != "complete"
        }

    @property
    def losses(self) -> dict[str, Spread]:
        """Validation loss by head over the seeds; empty if none was trained."""
        return _spreads([one.losses for one in self.trained.values()])

    @property
    def metrics(self) -> dict[str, Spread]:
        """Validation metrics over the seeds, by ``val_<head>_<metric>``."""
        return _spreads([one.metrics for one in self.trained.values()])

    @property
    def test(self) -> dict[str, Spread]:
        """Loss by head on the test split; empty without one."""
        return _spreads([one.losses for one in self.tested.values()])

    @property
    def test_metrics(self) -> dict[str, Spread]:
        """Metrics on the test split, by ``<head>_<metric>``; empty without one."""
        return _spreads([one.metrics for one in self.tested.values()])


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
        leader, first = self.leader, self.first
        if not leader.trained:
            num = sum(len(one.failed) for one in self.candidates)
            why = next(iter(leader.failed.values()), "none has ended")
            return clean(f"nothing is confirmed: {count(num, 'training')} failed (first: {why})")
        if leader is first:
            rival = next((one for one in self.candidates[1:] if one.trained), None)
            if rival is None:
                return _alone(self, leader)
            if rival.failed and not leader.failed:
                return f"{leader.name} keeps its lead: {_failed(rival)}"
            return _kept(leader.name, rival.name, _compare(self, leader, rival))
        if first.failed and not leader.failed:
            return f"{leader.name} leads after confirmation: {_failed(first)}"
        return _changed(leader.name, first.name, _compare(self, leader, first))

    @property
    def gain(self) -> str:
        """How far the leader is ahead of the reference trial; empty where that says nothing."""
        leader, reference = self.leader, self.reference
        if reference is None or reference is leader:
            return ""
        found = _compare(self, leader, reference)
        if not found.num:
            return ""
        before = self.score(reference.point) - self.score(leader.point)
        names = self.chooser.objective.names
        measure = "geometric mean of skills" if len(names) > 1 else f"loss {names[0]}"
        return (
            f"{leader.name} is {_ahead(found.ahead)} the reference trial in the {measure}"
            f"{_with_spread(found)}; in the study it was {_ahead(before)} it"
        )

    def skill(self, candidate: Candidate) -> Spread | None:
        """Return the geometric mean of a candidate's skills over the seeds.

        They are those of what is minimised, weighed as the policy weighs them. Mean and
        deviation are those of the logarithms: the geometric mean, and the deviation as a share
        of it.
        """
        if not candidate.trained:
            return None
        logs = spread_of([self.score(one) for one in candidate.trained.values()])
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

    def score(self, figures: HasFigures) -> float:
        """Return the logarithm of a point's geometric mean of skills.

        ``ideal_point`` and ``lexicographic`` have no weights; there all values count the same.
        """
        names = self.chooser.objective.names
        weights = np.ones(len(names))
        if self.policy == "geometric_mean":
            weights = Options(heads=names, **self.options).weights
        elif self.policy == "head":
            head = self.options.get("head", names[0])
            weights = np.array([float(name == head) for name in names])
        return float(self.chooser.log_skills([figures])[0] @ (weights / weights.sum()))

    def ranked(self) -> "Confirmation":
        """Return the same with the candidates, given as they ranked in the study, by rank now."""
        never_failed = [one for one in self.candidates if one.trained and not one.failed]
        sometimes = [one for one in self.candidates if one.trained and one.failed]
        none = [one for one in self.candidates if not one.trained]
        ranks = (*self._by_policy(never_failed), *self._by_policy(sometimes), *none)
        return replace(self, candidates=ranks)

    def chosen(self, log_skills: Array) -> int:
        """Return the index of the point that the policy picks; shape ``(points, values)``."""
        names = self.chooser.objective.names
        # Skills are losses in the unit of the baseline, and no policy knows a unit.
        return choose(
            self.policy,
            np.exp(np.minimum(log_skills, LARGEST_EXPONENT)),
            heads=names,
            baselines=dict.fromkeys(names, 1.0),
            **self.options,
        )

    def _by_policy(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        left = sorted(candidates, key=lambda one: (one.point.is_reference, one.was))
        ordered = []
        while left:
            figures = [list(one.trained.values()) for one in left]
            means = [self.chooser.log_skills(one).mean(axis=0) for one in figures]
            ordered.append(left.pop(self.chosen(np.array(means))))
        return ordered


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How one candidate did against another with the seeds that both were trained with."""

    num: int
    """Seeds."""
    wins: int
    """With how many of them the policy puts the one before the other."""
    ahead: float
    """Mean difference of the logarithms of the geometric means of skills; > 0: better."""
    spread: float | None
    """Standard deviation of these differences over the seeds; None of fewer than two."""
    is_measured: bool
    """Whether the policy puts points in order by this figure."""

    @property
    def is_clear(self) -> bool:
        """Whether the lead is larger than its spread, or is there with every seed."""
        if self.num < 2:
            return False
        if not self.is_measured:
            return self.wins == self.num
        return self.spread is not None and self.ahead > self.spread


def _compare(confirmed: Confirmation, one: Candidate, other: Candidate) -> Comparison:
    """Compare two candidates, seed by seed."""
    theirs = other.trained
    pairs = [(mine, theirs[seed]) for seed, mine in one.trained.items() if seed in theirs]
    differences = [confirmed.score(its) - confirmed.score(mine) for mine, its in pairs]
    wins = [confirmed.chosen(confirmed.chooser.log_skills(two)) == 0 for two in pairs]
    spread = spread_of(differences) if differences else None
    return Comparison(
        num=len(pairs),
        wins=sum(wins),
        ahead=spread.mean if spread else math.nan,
        spread=spread.deviation if spread else None,
        is_measured=confirmed.policy in MEASURED,
    )


def percent(share: float) -> str:
    """Return a share in percent, small ones with a decimal, large ones as a factor.

    Example:
        >>> percent(0.1234), percent(0.0123), percent(0.0), percent(19.0)
        ('12 %', '1.2 %', '0 %', 'a factor of 20')
    """
    if share >= LARGEST_SHARE:
        return f"a factor of {1 + share:.3g}"
    hundredfold = 100 * share
    digits = 0 if hundredfold >= 10 or round(hundredfold, 1) == 0 else 1
    return f"{hundredfold:.{digits}f} %"


def _kept(one: str, other: str, found: Comparison) -> str:
    if not found.num:
        return f"{one} is first again: no seed trained both it and {other}"
    if not found.is_measured:
        unclear = "is first again, which the seeds do not settle"
        return f"{one} {'keeps its lead' if found.is_clear else unclear}: {_wins(found, other)}"
    if found.is_clear:
        return f"{one} keeps its lead: {_ahead(found.ahead)} {other}{_with_spread(found)}"
    return f"{one} is first again, {_ahead(found.ahead)} {other}, {_unclear(found)}"


def _changed(one: str, other: str, found: Comparison) -> str:
    if not found.num:
        return f"{one} is first now: no seed trained both it and {other}"
    if not found.is_measured:
        luck = f"{other}'s lead was luck" if found.is_clear else f"{other}'s is not confirmed"
        return f"{one} leads after confirmation: {_wins(found, other)}; {luck}"
    if found.is_clear:
        return (
            f"{one} leads after confirmation, {_ahead(found.ahead)} {other}"
            f"{_with_spread(found)}: {other}'s lead was luck"
        )
    said = f"{other}'s lead is not confirmed: {one} is now {_ahead(found.ahead)} it"
    return f"{said}, {_unclear(found)}"


def _alone(confirmed: Confirmation, leader: Candidate) -> str:
    skill = confirmed.skill(leader)
    assert skill is not None, "it was trained"
    ahead = _ahead(confirmed.score(leader.point) - math.log(skill.mean))
    return (
        f"{leader.name} has no rival here: with fresh seeds it is {ahead} its figures in the "
        f"study ({count(skill.num, 'seed')})"
    )


def _failed(candidate: Candidate) -> str:
    num = count(len(candidate.repeats), "seed")
    return f"{candidate.name} failed with {len(candidate.failed)} of {num}"


def _wins(found: Comparison, other: str) -> str:
    return f"the policy puts it before {other} with {found.wins} of {count(found.num, 'seed')}"


def _unclear(found: Comparison) -> str:
    if found.spread is None:
        return f"but one seed tells no spread: --seeds {MORE_SEEDS} tells more"
    few = f"; --seeds {MORE_SEEDS} tells more" if found.num < MORE_SEEDS else ""
    return (
        f"which is less than the spread of {percent(_grown(found.spread))} over "
        f"{count(found.num, 'seed')}: they cannot be told apart{few}"
    )


def _ahead(difference: float) -> str:
    """Return "8 % ahead of" of a difference of log skills, or how far behind.

    By how much the one's skill is below the other's.
    """
    if difference >= 0:
        return f"{percent(1 - math.exp(-difference))} ahead of"
    return f"{percent(_grown(-difference))} behind"


def _with_spread(found: Comparison) -> str:
    spread = "" if found.spread is None else f"spread {percent(_grown(found.spread))}, "
    return f" ({spread}{count(found.num, 'seed')})"


def _spreads(found: Sequence[Mapping[str, float]]) -> dict[str, Spread]:
    """Return the spread of every figure that each of some mappings has."""
    names = [name for name in (found[0] if found else ()) if all(name in one for one in found)]
    return {name: spread_of([one[name] for one in found]) for name in names}


def _exp(value: float) -> float:
    return math.exp(min(value, LARGEST_EXPONENT))


def _grown(difference: float) -> float:
    return math.expm1(min(difference, LARGEST_EXPONENT))
