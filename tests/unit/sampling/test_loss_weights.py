"""A search over loss weights: neither a loss's unit nor the size of the weights is a matter."""

import math

import numpy as np
import pytest

from search.space.parameters import Float
from search.space.space import SearchSpace
from tests.benchmarks.contender import Problem
from tests.benchmarks.ours import Twohead

EPOCHS = 8
HEADS = ("c_output", "r_output")
BASELINES = {"c_output": 2.0, "r_output": 5.0}
SAMPLERS = ("ehvi", "tpe")


def play(contender, train, trials):
    """Train one trial after the other; return the epochs of each, and every config in order."""
    trained = {}
    while len(trained) < trials:
        number, config = contender.ask()
        _, epochs = trained.get(number, (config, 0))
        state = None
        while state is None:
            epochs += 1
            stops = contender.report(number, epochs, train(config, epochs))
            state = "complete" if epochs == EPOCHS else "stopped" if stops else None
        contender.ended(number, state)
        trained[number] = config, epochs
    return [trained[number] for number in range(trials)]


def two_heads(config, epochs, unit=1.0):
    """Return losses of a training whose r_output loss is given in another unit.

    What the heads share goes to r_output the more, the larger its weighted loss is.
    """
    pull = math.log(config["r_output_loss_weight"] * unit)
    rate = math.log(config["learning_rate"] / 3e-3)
    learned = 1 - math.exp(-0.4 * epochs)
    aims = (0.1 + 0.2 * (pull + 1) ** 2 + rate**2, 0.2 + 0.3 * (pull - 1) ** 2 + rate**2)
    losses = [
        base + (min(aim, 1.5 * base) - base) * learned
        for base, aim in zip(BASELINES.values(), aims, strict=True)
    ]
    return {"c_output": losses[0], "r_output": losses[1] * unit}


def trials_in(unit, sampler, trials=30):
    """Return the config and the epochs of each trial, with losses of r_output in some unit."""
    space = SearchSpace(
        parameters=(
            ("learning_rate", Float(low=1e-4, high=1e-1, log=True)),
            ("r_output_loss_weight", Float(low=0.05 / unit, high=20.0 / unit, log=True)),
        )
    )
    problem = Problem(
        space=space,
        baselines={**BASELINES, "r_output": BASELINES["r_output"] * unit},
        epochs=EPOCHS,
        seed=5,
    )
    return play(
        Twohead(problem, sampler=sampler),
        lambda config, epochs: two_heads(config, epochs, unit),
        trials,
    )


@pytest.mark.parametrize("unit", [1e-3, 7.3, 1e4])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_heads_loss_in_another_unit_gives_the_same_trials(sampler, unit):
    expected = trials_in(1.0, sampler)

    found = trials_in(unit, sampler)

    assert {epochs for _, epochs in expected} > {EPOCHS}  # some are stopped
    assert [epochs for _, epochs in found] == [epochs for _, epochs in expected]
    for (config, _), (other, _) in zip(found, expected, strict=True):
        assert config["learning_rate"] == pytest.approx(other["learning_rate"], rel=1e-9)
        assert config["r_output_loss_weight"] * unit == pytest.approx(
            other["r_output_loss_weight"], rel=1e-9
        )


RATIO = 3.0
LOWEST, HIGHEST = 1e-2, 1e2
NEAR = {"ehvi": 0.5, "tpe": 0.9}
"""How far from the best ratio, in powers of ten, half of the later trials may be."""


def by_ratio(config, epochs):
    """Return losses that depend on the weights' ratio alone; it trades one head for the other."""
    ratio = math.log(config["c_output_loss_weight"] / config["r_output_loss_weight"] / RATIO)
    learned = 1 - math.exp(-0.4 * epochs)
    aims = {"c_output": 0.3 + 0.2 * (ratio - 0.5) ** 2, "r_output": 1.0 + 0.3 * (ratio + 0.5) ** 2}
    return {
        head: BASELINES[head] + (min(aim, 1.5 * BASELINES[head]) - BASELINES[head]) * learned
        for head, aim in aims.items()
    }


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_weights_of_which_only_the_ratio_matters_do_not_drift_to_small_ones(sampler):
    weight = Float(low=LOWEST, high=HIGHEST, log=True)
    space = SearchSpace(parameters=tuple((f"{head}_loss_weight", weight) for head in HEADS))
    found = []
    for seed in range(4):
        problem = Problem(space=space, baselines=BASELINES, epochs=EPOCHS, seed=seed)
        trained = play(Twohead(problem, sampler=sampler), by_ratio, 40)
        found += [
            [math.log10(config[name]) for name, _ in space.parameters]
            for config, _ in trained[20:]
        ]

    first, second = np.transpose(found)
    size = (first + second) / 2
    # Of a random config the median distance is 1.2, and its size is below -1 in an eighth.
    assert np.median(abs(first - second - math.log10(RATIO))) < NEAR[sampler]
    assert abs(np.median(size)) < 0.5
    assert (size < -1).mean() < 0.3
