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
    packages: tuple[str, ...] = ()
    """What it needs beyond the project's own dependencies."""
    is_mo_tpe: bool = False
    """Whether it is one that ours is measured against."""

    def load(self) -> Callable[[Problem], Contender]:
        """Return what builds one.

        Raises:
            ImportError: If a package that it needs is not installed.
        """
        for package in self.packages:
            importlib.import_module(package)
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
    "gp": Entry(
        about="Optuna GP, no stopping",
        module="peers_optuna",
        factory="gp",
        packages=("torch",),
    ),
    "hyperband": Entry(
        about="Optuna Hyperband and TPE on the geometric mean",
        module="peers_optuna",
        factory="Hyperband",
    ),
    "asha-head": Entry(
        about="Ray ASHA and Optuna TPE on the first head",
        module="peers_ray",
        factory="Asha",
        arguments={"of": "first head"},
    ),
    "asha-mean": Entry(
        about="Ray ASHA and Optuna TPE on the geometric mean",
        module="peers_ray",
        factory="Asha",
        arguments={"of": "geometric mean"},
    ),
    "moasha": Entry(
        about="Syne Tune MOASHA, random",
        module="peers_syne_tune",
        factory="Moasha",
        packages=("syne_tune",),
    ),
}
