"""Which point of a front to take: named rules, none of which knows a head's unit."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from search.errors import InputError
from search.results.pareto import SKILL_FLOOR, Array, log_skill
from trainables.spec.plain_values import make_plain
from trainables.spec.rules import is_number

TOLERANCE_PERCENT = 5.0
"""Within this of the best, points count as equal on a head in ``lexicographic``."""
SAME_DIGITS = 12
"""Decimals to which scores are compared, so that rounding alone decides nothing."""
LARGEST_LOG = 1e3
"""Above the logarithm of any float, for a loss beyond any float of its baseline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a policy may be told."""

    heads: tuple[str, ...]
    exponents: Mapping[str, float] = field(default_factory=dict)
    """Of each head's skill, for ``geometric_mean``; 1 where not named."""
    head: str | None = None
    """The head that ``head`` looks at; the first by default."""
    order: tuple[str, ...] = ()
    """The heads by importance, for ``lexicographic``; those of the study by default."""
    tolerance_percent: float = TOLERANCE_PERCENT
    """For ``lexicographic``."""

    def __post_init__(self) -> None:
        """Check that only known heads are named, and the ranges."""
        make_plain(self)
        if not isinstance(self.exponents, Mapping):
            raise InputError(f"exponents needs numbers by head, got {self.exponents!r}")
        if isinstance(self.order, str) or not isinstance(self.order, Sequence):
            raise InputError(f"order needs a list of heads, got {self.order!r}")
        named = [*self.exponents, *self.order, *([] if self.head is None else [self.head])]
        unknown = [name for name in named if name not in self.heads]
        if unknown:
            raise InputError(f"policy needs heads among {list(self.heads)}, got {unknown}")
        if len(set(self.order)) < len(self.order):
            raise InputError(f"order needs heads that differ, got {list(self.order)}")
        if not all(map(_is_at_least_zero, self.exponents.values())) or not any(self._exponents()):
            raise InputError(
                "exponents needs finite numbers >= 0, at least one of them > 0, "
                f"got {dict(self.exponents)}"
            )
        if not _is_at_least_zero(self.tolerance_percent):
            raise InputError(f"tolerance_percent needs to be >= 0, got {self.tolerance_percent!r}")

    def _exponents(self) -> list[float]:
        return [float(self.exponents.get(head, 1.0)) for head in self.heads]

    @property
    def weights(self) -> Array:
        """The exponents in the order of the heads, as shares of the largest."""
        exponents = np.array(self._exponents(), dtype=np.float64)
        return np.asarray(exponents / exponents.max())


def _is_at_least_zero(value: Any) -> bool:
    return is_number(value) and 0 <= value < math.inf


def _geometric_mean(skills: Array, options: Options) -> Array:
    """The weighted product of skills, as Nash 1950 bargains (doi:10.2307/1907266).

    It is his product of utilities, with ``1 / loss`` as the utility of a head and nothing as
    what each has without agreement: the rule that asks for no common unit. Exponents are the
    powers of the nonsymmetric solution (Kalai 1977, doi:10.1007/BF01774658).
    """
    return np.asarray(skills @ options.weights)


def _ideal_point(skills: Array, options: Options) -> Array:
    """The least distance to the best of each head: compromise programming (Zeleny 1973).

    Euclidean, as in Yu 1973 (doi:10.1287/mnsc.19.8.936), and in log skill, so that no head's
    unit matters.
    """
    return np.asarray(np.sqrt(((skills - skills.min(axis=0)) ** 2).sum(axis=1)))


def _lexicographic(skills: Array, options: Options) -> Array:
    """The most important head first (Fishburn 1974, doi:10.1287/mnsc.20.11.1442).

    Points within the tolerance of the best on a head are equal on it, and the next head decides.
    """
    order = [options.heads.index(head) for head in options.order or options.heads]
    slack = math.log1p(options.tolerance_percent / 100) + 10.0**-SAME_DIGITS
    left = np.ones(len(skills), dtype=bool)
    for index in order[:-1]:
        left &= skills[:, index] <= skills[left, index].min() + slack
    return np.where(left, skills[:, order[-1]], np.inf)


def _head(skills: Array, options: Options) -> Array:
    """The best of one head, an end of the front.

    It is the epsilon-constraint method (Haimes, Lasdon and Wismer 1971,
    doi:10.1109/TSMC.1971.4308298) with no bound on the other heads.
    """
    return skills[:, options.heads.index(options.head or options.heads[0])]


def _of_geometric_mean(skills: Mapping[str, float], options: Options) -> str:
    logs = [math.log(max(skill, SKILL_FLOOR)) for skill in skills.values()]
    mean = math.exp(float(np.array(logs) @ options.weights) / float(options.weights.sum()))
    told = ", ".join(f"{h} {options.exponents.get(h, 1.0):g}" for h in options.heads)
    by = f" with exponents {told}" if options.exponents else ""
    return f"smallest geometric mean of skills{by}, {mean:.3g}"


def _of_lexicographic(skills: Mapping[str, float], options: Options) -> str:
    *before, last = options.order or options.heads
    within = "".join(
        f" within {options.tolerance_percent:g} % of the best {head}" for head in reversed(before)
    )
    return f"smallest {last} loss{within}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Policy:
    """A rule that picks a point of a front."""

    score: Callable[[Array, Options], Array]
    """From log skills of shape ``(points, heads)`` to a figure per point; the smallest wins."""
    words: Callable[[Mapping[str, float], Options], str]
    """From the skills of the point that was picked to why it was."""
    options: tuple[str, ...] = ()
    """What it may be told."""


HEAD = "head"
"""The policy that looks at one head."""
DEFAULT_POLICY = "geometric_mean"
POLICIES: Mapping[str, _Policy] = {
    DEFAULT_POLICY: _Policy(
        score=_geometric_mean, words=_of_geometric_mean, options=("exponents",)
    ),
    "ideal_point": _Policy(
        score=_ideal_point,
        words=lambda skills, options: "nearest in log skill to the best of every head at once",
    ),
    "lexicographic": _Policy(
        score=_lexicographic, words=_of_lexicographic, options=("order", "tolerance_percent")
    ),
    HEAD: _Policy(
        score=_head,
        words=lambda skills, options: f"smallest {options.head or options.heads[0]} loss",
        options=("head",),
    ),
}
"""Every policy by name, each with its source in the docstring of its score."""
TIE_BREAKERS = (DEFAULT_POLICY, "ideal_point")
"""Those that treat all heads alike: with another, the order of the heads would decide."""


def choose(
    policy: str,
    losses: Array,
    *,
    heads: Sequence[str],
    baselines: Mapping[str, float],
    **options: Any,
) -> int:
    """Return the index of the point that a policy picks.

    Only points that are worse than the baseline on no head are looked at, where there are any.
    Ties are broken by the other policies to which the order of the heads is nothing, and at
    last by the order of the points: give them by trial number and epoch.
    The answer stays the same when a head's losses and baseline are multiplied by a constant.

    Example:
        >>> choose("geometric_mean", np.array([[0.5, 0.5], [0.1, 0.9]]),
        ...        heads=("c", "r"), baselines={"c": 1.0, "r": 1.0})
        1
    """
    given = _options(policy, tuple(heads), options)
    losses = np.asarray(losses, dtype=np.float64)
    if not losses.size or not np.isfinite(losses).all():
        raise ValueError(f"choose needs at least one point, all finite, got {losses.tolist()}")
    # Rounded, lest a point at its baseline be worse than it in another unit.
    skills = np.round(log_skill(losses, np.array([baselines[h] for h in heads])), SAME_DIGITS)
    is_worse = (skills > 0).any(axis=1)
    candidates = np.flatnonzero(~is_worse) if not is_worse.all() else np.arange(len(skills))
    among = np.minimum(skills[candidates], LARGEST_LOG)
    others = [name for name in TIE_BREAKERS if name != policy]
    scores = [POLICIES[policy].score(among, given)]
    scores += [POLICIES[name].score(among, Options(heads=tuple(heads))) for name in others]
    # numpy sorts by the last key first; the sort is stable, so the order of points is the last.
    keys = [np.round(score, SAME_DIGITS) for score in reversed(scores)]
    return int(candidates[np.lexsort(keys)[0]])


def _options(policy: str, heads: tuple[str, ...], options: Mapping[str, Any]) -> Options:
    if not isinstance(policy, str) or policy not in POLICIES:
        raise InputError(f"policy needs to be one of {list(POLICIES)}, got {policy!r}")
    taken = list(POLICIES[policy].options)
    unknown = sorted(set(options) - set(taken))
    if unknown:
        raise InputError(f"policy {policy!r} has no option {unknown}; it takes {taken or 'none'}")
    return Options(heads=heads, **options)


def reason(policy: str, skills: Mapping[str, float], *, num_points: int, **options: Any) -> str:
    """Return in words why a policy picked a point with these skills from a front of so many.

    Example:
        >>> reason("geometric_mean", {"c": 0.2, "r": 0.05}, num_points=7)
        "smallest geometric mean of skills, 0.1: c 0.2, r 0.05 of the baseline's loss"
    """
    given = _options(policy, tuple(skills), options)
    figures = ", ".join(f"{head} {skill:.3g}" for head, skill in skills.items())
    if len(skills) == 1:
        why = f"smallest {given.heads[0]} loss"
        figures = f"{skills[given.heads[0]]:.3g}"
    elif num_points == 1 and policy != HEAD:
        why = "at least as good as any other point on every head"
    else:
        why = POLICIES[policy].words(skills, given)
    is_worse = any(round(math.log(skill), SAME_DIGITS) > 0 for skill in skills.values() if skill)
    but = "; no point beats the best constant prediction on every head" if is_worse else ""
    return f"{why}: {figures} of the baseline's loss{but}"
