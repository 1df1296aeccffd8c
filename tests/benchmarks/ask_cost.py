"""What a suggestion of each sampler and a decision of the scheduler cost: run as a module.

``python -m tests.benchmarks.ask_cost --trials 200 1000 10000`` prints milliseconds of processor
time, median and largest of 20, in a study of that many recorded trials (the default space, two
heads, every second trial stopped at its rung, 16 running): for a sampler with all keys known, as
in a study that goes on. The first question of a resumed study works the keys out, 25
microseconds a trial. ``together`` is a suggestion by the default sampler and a decision by the
default scheduler, as each trial costs its study.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np

from search.running.scheduler import SCHEDULERS, make_scheduler
from search.sampling.suggest import Suggester
from search.sampling.trials import RecordedTrial
from search.space.completion import default_space
from search.space.parameters import Choice, Float
from search.space.space import SearchSpace
from search.study.samplers import SAMPLERS, misfit
from tests.support.suggesting import suggest
from trainables.spec.heads import DeclaredHead

HEADS = (
    DeclaredHead(name="c_output", kind="classification"),
    DeclaredHead(name="r_output", kind="regression"),
)
SPACE = default_space(HEADS)
STEPS = 8
"""Values of a real number where a sampler needs finitely many."""
DEFAULT = [name for name in SAMPLERS if name != "gp"]
"""Optuna's Gaussian processes need torch, and minutes for this table."""
NUM_RUNNING = 16
EPOCHS, STOPPED_AT = 12, 3
REPEATS = 20
TOGETHER = "ehvi", "pareto_asha"


def space_for(name: str) -> SearchSpace:
    """Return the default space, with steps if the sampler draws from no other."""
    if misfit(name, SPACE) is None:
        return SPACE
    stepped = {
        n: Choice(values=tuple(np.geomspace(kind.low + 0.01, kind.high, STEPS).tolist()))
        if isinstance(kind, Float)
        else kind
        for n, kind in SPACE.parameters
    }
    return SearchSpace(parameters=tuple(stepped.items()))


def recorded_trials(space: SearchSpace, count: int) -> list[RecordedTrial]:
    """Return trials with random configs and losses that depend on them; the last ones run."""
    rng = np.random.default_rng(0)
    trials = []
    for number in range(count):
        ask = {"space": space, "seed": 0, "recorded": (), "num_heads": len(HEADS)}
        config = suggest(name="random", number=number, **ask).config
        rate = np.log(config["learning_rate"] / 2e-3)
        noise = rng.normal(scale=0.2, size=2)
        is_running = number >= count - NUM_RUNNING
        ends = (abs(rate - 1) + noise[0] - 3, abs(rate + 1) + config["dropout"] + noise[1] - 3)
        is_stopped = number % 2 == 1
        epochs = number % 3 if is_running else STOPPED_AT if is_stopped else EPOCHS
        curve = curve_to(ends, epochs, rng)
        trials.append(
            RecordedTrial(
                number=number,
                config=config,
                state="running" if is_running else "stopped" if is_stopped else "complete",
                log_skills=min(curve, key=sum, default=None),
                epoch=epochs,
                curve=curve,
            )
        )
    return trials


def curve_to(
    ends: tuple[float, float], epochs: int, rng: np.random.Generator
) -> tuple[tuple[float, ...], ...]:
    """Return the log skills of so many epochs of a training on the way to where it ends."""
    way = 1 - 0.7 ** np.arange(1, epochs + 1)
    skills = np.outer(way, ends) + rng.normal(scale=0.02, size=(epochs, len(ends)))
    return tuple(map(tuple, skills.round(9).tolist()))


def milliseconds(work: Callable[[int], object]) -> tuple[float, float]:
    """Return the median and the largest processor time of a piece of work."""
    work(0)
    spent = []
    for repeat in range(1, 1 + REPEATS):
        begun = time.process_time()
        work(repeat)
        spent.append(1000 * (time.process_time() - begun))
    return float(np.median(spent)), max(spent)


def asking(name: str, count: int) -> Callable[[int], object]:
    """Return what asks for one suggestion."""
    space = space_for(name)
    trials = recorded_trials(space, count)
    suggester = Suggester(name, space, seed=0, num_objectives=len(HEADS), epochs=EPOCHS)
    for trial in trials:
        suggester.put(trial)
    return lambda repeat: suggester.suggest(count + repeat)


def deciding(name: str, count: int) -> Callable[[int], None]:
    """Return what asks for one decision at the first rung, where most trials stand."""
    rng = np.random.default_rng(1)
    heads = [head.name for head in HEADS]
    scheduler = make_scheduler(name, baselines=dict.fromkeys(heads, 1.0), max_epochs=EPOCHS)
    (rung, *_) = scheduler.rungs or (STOPPED_AT,)
    losses = rng.lognormal(-1.0, 0.5, size=(count + REPEATS + 1, len(heads)))
    for number, row in enumerate(losses[:count].tolist()):
        scheduler.restore(number, rung, dict(zip(heads, row, strict=True)))

    def decide(repeat: int) -> None:
        row = losses[count + repeat].tolist()
        scheduler.decide(count + repeat, rung, dict(zip(heads, row, strict=True)))

    return decide


def together(count: int) -> Callable[[int], None]:
    """Return what asks for one suggestion and one decision."""
    sampler, scheduler = TOGETHER
    ask, decide = asking(sampler, count), deciding(scheduler, count)

    def both(repeat: int) -> None:
        ask(repeat)
        decide(repeat)

    return both


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, nargs="+", default=[200, 1000, 10_000])
    parser.add_argument("--samplers", nargs="+", choices=list(SAMPLERS), default=DEFAULT)
    options = parser.parse_args()
    print(f"{'what':<24}{'trials':>8}{'median ms':>12}{'largest ms':>12}")
    for count in options.trials:
        works = {f"sampler {name}": asking(name, count) for name in options.samplers}
        works |= {f"scheduler {name}": deciding(name, count) for name in SCHEDULERS}
        works["together"] = together(count)
        for what, work in works.items():
            median, largest = milliseconds(work)
            print(f"{what:<24}{count:>8}{median:>12.1f}{largest:>12.1f}")


if __name__ == "__main__":
    main()
