"""The trainings of a study that take the least and the most memory."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from search.space.parameters import Choice, ends
from search.space.space import SearchSpace, depths_of
from search.study.configs import first_configs, parse
from search.study.prepared import Prepared
from search.study.study import Study
from trainables.spec.footprint import Footprint, footprint
from trainables.spec.parameters import DEPTH, REFERENCE_TRIAL

SHAPING = ("pool_size", "kernel_size", "batch_norm", "optimizer", "padding")
"""Parameters of which the largest value need not make the largest model: all are counted."""
UNKNOWN = Footprint()
"""Of a user's own model."""
MOST_COUNTED = 4000
MOST_FIRST = 6
"""Configs to start with that are measured of a user's own model, whose size is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryCandidate:
    """A training that may be the largest or the smallest of a study."""

    config: Mapping[str, Any]
    origin: str = "space"
    size: Footprint = UNKNOWN

    @property
    def is_reference(self) -> bool:
        """Whether it is the reference trial."""
        return self.origin == "reference"

    @property
    def name(self) -> str:
        """Which it is, for people."""
        if self.is_reference:
            return REFERENCE_TRIAL
        named = ", ".join(f"{name}={value}" for name, value in self.config.items())
        return f"the config {named} of {'the space' if self.origin == 'space' else self.origin}"


def candidates(study: Study, prepared: Prepared) -> list[MemoryCandidate]:
    """Return the trainings to measure: the smallest, and those one of which is the largest.

    Of the built-in model these are the smallest and the largest of the space, the one with most
    activations and few weights, all with the space's largest batch, and whichever config to try
    first is larger still. Of a user's own model, where nothing is known before it is built, they
    are the two corners of the space and its configs to try first.
    """
    space = prepared.space
    first = [
        MemoryCandidate(config=config, origin=origin)
        for config, origin in first_configs(study, prepared)
    ]
    if study.model is not None:
        found = [MemoryCandidate(config=config) for config in space.corners]
        own = [one for one in first if not one.is_reference][:MOST_FIRST]
        return [*found, *own, *(one for one in first if one.is_reference)]
    sized = [_sized(study, prepared, MemoryCandidate(config=one)) for one in _extremes(space)]
    smallest = min(sized, key=lambda one: one.size.total)
    widest = max(sized, key=lambda one: one.size.activations - one.size.weights)
    largest = max(sized, key=lambda one: one.size.total)
    beyond = max(
        (_sized(study, prepared, one) for one in first),
        key=lambda one: one.size.total,
        default=largest,
    )
    most = beyond if beyond.size.total > largest.size.total else largest
    # One of each config, in this order.
    return list({str(one.config): one for one in (smallest, widest, largest, most)}.values())


def _sized(study: Study, prepared: Prepared, one: MemoryCandidate) -> MemoryCandidate:
    spec = parse(replace(study, model=None), one.config, prepared.data)
    return replace(one, size=footprint(spec))


def _extremes(space: SearchSpace) -> Iterator[dict[str, Any]]:
    """Yield configs among which are the smallest and the largest of a space."""
    known = dict(space.parameters)
    shaping = {name: _values(known[name]) for name in SHAPING if name in known}
    if depths := depths_of(known.get(DEPTH)):
        shaping[DEPTH] = depths
    for is_small, is_narrow in ((True, True), (False, True), (False, False)):
        fixed = {
            name: ends(kind)[0 if is_small or (is_narrow and name.endswith("_units")) else 1]
            for name, kind in known.items()
        }
        fixed["batch_size"] = ends(known["batch_size"])[1]
        yield from islice(space.crossed(fixed, shaping), MOST_COUNTED)


def _values(kind: Any) -> tuple[Any, ...]:
    return kind.values if isinstance(kind, Choice) else tuple(dict.fromkeys(ends(kind)))
