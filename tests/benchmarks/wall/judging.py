"""Are two contenders' losses equal, but for the luck of a seed?"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from scipy import stats

from tests.benchmarks.wall.parts import Losses
from tests.benchmarks.wall.task import HEADS

SMALLEST_SHIFT = 0.5
"""A mean difference of half the noise is none, however many configs: a seed's luck is shared."""

CHANCE = 0.001
"""How often a difference may be taken for one where there is none, per figure."""

Final = Mapping[int, Mapping[str, float]]
"""Losses after the last epoch, by trial number and head."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """How far the logarithms of the losses of one config lie apart with another seed."""

    by_head: Mapping[str, float]
    """Root mean square over configs."""
    num: int


def final(losses: Losses, epoch: int) -> dict[int, dict[str, float]]:
    """Return the losses after an epoch of the trials that have it."""
    return {number: epochs[epoch] for number, epochs in losses.items() if epoch in epochs}


def measure_noise(one: Final, other: Final) -> Noise | None:
    """Return the noise between two seeds of one contender; None without a config in common."""
    numbers = sorted(one.keys() & other.keys())
    if not numbers:
        return None
    by_head = {head: _root_mean_square(_differences(one, other, head, numbers)) for head in HEADS}
    return Noise(by_head=by_head, num=len(numbers))


def notices(reference: Final, other: Final, noise: Noise) -> dict[str, bool]:
    """Tell of each head whether these losses of it would be called different."""
    return {
        head: difference(reference, other, replace(noise, by_head={head: unit})) is not None
        for head, unit in noise.by_head.items()
    }


def difference(reference: Final, other: Final, noise: Noise) -> str | None:
    """Say why a contender's losses are not the reference's; None where they are.

    Per head, of the differences of the logarithms: the mean must be within the noise of a mean
    (Student's t), or within half the noise of one config, and the root mean square within the
    noise (Fisher's F).
    """
    missing = sorted(reference.keys() - other.keys())
    if missing:
        return f"has no losses of trials {', '.join(map(str, missing))}"
    num = len(reference)
    most_shift = max(SMALLEST_SHIFT, stats.t.isf(CHANCE / 2, noise.num) / math.sqrt(num))
    most_spread = math.sqrt(stats.f.isf(CHANCE, num, noise.num))
    for head, unit in noise.by_head.items():
        found = _differences(reference, other, head, sorted(reference))
        if not all(map(math.isfinite, found)):
            return f"{head} is not a positive number in every trial"
        shift, spread = sum(found) / num, _root_mean_square(found)
        if abs(shift) > most_shift * unit:
            return f"{head} is off by {shift:+.1%} on average; noise is {most_shift * unit:.1%}"
        if spread > most_spread * unit:
            return f"{head} is off by {spread:.1%} per trial; noise is {most_spread * unit:.1%}"
    return None


def _differences(one: Final, other: Final, head: str, numbers: Sequence[int]) -> list[float]:
    return [_log(other[number][head]) - _log(one[number][head]) for number in numbers]


def _log(loss: float) -> float:
    return math.log(loss) if loss > 0 else math.nan


def _root_mean_square(values: Sequence[float]) -> float:
    return math.sqrt(sum(value**2 for value in values) / len(values))
