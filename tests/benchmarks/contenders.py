"""Who competes: every contender by name, what it is, and how it is built."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.benchmarks.contender import Contender, Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """How to build a contender, without importing what it needs before."""

    about: str
    module: str
    factory: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    is_mo_tpe: bool = False
    """Whether it is one that ours is measured against."""

    def load(self) -> Callable[[Problem], Contender]:
        """Return what builds one.

        Raises:
            ImportError: If a package that it needs is not installed.
        """
        factory = getattr(importlib.import_module(f"tests.benchmarks.{self.module}"), self.factory)
        return lambda problem: factory(problem, **self.arguments)


OURS = "twohead"
CONTENDERS: Mapping[str, Entry] = {
    OURS: Entry(about="our defaults", module="ours", factory="Twohead"),
    "random": Entry(
        about="random, no stopping",
        module="ours",
        factory="Twohead",
        arguments={"sampler": "random", "scheduler": "fifo"},
    ),
    "tpe": Entry(
        about="Optuna MO-TPE, independent, no stopping",
        module="peers_optuna",
        factory="tpe_independent",
        is_mo_tpe=True,
    ),
    "tpe-multivariate": Entry(
        about="Optuna MO-TPE, multivariate, no stopping",
        module="peers_optuna",
        factory="tpe_multivariate",
        is_mo_tpe=True,
    ),
    "nsga2": Entry(about="Optuna NSGA-II, no stopping", module="peers_optuna", factory="nsga2"),
}
