"""Which config to try next: any sampler as a pure function of what is recorded."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from search.asking import Continue, RecordedTrial, Request, State, Suggestion
from search.coding import decode, untried_neighbour
from search.conditions import idle_in
from search.known import Known
from search.samplers import SAMPLERS, Sampler, misfit
from search.space import SearchSpace
from trainables.errors import InputError

__all__ = ["SAMPLERS", "Continue", "RecordedTrial", "State", "Suggestion", "suggest"]

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
    epochs: int = 1,
) -> Suggestion | Continue:
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
        epochs: Of a whole training; only ``ehvi`` looks at it.

    Returns:
        A config for the trial of this number, or a stopped trial to take up again instead.

    Raises:
        InputError: If the sampler is unknown or does not fit the space.
        ValueError: If a point has another length than ``num_heads``.
    """
    if name not in SAMPLERS:
        raise InputError(f"sampler needs one of {list(SAMPLERS)}, got {name!r}")
    reason = misfit(name, space)
    if reason is not None:
        raise InputError(f"sampler {reason}")
    # In order of the names, so that their order in a file is no matter.
    kinds = dict(sorted(space.searched))
    if not kinds:
        return Suggestion(config=_config(space, {}), system_attrs={})
    known = _spare.pop() if _spare else Known(space)
    if known.space != space:
        known = Known(space)
    known.look(recorded, but=number)
    _check_lengths(known, num_heads)
    request = Request(
        kinds=kinds,
        known=known.pairs,
        tried=known.tried,
        num_heads=num_heads,
        seed=seed,
        number=number,
        epochs=epochs,
        gates=space.gates,
    )
    answer = _answer(SAMPLERS[name], space, request)
    _spare[:] = [known]
    return answer


def _answer(sampler: Sampler, space: SearchSpace, request: Request) -> Suggestion | Continue:
    answer = sampler.draw(request)
    if isinstance(answer, Continue):
        return answer
    key, attributes = answer
    if key in request.tried:
        rng = request.rng(MOVE)
        key = untried_neighbour(key, request.kinds, request.tried, rng, request.gates)
    values = {
        parameter: decode(kind, coded)
        for (parameter, kind), coded in zip(request.kinds.items(), key, strict=True)
        if coded is not None
    }
    return Suggestion(config=_config(space, values), system_attrs=attributes)


def _check_lengths(known: Known, num_heads: int) -> None:
    if known.lengths <= {num_heads}:
        return
    lengths = ((t.number, len(t.log_skills)) for t, _ in known.pairs if t.log_skills)
    wrong, got = next((number, length) for number, length in lengths if length != num_heads)
    raise ValueError(f"trial {wrong} needs {num_heads} log skills, got {got}")


_spare: list[Known] = []
"""What the last question found out, for the next one; taken out meanwhile, as it changes."""


def most_trials(space: SearchSpace, first: Iterable[Mapping[str, Any]]) -> int | None:
    """Return how many trials there can be before a config repeats; None for any number.

    Args:
        space: What is searched.
        first: Configs that are tried before any suggestion, in the space or not.
    """
    if space.size is None:
        return None
    first = list(first)
    known = Known(space)
    known.look(
        [RecordedTrial(number=i, config=c, state="running") for i, c in enumerate(first)], but=-1
    )
    return len(first) + space.size - len(known.tried)


def _config(space: SearchSpace, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a whole config in the order of the space, without what does not count in it."""
    whole = {**dict(space.constants), **values}
    idle = idle_in(space.gates, values)
    return {name: whole[name] for name, _ in space.parameters if name not in idle}
