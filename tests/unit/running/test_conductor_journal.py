"""What a sampler is shown by what has changed equals what is worked out anew, whatever happens."""

import random

import pytest

from search.running.attempts import AttemptEnd
from search.running.conductor import Finished, _recorded_trial
from search.running.scheduler import Fifo
from search.sampling.trials import Continue, Suggestion
from tests.support.conducted_study import BASELINES, Bench, rate_of

LOST_AS = ("lost", "node", "preempted", "memory")


class Stopping(Fifo):
    """Stops one trial in seven."""

    def __init__(self, draw):
        self.draw = draw

    def decide(self, number, epoch, values):
        return "stop" if self.draw.random() < 0.15 else "continue"


class Story:
    """Asks, reports, losses and new owners in any order; every question is looked into."""

    def __init__(self, bench, seed):
        self.bench, self.draw = bench, random.Random(seed)
        self.trials, self.epochs = self.draw.randint(4, 8), self.draw.randint(2, 4)
        self.num_asked = self.num_continued = 0

    def take_over(self):
        """Begin as a new owner with a larger budget; no actor lives on."""
        self.trials, self.epochs = self.trials + 2, self.epochs + self.draw.randint(0, 1)
        self.actors = {}
        scheduler = Stopping(self.draw)
        self.bench.conduct(scheduler, self.suggest, trials=self.trials, epochs=self.epochs)

    def suggest(self, number, recorded):
        conductor = self.bench.conductor
        live, objective = conductor.live, conductor._plan.objective
        assert recorded == [
            _recorded_trial(trial, live.get(number, {}), BASELINES, objective)
            for number, trial in conductor.trials.items()
        ]
        self.num_asked += 1
        stopped = [trial.number for trial in recorded if trial.may_continue]
        if stopped and self.draw.random() < 0.4:
            self.num_continued += 1
            return Continue(number=self.draw.choice(stopped))
        config = {"conv1_filters": 8, "learning_rate": rate_of(number)}
        return Suggestion(config=config, system_attrs={})

    def go_on(self):
        """Let one thing happen; at the study's end another owner has a larger budget."""
        what = self.draw.random()
        if what < 0.4 and len(self.actors) < 4:
            envelope = self.bench.conductor.ask()
            if isinstance(envelope, Finished):
                self.take_over()
            elif envelope is not None:
                self.actors[envelope.number] = envelope, self.bench.actor(envelope)
        elif what < 0.98 and self.actors:
            self.of_an_actor(self.draw.choice(list(self.actors)))
        elif what >= 0.98:
            self.take_over()

    def of_an_actor(self, number):
        """Let an actor report an epoch, or be lost before or after it has measured one."""
        envelope, actor = self.actors[number]
        fate = self.draw.random()
        step = actor.step() if fate < 0.9 else None
        if fate < 0.85:
            has_ended = self.bench.report(envelope, step)
        else:
            self.bench.conductor.lost(
                number, envelope.attempt, AttemptEnd(how=self.draw.choice(LOST_AS))
            )
            has_ended = True
        if has_ended:
            del self.actors[number]


@pytest.mark.parametrize("seed", range(4))
def test_the_sampler_is_shown_every_change_of_a_study(tmp_path, monkeypatch, seed):
    story = Story(Bench(tmp_path, monkeypatch), seed)
    story.take_over()

    for _ in range(300):
        story.go_on()

    assert story.num_asked > story.num_continued > 0
    story.bench.close()
