"""One suggestion as a pure function: of a sampler, a space, a seed, a number and trials."""

from collections.abc import Iterable
from typing import Any

from search.sampling.suggest import Suggester
from search.sampling.trials import Continue, RecordedTrial, Suggestion
from search.space.space import SearchSpace


def suggest(
    *,
    name: Any,
    space: SearchSpace,
    seed: int,
    number: int,
    recorded: Iterable[RecordedTrial],
    num_heads: int,
    epochs: int = 1,
) -> Suggestion | Continue:
    suggester = Suggester(name, space, seed=seed, num_objectives=num_heads, epochs=epochs)
    for trial in recorded:
        suggester.put(trial)
    return suggester.suggest(number)
