"""The samplers by name; what one needs is imported when it is asked."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from search.asking import Draw, Request
from search.coding import Key


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampler:
    """A way to choose the next config."""

    draw: Draw


def _tpe(request: Request) -> tuple[Key, dict[str, Any]]:
    from search.optuna_samplers import tpe

    return tpe(request)


def _nsga2(request: Request) -> tuple[Key, dict[str, Any]]:
    from search.optuna_samplers import nsga2

    return nsga2(request)


def _random(request: Request) -> tuple[Key, dict[str, Any]]:
    from search.optuna_samplers import random

    return random(request)


SAMPLERS: Mapping[str, Sampler] = {
    "tpe": Sampler(draw=_tpe),
    "random": Sampler(draw=_random),
    "nsga2": Sampler(draw=_nsga2),
}
