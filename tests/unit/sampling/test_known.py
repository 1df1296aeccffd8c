"""What a sampler is asked from: what is kept from the last question equals what is made anew."""

import random

import pytest

from search.sampling.suggest import Known, suggest
from search.sampling.trials import Recorded, RecordedTrial
from search.space.space import SearchSpace

SPACE = SearchSpace.from_mapping(
    {"units": {"int": [1, 4]}, "dropout": {"float": [0.0, 0.5], "step": 0.25}, "batch_size": 8}
)
OTHER = SearchSpace.from_mapping({"units": {"int": [1, 2]}, "dropout": 0.25, "batch_size": 8})
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


def changed(draw, trials):
    """Return the trials after some time: some further, some others, now and then all anew."""
    if draw.random() < 0.1:
        return [trial_of(draw, number) for number in range(draw.randint(0, 5))]
    after = list(trials)
    for place in range(len(after)):
        if draw.random() < 0.3:
            kept = after[place].config if draw.random() < 0.7 else None
            after[place] = trial_of(draw, after[place].number, kept)
    first = after[-1].number + 1 if after else -2
    return after + [trial_of(draw, first + i) for i in range(draw.randint(0, 3))]


def seen(known):
    return (known.pairs, set(known.tried), set(known.lengths))


@pytest.mark.parametrize("seed", range(20))
def test_what_is_kept_from_question_to_question_equals_what_is_made_anew(seed):
    draw = random.Random(seed)
    kept, trials = Known(SPACE), []

    for _ in range(40):
        trials = changed(draw, trials)
        but = draw.choice([-100, *(trial.number for trial in trials)])
        given = draw.sample(trials, len(trials))
        kept.look(given, but=but)
        anew = Known(SPACE)
        anew.look([trial for trial in trials if trial.number != but], but=but)

        assert seen(kept) == seen(anew)
        assert [trial.number for trial, _ in kept.pairs] == sorted(
            trial.number for trial, _ in kept.pairs
        )


@pytest.mark.parametrize("seed", range(10))
def test_what_follows_a_studys_trials_equals_what_is_made_anew(seed):
    draw = random.Random(seed)
    kept, recorded = Known(SPACE), Recorded()

    for _ in range(60):
        place = draw.randint(0, len(recorded))
        config = recorded[place].config if place < len(recorded) and draw.random() < 0.7 else None
        recorded.put(place, trial_of(draw, place, config))
        if draw.random() < 0.2:  # another study in between
            kept.look([trial_of(draw, number) for number in range(3)], but=-1)
        if draw.random() < 0.5:
            but = draw.choice([1000, draw.randint(0, len(recorded))])
            kept.look(recorded, but=but)
            anew = Known(SPACE)
            anew.look([trial for trial in recorded if trial.number != but], but=but)
            assert seen(kept) == seen(anew)


@pytest.mark.parametrize("name", ["random", "qmc", "ehvi"])
def test_a_suggestion_depends_on_nothing_that_was_asked_before(name):
    draw = random.Random(1)
    trials = [trial_of(draw, number) for number in range(6)]

    def ask(space, recorded):
        return suggest(
            name=name, space=space, seed=3, number=6, recorded=recorded, num_heads=2, epochs=2
        )

    first = ask(SPACE, trials)
    ask(SPACE, trials[:2])
    ask(OTHER, trials)

    assert ask(SPACE, list(reversed(trials))) == first


def test_a_trial_that_has_not_changed_is_not_worked_out_again(monkeypatch):
    trials = [trial_of(random.Random(7), number) for number in range(50)]
    known, asked = Known(SPACE), []
    known.look(trials, but=-1)
    monkeypatch.setattr("search.sampling.suggest.key_of", lambda *given: asked.append(given[2]))

    new = trial_of(random.Random(8), 50)
    known.look([*trials, new], but=-1)

    assert asked == [new.config]
