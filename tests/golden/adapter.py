"""From plain JSON values to the types of today and back: all that changes where those change."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from search.running.scheduler import Scheduler, make_scheduler
from search.sampling.trials import Continue, RecordedTrial
from search.space.space import SearchSpace
from tests.support.suggesting import suggest

NAMED = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def suggested(
    sampler: str, space: Mapping[str, Any], trials: Sequence[Mapping[str, Any]], **options: Any
) -> dict[str, Any]:
    """Return what a sampler suggests, as plain values.

    Args:
        sampler: Its name.
        space: As a study file has it.
        trials: Each with ``number``, ``config``, ``state``, ``log_skills`` (or None), ``epoch``,
            ``curve`` and ``system_attrs``.
        **options: ``seed``, ``number``, ``num_heads`` and ``epochs``.
    """
    recorded = [
        RecordedTrial(
            **{
                **trial,
                "log_skills": trial["log_skills"] and tuple(map(float, trial["log_skills"])),
                "curve": tuple(map(tuple, trial["curve"])),
            }
        )
        for trial in trials
    ]
    answer = suggest(
        name=sampler, space=SearchSpace.from_mapping(space), recorded=recorded, **options
    )
    if isinstance(answer, Continue):
        return {"continue": answer.number}
    return {"config": answer.config, "system_attrs": answer.system_attrs}


def scheduler_of(name: str, baselines: Mapping[str, float], **options: Any) -> Scheduler:
    """Return what decides: ``decide`` and ``restore`` of (number, epoch, losses)."""
    return make_scheduler(name, baselines=baselines, **options)
