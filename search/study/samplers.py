"""The samplers by name: which spaces each fits, and what it needs installed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec

from search.errors import InputError
from search.space.encoding import num_values
from search.space.parameters import to_plain
from search.space.space import SearchSpace
from trainables.spec.parameters import DEPTH


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampler:
    """What must be known of a way to choose the next config, before it is used."""

    misfit: Callable[[SearchSpace], str | None] = lambda space: None
    """Why it cannot draw from a space, or None; goes on after ``sampler``."""

    extra: tuple[str, str] | None = None
    """A module that it needs and that not every installation has, and the extra that brings it."""


def misfit(name: str, space: SearchSpace) -> str | None:
    """Return why a sampler does not fit a space, or None; goes on after ``sampler``.

    Example:
        >>> misfit("grid", SearchSpace.from_mapping({"dropout": {"float": [0.0, 0.5]}}))
        "needs finitely many configs for 'grid', but dropout is {'float': [0.0, 0.5]}: give it \
a step or a choice, or use 'qmc'"
    """
    return SAMPLERS[name].misfit(space)


def check_installed(name: str) -> None:
    """Refuse a sampler that needs a module which is not installed.

    Raises:
        InputError: With the command that installs it.
    """
    extra = SAMPLERS[name].extra
    if extra is not None and find_spec(extra[0]) is None:
        raise InputError(
            f"sampler {name!r} needs the module {extra[0]!r}, which is not installed: "
            f"pip install 'twohead-search[{extra[1]}]'"
        )


def _infinite(space: SearchSpace) -> str | None:
    for name, kind in space.searched:
        if num_values(kind) is None:
            what = f"needs finitely many configs for 'grid', but {name} is {to_plain(kind)}"
            return f"{what}: give it a step or a choice, or use 'qmc'"
    return None


def _conditional(space: SearchSpace) -> str | None:
    if not space.gates:
        return None
    what = "needs a space in which every config has the same parameters for 'gp'"
    varying = f"but {next(iter(space.gates))} depends on {DEPTH}"
    return f"{what}, {varying}: make {DEPTH} a constant, or use 'tpe'"


SAMPLERS: Mapping[str, Sampler] = {
    "ehvi": Sampler(),
    "tpe": Sampler(),
    "random": Sampler(),
    "nsga2": Sampler(),
    "qmc": Sampler(),
    "grid": Sampler(misfit=_infinite),
    "gp": Sampler(misfit=_conditional, extra=("torch", "gp")),
}
