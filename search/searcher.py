"""Which config to try next: any sampler as a pure function of what is recorded."""

from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any

from search.asking import Continue, RecordedTrial, Request, State, Suggestion
from search.conditions import idle_in
from search.sampling.coding import Key, decode, key_of, untried_neighbour
from search.sampling.samplers import SAMPLERS, misfit
from search.space import SearchSpace
from trainables.errors import InputError

__all__ = ["SAMPLERS", "Continue", "RecordedTrial", "State", "Suggestion", "suggest"]

MOVE = 21
"""The draw that decides where a tried config is moved to; samplers use those before it."""
MOST_HELD = 1000
"""Keys that are held beyond twice those that are asked for."""


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
    known = _known(space, [trial for trial in recorded if trial.number != number])
    first_of = {len(t.log_skills): t.number for t, _ in reversed(known) if t.log_skills}
    for got, wrong in first_of.items():
        if got != num_heads:
            raise ValueError(f"trial {wrong} needs {num_heads} log skills, got {got}")
    request = Request(
        kinds=kinds,
        known=known,
        tried={key for trial, key in known if trial.state != "interrupted"},
        num_heads=num_heads,
        seed=seed,
        number=number,
        epochs=epochs,
        gates=space.gates,
    )
    answer = SAMPLERS[name].draw(request)
    if isinstance(answer, Continue):
        return answer
    key, attributes = answer
    if key in request.tried:
        rng = request.rng(MOVE)
        key = untried_neighbour(key, kinds, request.tried, rng, request.gates)
    values = {
        parameter: decode(kind, coded)
        for (parameter, kind), coded in zip(kinds.items(), key, strict=True)
        if coded is not None
    }
    return Suggestion(config=_config(space, values), system_attrs=attributes)


class _Keys:
    """The keys of configs in one space, each worked out once, as long as it is asked for.

    A key takes 25 microseconds. A config is known by its identity, which it keeps while it is
    held here.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self._kinds = dict(sorted(space.searched))
        self._constants = dict(space.constants)
        self._gates = space.gates
        self._held: dict[int, tuple[Mapping[str, Any], Key | None]] = {}

    def of(self, trials: Sequence[RecordedTrial]) -> list[tuple[RecordedTrial, Key]]:
        """Return the trials that lie in the space, each with its key."""
        if len(self._held) > MOST_HELD + 2 * len(trials):
            self._held = {}
        held, inside = self._held, []
        for trial in trials:
            config = trial.config
            found = held.get(id(config))
            if found is None:
                key = key_of(self._kinds, self._constants, config, self._gates)
                found = held[id(config)] = config, key
            if found[1] is not None:
                inside.append((trial, found[1]))
        return inside


_keys = _Keys(SearchSpace(parameters=()))


def most_trials(space: SearchSpace, first: Iterable[Mapping[str, Any]]) -> int | None:
    """Return how many trials there can be before a config repeats; None for any number.

    Args:
        space: What is searched.
        first: Configs that are tried before any suggestion, in the space or not.
    """
    if space.size is None:
        return None
    first = list(first)
    trials = [RecordedTrial(number=i, config=c, state="running") for i, c in enumerate(first)]
    return len(first) + space.size - len({key for _, key in _known(space, trials)})


def _known(
    space: SearchSpace, recorded: Iterable[RecordedTrial]
) -> tuple[tuple[RecordedTrial, Key], ...]:
    """Return the trials that lie in the space, in the order of their numbers."""
    global _keys
    keys = _keys if _keys.space == space else _Keys(space)
    ordered = sorted(recorded, key=attrgetter("number"))
    known = keys.of(ordered)
    _keys = keys
    return tuple(known)


def _config(space: SearchSpace, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a whole config in the order of the space, without what does not count in it."""
    whole = {**dict(space.constants), **values}
    idle = idle_in(space.gates, values)
    return {name: whole[name] for name, _ in space.parameters if name not in idle}
