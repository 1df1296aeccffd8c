"""Which config to try next: any sampler as a pure function of what is recorded."""

from collections.abc import Mapping, Sequence
from typing import Any

from search.asking import RecordedTrial, Request, State, Suggestion
from search.coding import Key, decode, key_of, untried_neighbour
from search.samplers import SAMPLERS
from search.space import Parameter, SearchSpace
from trainables.errors import InputError

__all__ = ["SAMPLERS", "RecordedTrial", "State", "Suggestion", "suggest"]

MOVE = 21
"""The draw that decides where a tried config is moved to; samplers use those before it."""


def suggest(
    *,
    name: str,
    space: SearchSpace,
    seed: int,
    number: int,
    recorded: Sequence[RecordedTrial],
    num_heads: int,
) -> Suggestion:
    """Suggest the config of one trial, on all heads at once.

    The answer depends on nothing but the arguments, and not on the order of ``recorded``. The
    sampler sees complete trials, stopped ones and interrupted ones at the point they reached;
    trials without a finite point as failed; running ones (and interrupted ones without a point)
    as running. Trials that do not lie in the space, as the reference trial often does not, it
    does not see.

    A config that another trial has is not suggested again: one that a sampler cannot help but
    repeat is moved to an untried one in as few parameters as possible. So configs repeat only
    when every config of a finite space has been tried. Configs of interrupted trials may be
    suggested again.

    Args:
        name: One of ``SAMPLERS``.
        space: What is searched and what is constant.
        seed: Seed of the study, at least 0.
        number: Number of the trial to suggest for; what is recorded of it is not looked at.
        recorded: The other trials so far.
        num_heads: Length of each ``log_skills``.

    Raises:
        InputError: If the sampler is unknown.
        ValueError: If a point has another length than ``num_heads``.
    """
    if name not in SAMPLERS:
        raise InputError(f"sampler needs one of {list(SAMPLERS)}, got {name!r}")
    # In order of the names, so that their order in a file is no matter.
    kinds = dict(sorted(space.searched))
    if not kinds:
        return Suggestion(config=_config(space, {}), system_attrs={})
    known = _known(space, kinds, [trial for trial in recorded if trial.number != number])
    for trial, _ in known:
        if trial.log_skills is not None and len(trial.log_skills) != num_heads:
            got = len(trial.log_skills)
            raise ValueError(f"trial {trial.number} needs {num_heads} log skills, got {got}")
    request = Request(
        kinds=kinds,
        known=known,
        tried={key for trial, key in known if trial.state != "interrupted"},
        num_heads=num_heads,
        seed=seed,
        number=number,
    )
    key, attributes = SAMPLERS[name].draw(request)
    if key in request.tried:
        key = untried_neighbour(key, list(kinds.values()), request.tried, request.rng(MOVE))
    values = {
        parameter: decode(kind, coded)
        for (parameter, kind), coded in zip(kinds.items(), key, strict=True)
    }
    return Suggestion(config=_config(space, values), system_attrs=attributes)


def _known(
    space: SearchSpace, kinds: Mapping[str, Parameter], recorded: Sequence[RecordedTrial]
) -> tuple[tuple[RecordedTrial, Key], ...]:
    """Return the trials that lie in the space, in the order of their numbers."""
    constants = dict(space.constants)
    keyed = [(trial, key_of(kinds, constants, trial.config)) for trial in recorded]
    inside = [(trial, key) for trial, key in keyed if key is not None]
    return tuple(sorted(inside, key=lambda pair: pair[0].number))


def _config(space: SearchSpace, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a whole config in the order of the space."""
    constants = dict(space.constants)
    return {
        name: values[name] if name in values else constants[name] for name, _ in space.parameters
    }
