"""What a confirmation says in words: whether a lead is real, luck, or not to be told."""

import math
from dataclasses import dataclass

import numpy as np

from search.confirming.confirmation import (
    LARGEST_EXPONENT,
    Candidate,
    Confirmation,
    chosen_among,
    spread_of,
)
from search.wording import clean, count

MEASURED = ("geometric_mean", "head")
"""Policies whose score is a figure of one point, so that two points have a distance."""
LARGEST_SHARE = 10.0
"""Above this, percents are hard to read."""
MORE_SEEDS = 5
"""What is advised where too few seeds tell nothing."""


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


def compare(confirmed: Confirmation, one: Candidate, other: Candidate) -> Comparison:
    """Compare two candidates, seed by seed."""
    pairs = [
        (mine.figures, its.figures)
        for mine in one.trained
        for its in other.trained
        if mine.seed == its.seed and mine.figures and its.figures
    ]
    differences = [confirmed.score(its) - confirmed.score(mine) for mine, its in pairs]
    wins = [chosen_among(confirmed, confirmed.chooser.log_skills(two)) == 0 for two in pairs]
    spread = spread_of(differences) if differences else None
    return Comparison(
        num=len(pairs),
        wins=int(np.sum(wins)),
        ahead=spread.mean if spread else math.nan,
        spread=spread.deviation if spread else None,
        is_measured=confirmed.policy in MEASURED,
    )


def verdict_of(confirmed: Confirmation) -> str:
    """Return whether the study's choice has survived its luck, in one sentence."""
    leader, first = confirmed.leader, confirmed.first
    if not leader.trained:
        num = sum(len(one.failed) for one in confirmed.candidates)
        why = leader.failed[0].failure if leader.failed else "none has ended"
        return clean(f"nothing is confirmed: {count(num, 'training')} failed (first: {why})")
    if leader is first:
        rival = next((one for one in confirmed.candidates[1:] if one.trained), None)
        if rival is None:
            return _alone(confirmed, leader)
        if rival.failed and not leader.failed:
            return f"{_name(leader)} keeps its lead: {_failed(rival)}"
        return _kept(leader, rival, compare(confirmed, leader, rival))
    if first.failed and not leader.failed:
        return f"{_name(leader)} leads after confirmation: {_failed(first)}"
    return _changed(leader, first, compare(confirmed, leader, first))


def gain_of(confirmed: Confirmation) -> str:
    """Return how far the leader is ahead of the reference trial, with fresh seeds and before."""
    leader, reference = confirmed.leader, confirmed.reference
    if reference is None or reference is leader or not reference.trained or not leader.trained:
        return ""
    found = compare(confirmed, leader, reference)
    if not found.num:
        return ""
    before = confirmed.score(reference.point) - confirmed.score(leader.point)
    return (
        f"{_name(leader)} is {_ahead(found.ahead)} the reference trial in "
        f"{_measure(confirmed)}{_with_spread(found)}; in the study it was {_ahead(before)} it"
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


def _kept(leader: Candidate, rival: Candidate, found: Comparison) -> str:
    one, other = _name(leader), _name(rival)
    if not found.num:
        return f"{one} is first again: no seed trained both it and {other}"
    if not found.is_measured:
        return f"{one} {_keeps(found)}: {_wins(found, other)}"
    if found.is_clear:
        return f"{one} keeps its lead: {_ahead(found.ahead)} {other}{_with_spread(found)}"
    said = f"{one} is first again, {_ahead(found.ahead)} {other}"
    return f"{said}, {_unclear(found)}"


def _changed(leader: Candidate, first: Candidate, found: Comparison) -> str:
    one, other = _name(leader), _name(first)
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
    before = confirmed.score(leader.point)
    now = math.log(skill.mean)
    return (
        f"{_name(leader)} has no rival here: with fresh seeds it is {_ahead(before - now)} its "
        f"figures in the study ({count(skill.num, 'seed')})"
    )


def _measure(confirmed: Confirmation) -> str:
    """Return the name of the one figure by which points are compared."""
    names = confirmed.chooser.objective.names
    return "the geometric mean of skills" if len(names) > 1 else f"the loss {names[0]}"


def _keeps(found: Comparison) -> str:
    return "keeps its lead" if found.is_clear else "is first again, which the seeds do not settle"


def _failed(candidate: Candidate) -> str:
    num = count(len(candidate.repeats), "seed")
    return f"{_name(candidate)} failed with {len(candidate.failed)} of {num}"


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
    if found.spread is None:
        return f" ({count(found.num, 'seed')})"
    return f" (spread {percent(_grown(found.spread))}, {count(found.num, 'seed')})"


def _grown(difference: float) -> float:
    return math.expm1(min(difference, LARGEST_EXPONENT))


def _name(candidate: Candidate) -> str:
    point = candidate.point
    return "the reference trial" if point.is_reference else f"trial {point.number}"
