"""Recorded trials in plain JSON values, and what samplers and schedulers answer to them."""

import json
import math
import random
from collections.abc import Mapping
from typing import Any

from tests.golden.adapter import scheduler_of, suggested
from tests.golden.files import ANSWERS, write_json

EPOCHS = 6
LENGTHS = (0, 1, 5, 12, 40)
"""Trials of a history that are told: a beginning of it."""
SPACES: Mapping[str, dict[str, Any]] = {
    "wide": {
        "batch_norm": {"choice": [True, False]},
        "batch_size": 32,
        "dropout": {"float": [0.0, 0.5]},
        "filters": {"choice": [8, 16, 32]},
        "l2": {"float": [0.0, 0.5], "step": 0.1},
        "learning_rate": {"float": [1e-4, 1e-1], "log": True},
        "optimizer": {"choice": ["adam", "sgd", "rmsprop"]},
        "units": {"int": [8, 512], "log": True},
    },
    "finite": {
        "batch_size": 16,
        "x": {"int": [0, 8], "step": 2},
        "y": {"choice": ["a", "b", "c"]},
        "z": {"float": [0.0, 0.75], "step": 0.25},
    },
    "blocks": {
        "conv1_filters": {"int": [4, 256], "log": True},
        "conv2_filters": {"int": [4, 256]},
        "conv3_filters": {"choice": [8, 16, 32]},
        "learning_rate": {"float": [1e-4, 1e-1], "log": True},
        "num_conv_blocks": {"int": [1, 3]},
    },
}
SAMPLERS = ("random", "tpe", "ehvi", "nsga2", "qmc", "grid")
LINEAR_ALGEBRA = {"ehvi"}
"""Samplers whose last digits differ between processors: compared to six significant ones."""
STATES = ("complete", "complete", "stopped", "running", "failed", "interrupted", "stopped")


def make() -> None:
    """Write the histories: configs as samplers draw them, curves that fall towards an aim."""
    write_json(
        ANSWERS / "histories.json",
        {
            space: {str(heads): _history(SPACES[space], heads) for heads in (1, 2, 3)}
            for space in SPACES
        },
    )


def suggestions(histories: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what every sampler suggests, by space and heads and by sampler and trials told."""
    return {
        f"{space} of {heads}": {
            f"{sampler} at {length}": _suggestion(sampler, space, int(heads), length, trials)
            for sampler in SAMPLERS
            if sampler != "grid" or space == "finite"
            for length in LENGTHS
        }
        for space, by_heads in histories.items()
        for heads, trials in by_heads.items()
    }


def _suggestion(
    sampler: str, space: str, heads: int, length: int, trials: list[dict[str, Any]]
) -> dict[str, Any]:
    told = [trial for trial in trials if trial["number"] < length]
    answer = suggested(
        sampler, SPACES[space], told, seed=heads, number=length, num_heads=heads, epochs=EPOCHS
    )
    return rounded(answer) if sampler in LINEAR_ALGEBRA else answer


def rounded(answer: dict[str, Any]) -> dict[str, Any]:
    config = answer.get("config", {})
    return {**answer, **({"config": {k: _round(v) for k, v in config.items()}} if config else {})}


def _round(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _history(space: dict[str, Any], heads: int) -> list[dict[str, Any]]:
    draw = random.Random(heads)
    trials: list[dict[str, Any]] = []
    for number in range(-3, max(LENGTHS)):
        # Of NSGA-II, which wants to be told the generations that it gave; others look at none.
        asked = suggested(
            "nsga2",
            space,
            [trial for trial in trials if trial["number"] >= 0],
            seed=heads + 10 * (number < 0),
            number=number,
            num_heads=heads,
        )
        trials.append(_trial(number, asked, heads, draw))
    if "optimizer" in space:  # outside the space, as a reference may be
        trials[3]["config"] = {**trials[3]["config"], "filters": 64}
    return trials


def _trial(
    number: int, asked: Mapping[str, Any], heads: int, draw: random.Random
) -> dict[str, Any]:
    state = "interrupted" if number < 0 else STATES[number % len(STATES)]
    epochs = {"complete": EPOCHS, "stopped": draw.choice([2, 4])}.get(state, draw.randint(0, 4))
    share = sum(json.dumps(asked["config"]).encode()) % 97 / 97
    aims = [-1 - math.sin(3 * share + head) for head in range(heads)]
    curve = [
        [round(aim * (1 - 0.6**epoch) + draw.gauss(0, 0.05), 9) for aim in aims]
        for epoch in range(1, epochs + 1)
    ]
    best = min(range(epochs), key=lambda i: sum(curve[i]), default=None)
    skills: list[Any] | None = None if best is None else curve[best]
    if number % 10 == 8:  # every loss of which a head was NaN or infinite
        skills, curve = [*["nan", "inf"][:heads], 0.5][:heads], []
    return {
        "number": number,
        "config": asked["config"],
        "state": state,
        "log_skills": skills,
        "epoch": 0 if best is None else best + 1,
        "curve": [] if number < 0 else curve,
        "system_attrs": {} if number < 0 else asked["system_attrs"],
    }


def decisions() -> dict[str, dict[str, Any]]:
    """Return losses of trials that train side by side, and whether each goes on."""
    cases = {
        "one head": ("pareto_asha", 1, {"max_epochs": 9}),
        "two heads": ("pareto_asha", 2, {"max_epochs": 9}),
        "three heads": ("pareto_asha", 3, {"max_epochs": 16, "grace": 2, "factor": 3}),
        "five epochs": ("pareto_asha", 2, {"max_epochs": 5}),
        "three epochs": ("pareto_asha", 2, {"max_epochs": 3}),
        "fifo": ("fifo", 2, {"max_epochs": 4}),
    }
    return {
        name: _case(scheduler, heads, options, random.Random(name))
        for name, (scheduler, heads, options) in cases.items()
    }


def _case(
    scheduler: str, heads: int, options: dict[str, int], draw: random.Random
) -> dict[str, Any]:
    baselines = {f"head{i}": 0.5 * (i + 1) for i in range(heads)}
    given = {"scheduler": scheduler, "baselines": baselines, "options": options}
    points = []
    waiting = [(number, 1) for number in range(24)]
    while waiting:
        number, epoch = waiting.pop(draw.randrange(min(len(waiting), 8)))
        losses = {
            head: round(loss * (1.2 - draw.random() * epoch / options["max_epochs"]), 6)
            for head, loss in baselines.items()
        }
        if draw.random() < 0.02:
            losses["head0"] = draw.choice(["nan", "inf"])  # type: ignore[assignment]
        points.append([number, epoch, losses])
        if epoch < options["max_epochs"]:
            waiting.insert(min(len(waiting), 4), (number, epoch + 1))
    return {**given, "points": points, "stops": stops({**given, "points": points})}


def stops(case: Mapping[str, Any]) -> list[list[int]]:
    """Return which trials are stopped after which epochs; the others go on.

    Every seventh point is not decided but restored, as from the record: it goes on.
    """
    decider = scheduler_of(case["scheduler"], case["baselines"], **case["options"])
    ended: dict[int, int] = {}
    for place, (number, epoch, losses) in enumerate(case["points"]):
        if number in ended:
            continue
        values = {head: float(loss) for head, loss in losses.items()}
        if place % 7 == 6:
            decider.restore(number, epoch, values)
        elif decider.decide(number, epoch, values) == "stop":
            ended[number] = epoch
    return [[number, epoch] for number, epoch in ended.items()]
