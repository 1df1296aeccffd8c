"""What a study minimises: the loss of each head, of some heads, or their weighted sum."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, final

from search.errors import InputError, StudyWarning
from search.space.parameters import Choice, Constant, Parameter, ends, to_plain
from trainables.spec.parameters import REFERENCE_TRAINING, weight_name
from trainables.spec.problems import Problem, problem, shown
from trainables.spec.rules import is_number, is_same

if TYPE_CHECKING:
    from search.study.study import Study

HEADS = "heads"
TOTAL = "total"

WHY_NOT = (
    "the search would win by shrinking the weight, not by a better model. Leave `objective` out, "
    "and every head's own loss counts, or make the weight constant"
)

_ANY_RATIO = "{float: [0.01, 100.0], log: true}"
"""Where every weight can be 0, so that no range of ratios follows."""
MOST_RATIOS = 12
"""Ratios of choices that are listed one by one; more are shown as a range."""
DIGITS = 6
"""Significant digits of a bound of a ratio."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """From the measured losses by head to the values that are minimised, by name.

    The values are what the scheduler ranks, what the sampler is shown, and what fronts,
    hypervolume and policies are about. All heads are measured and recorded whatever it is.
    """

    parts: tuple[tuple[str, tuple[tuple[str, float], ...]], ...]
    """Each value's name, with the heads whose losses it sums and their weights."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the values: those of heads, or ``total``."""
        return tuple(name for name, _ in self.parts)

    def values(self, losses: Mapping[str, float]) -> dict[str, float]:
        """Return each value from the losses by head; from the baselines, those of the values.

        A point that is nowhere worse than another has no larger value, rounding included. So
        the smallest value of several points is on their front of all heads, whatever the
        objective, and who keeps that front keeps the best.
        """
        return {name: _sum(terms, losses) for name, terms in self.parts}

    def with_head(self, head: str) -> "Objective":
        """Return the objective with one head's loss beside what it has."""
        more = () if head in self.names else every_head((head,)).parts
        return Objective(parts=(*self.parts, *more))

    def in_words(self) -> str:
        """Return what is minimised, for people: ``total (1 x c + 2.5 x r)``."""
        return ", ".join(
            f"{name} ({' + '.join(f'{weight:g} x {head}' for head, weight in terms)})"
            if terms != ((name, 1.0),)
            else name
            for name, terms in self.parts
        )


def every_head(heads: Sequence[str]) -> Objective:
    """Return the objective that takes each of these heads for itself, in this order."""
    return Objective(parts=tuple((head, ((head, 1.0),)) for head in heads))


def _weighted_total(weights: Mapping[str, float]) -> Objective:
    """Return the objective that is one sum of ``weight * loss``, as Keras trains it."""
    return Objective(parts=((TOTAL, tuple(weights.items())),))


def objective_of(study: "Study") -> Objective:
    """Return what a study minimises.

    ``total`` takes the constant weights of the study's space, for every trial: also for the
    reference, which is trained with weights of 1.
    """
    if study.objective == HEADS:
        return every_head([head.name for head in study.heads])
    if study.objective == TOTAL:
        weights = loss_weights(study)
        return _weighted_total({head: float(weight) for head, weight in weights.items()})  # type: ignore[arg-type]
    return every_head(study.objective)


def loss_weights(study: "Study") -> dict[str, Parameter | Constant]:
    """Return what the space makes of each head's loss weight, 1 where it says nothing."""
    named = dict(study.whole_space.parameters)
    return {head.name: named.get(weight_name(head.name), 1.0) for head in study.heads}


def read_objective(value: Any) -> str | tuple[str, ...]:
    """Return ``heads``, ``total`` or the names of some heads, or raise an `InputError`."""
    if isinstance(value, str) and value in (HEADS, TOTAL):
        return value
    if isinstance(value, str) or not isinstance(value, Sequence) or not value:
        rule = f"needs {HEADS!r}, {TOTAL!r} or a list of heads such as [c_output]"
        raise InputError(f"{rule}, got {shown(value)}")
    if len({str(name) for name in value}) < len(value):
        raise InputError(f"needs heads that differ, got {shown(list(value))}")
    return tuple(value)


def objective_problems(study: "Study") -> Iterator[Problem]:
    """Say why a study cannot have its objective: an unknown head, or weights that vary."""
    heads = [head.name for head in study.heads]
    if study.objective == TOTAL:
        yield from _total_problems(study, heads)
    elif study.objective != HEADS:
        unknown = [name for name in study.objective if name not in heads]
        if unknown:
            yield problem(("objective",), f"needs heads among {heads}, got {shown(unknown)}")


def _total_problems(study: "Study", heads: Sequence[str]) -> Iterator[Problem]:
    at = ("objective",)
    if TOTAL in heads:
        yield problem(at, f"needs no head of that name to be {TOTAL!r}, got the heads {heads}")
    weights = loss_weights(study)
    for head, weight in weights.items():
        if isinstance(weight, Parameter):
            yield problem(at, _of_searched(weight_name(head), weight, study.space is None))
    for index, config in enumerate(study.start_with):
        for head, weight in weights.items():
            name = weight_name(head)
            if name in config and is_number(weight) and config[name] != weight:
                rule = f"needs {name} to be {weight!r}, as in the space, for {TOTAL!r}"
                got = f"{config[name]!r} in start_with[{index}]"
                yield problem(at, f"{rule}, got {got}: {WHY_NOT}")


def _of_searched(name: str, weight: Parameter, is_default: bool) -> str:
    place = "the default space" if is_default else "the space"
    where = " in a `space` of your own" if is_default else ""
    return (
        f"needs constant loss weights for {TOTAL!r}, got {name}: {shown(to_plain(weight))} in "
        f"{place}: {WHY_NOT}{where}, such as {name}: 1.0"
    )


def _sum(terms: Sequence[tuple[str, float]], losses: Mapping[str, float]) -> float:
    # One addition after the other, each of which keeps the order of what it adds;
    # the corrections of `sum` and `math.fsum` need not, or overflow.
    value = 0.0
    for head, weight in terms:
        value += weight * losses[head]
    return value


def warn_of_redundancy(study: "Study") -> None:
    """Give each warning of a study as a `StudyWarning`, for whoever called the caller."""
    for message in study_warnings(study):
        warnings.warn(message, StudyWarning, stacklevel=3)


def study_warnings(study: "Study") -> tuple[str, ...]:
    """Return what a study could do without, each with what to write instead.

    Multiplying all loss weights by one number changes the training loss by that factor and
    nothing else: Adam and its kin divide by the size of the gradients, so that nothing changes
    but the strength of a penalty beside the losses; plain gradient descent learns as with
    another learning rate. So weights that are all searched have one degree of freedom too many,
    and the sampler looks for a difference where there is none.
    """
    weights = loss_weights(study)
    active = {head: weight for head, weight in weights.items() if ends(weight)[1] > 0}
    # A choice of one value is a constant.
    if not active or not all(low < high for low, high in map(ends, active.values())):
        return ()
    names = ", ".join(weight_name(head) for head in active)
    if len(active) == 1:
        said = f"the loss weight of the only trained head is searched ({names}): its size"
    else:
        ratios = "ratios matter" if len(active) > 2 else "ratio matters"
        said = (
            f"the loss weights of all trained heads are searched ({names}), of which only the "
            f"{ratios}: a factor common to all"
        )
    lines = "".join(f"\n  {line}" for line in _instead(active))
    return (f"{said} {_effect(study)}; the same with one parameter less:\nspace:{lines}",)


def _instead(weights: Mapping[str, Parameter | Constant]) -> list[str]:
    """Return the lines of a space with a ratio for each head but one, whose weight is 1."""
    unit = next((head for head, weight in weights.items() if ends(weight)[0] > 0), None)
    fixed = unit or next(iter(weights))
    ratios = {
        head: _ratio(weight, weights[fixed]) if unit else _ANY_RATIO
        for head, weight in weights.items()
    }
    return [f"{weight_name(head)}: {ratio}" for head, ratio in {**ratios, fixed: "1.0"}.items()]


def _ratio(weight: Parameter | Constant, unit: Parameter | Constant) -> str:
    """Return what one weight can be in units of another, which is never 0, as YAML."""
    if isinstance(weight, Choice) and isinstance(unit, Choice):
        pairs = product(weight.values, unit.values)
        ratios = sorted({_rounded(float(a) / float(b)) for a, b in pairs})
        if len(ratios) <= MOST_RATIOS:
            return f"{{choice: {ratios}}}"
    low, high = (float(end) for end in ends(weight))
    smallest, largest = (float(end) for end in ends(unit))
    if low > 0:
        return f"{{float: [{_rounded(low / largest)}, {_rounded(high / smallest)}], log: true}}"
    return f"{{float: [0.0, {_rounded(high / smallest)}]}}"


def _effect(study: "Study") -> str:
    """Say what a common factor does, by the optimizers of the study."""
    named = dict(study.whole_space.parameters)
    given = named.get("optimizer", REFERENCE_TRAINING["optimizer"])
    optimizers: Sequence[object] = given.values if isinstance(given, Choice) else (given,)
    adaptive = [str(name) for name in optimizers if name != "sgd"]
    words = []
    if adaptive:
        but = "" if is_same(named.get("l2", 0.0), 0) else " but how much l2 counts"
        words.append(f"changes nothing{but} with {' or '.join(adaptive)}")
    if len(adaptive) < len(optimizers):
        words.append("acts like another learning rate with sgd")
    return " and ".join(words)


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
