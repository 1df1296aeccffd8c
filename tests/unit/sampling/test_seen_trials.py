"""The trials that a sampler may be shown, taken in one after the other."""

import random
from dataclasses import replace

import pytest

from search.sampling.trials import RecordedTrial, SeenTrials
from search.space.space import SearchSpace

SPACE = SearchSpace.from_mapping(
    {"units": {"int": [1, 4]}, "dropout": {"float": [0.0, 0.5], "step": 0.25}, "batch_size": 8}
)
STATES = ("running", "complete", "stopped", "failed", "interrupted")


def trial_of(draw, number, config=None):
    outside = draw.random() < 0.2
    drawn = {
        "units": 9 if outside else draw.randint(1, 4),
        "dropout": draw.choice([0.0, 0.25, 0.5]),
        "batch_size": 8,
    }
    skills = (draw.random(), draw.random()) if draw.random() < 0.8 else None
    return RecordedTrial(
        number=number, config=config or drawn, state=draw.choice(STATES), log_skills=skills
    )


@pytest.mark.parametrize("seed", range(10))
def test_what_has_changed_from_question_to_question_equals_what_is_put_in_anew(seed):
    draw = random.Random(seed)
    kept, trials = SeenTrials(SPACE, 2), {}

    for _ in range(60):
        number = draw.randint(-3, len(trials))
        known = trials.get(number)
        config = known.config if known is not None and draw.random() < 0.7 else None
        trials[number] = trial_of(draw, number, config)
        kept.put(trials[number])

        anew = SeenTrials(SPACE, 2)
        for trial in draw.sample(list(trials.values()), len(trials)):
            anew.put(trial)
        assert (kept.inside, set(kept.tried)) == (anew.inside, set(anew.tried))
        numbers = [trial.number for trial, _ in kept.inside]
        assert numbers == sorted(numbers)


def test_the_config_of_a_trial_that_goes_on_is_not_worked_out_again(monkeypatch):
    trial = trial_of(random.Random(7), 0)
    seen, asked = SeenTrials(SPACE, 2), []
    seen.put(trial)
    monkeypatch.setattr("search.sampling.trials.key_of", lambda *given: asked.append(given[2]))

    seen.put(replace(trial, state="stopped"))
    seen.put(other := trial_of(random.Random(8), 1))

    assert asked == [other.config]
