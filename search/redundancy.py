"""Warns of searched loss weights that say the same thing twice: only their ratios matter."""

import warnings
from collections.abc import Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING

from search.errors import StudyWarning
from search.objective import loss_weights
from search.space import Choice, Constant, Float, Int, Parameter, ends
from trainables.parameters import REFERENCE_TRAINING, weight_name

if TYPE_CHECKING:
    from search.study import Study

ANY_RATIO = "{float: [0.01, 100.0], log: true}"
"""Where every weight can be 0, so that no range of ratios follows."""
MOST_RATIOS = 12
"""Ratios of choices that are listed one by one; more are shown as a range."""
DIGITS = 6
"""Significant digits of a bound of a ratio."""


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
    if not active or not all(map(_varies, active.values())):
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
        head: _ratio(weight, weights[fixed]) if unit else ANY_RATIO
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
    named = {} if study.space is None else dict(study.space.parameters)
    given = named.get("optimizer", REFERENCE_TRAINING["optimizer"])
    optimizers: Sequence[object] = given.values if isinstance(given, Choice) else (given,)
    adaptive = [str(name) for name in optimizers if name != "sgd"]
    words = []
    if adaptive:
        but = "" if _is_zero(named.get("l2", 0.0)) else " but how much l2 counts"
        words.append(f"changes nothing{but} with {' or '.join(adaptive)}")
    if len(adaptive) < len(optimizers):
        words.append("acts like another learning rate with sgd")
    return " and ".join(words)


def _is_searched(weight: object) -> bool:
    return isinstance(weight, Float | Int | Choice)


def _varies(weight: Parameter | Constant) -> bool:
    """Tell whether there is anything to search: a choice of one value is a constant."""
    low, high = ends(weight)
    return bool(low < high)


def _is_zero(value: object) -> bool:
    return not _is_searched(value) and value == 0


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
