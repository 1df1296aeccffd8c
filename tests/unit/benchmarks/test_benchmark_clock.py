import itertools
from dataclasses import dataclass, field

import numpy as np
import pytest

from tests.benchmarks.clock import play
from tests.benchmarks.scores import Scale
from tests.benchmarks.table import Table, combinations
from tests.unit.benchmarks.small_tables import rows_of, write_plain


@dataclass
class Scripted:
    """Hands out configs in order, stops where it is told to, and notes what it hears."""

    configs: list
    stop_at: dict = field(default_factory=dict)
    heard: list = field(default_factory=list)
    given: int = 0

    def ask(self):
        if self.given == len(self.configs):
            return None
        number, self.given = self.given, self.given + 1
        return number, self.configs[number]

    def report(self, number, epoch, losses):
        self.heard.append((number, epoch, tuple(losses.values())))
        return self.stop_at.get(number) == epoch

    def ended(self, number, state):
        self.heard.append((number, state))


@pytest.fixture
def table(tmp_path):
    return Table.read(write_plain(tmp_path / "t.parquet", rows_of()))


def run(table, contender, *, workers=2, budget=1000, seed=0):
    options = {"workers": workers, "budget": budget, "seed": seed}
    return play(table, Scale(table), contender, **options)


def test_a_trial_is_trained_epoch_by_epoch_with_the_curves_of_the_seed(table):
    config = list(combinations(table.parameters))[5]
    contender = Scripted([config])

    trace = run(table, contender, seed=1)

    losses, seconds = table.curve(config, 1)
    told = [(0, epoch, tuple(losses[epoch - 1])) for epoch in (1, 2, 3, 4)]
    assert contender.heard == [*told, (0, "complete")]
    np.testing.assert_allclose(trace.seconds, np.cumsum(seconds))
    assert trace.trials == 1


def test_what_was_stopped_makes_room_for_the_next(table):
    configs = list(combinations(table.parameters))[:3]
    contender = Scripted(configs, stop_at={0: 2})

    run(table, contender, workers=1)

    ends = [heard for heard in contender.heard if len(heard) == 2]
    assert ends == [(0, "stopped"), (1, "complete"), (2, "complete")]


@dataclass
class AskingAgain(Scripted):
    """Hands out the same number every time, until it is complete."""

    def ask(self):
        return None if (0, "complete") in self.heard else (0, self.configs[0])


def test_a_stopped_trial_that_is_handed_out_again_goes_on_after_its_last_epoch(table):
    config = list(combinations(table.parameters))[5]
    contender = AskingAgain([config], stop_at={0: 2})

    trace = run(table, contender, workers=1)

    told = [heard[:2] for heard in contender.heard]
    assert told == [(0, 1), (0, 2), (0, "stopped"), (0, 3), (0, 4), (0, "complete")]
    np.testing.assert_allclose(trace.seconds, np.cumsum(table.curve(config, 0)[1]))
    assert trace.trials == 1


def test_a_stop_at_the_last_epoch_is_a_complete_trial(table):
    contender = Scripted(list(combinations(table.parameters))[:1], stop_at={0: 4})

    run(table, contender)

    assert contender.heard[-1] == (0, "complete")


def test_results_are_taken_in_by_time_and_then_by_worker(tmp_path):
    rows = [{**row, "seconds": 3.0 if row["units"] == 8 else 1.0} for row in rows_of()]
    table = Table.read(write_plain(tmp_path / "t.parquet", rows))
    chosen = {8: None, 16: None, 32: None}
    for config in combinations(table.parameters):
        chosen[config["units"]] = config
    contender = Scripted(list(chosen.values()))

    trace = run(table, contender, workers=3)

    order = [heard[:2] for heard in contender.heard if len(heard) == 3]
    assert order[:6] == [(1, 1), (2, 1), (1, 2), (2, 2), (0, 1), (1, 3)]
    assert trace.seconds.tolist() == [1, 1, 2, 2, 3, 3, 3, 4, 4, 6, 9, 12]


@pytest.mark.parametrize("workers", [1, 3, 64, 1000])
@pytest.mark.parametrize("budget", [1, 10, 57])
def test_no_more_epochs_are_trained_than_the_budget_has(table, workers, budget):
    endless = Scripted(list(itertools.islice(itertools.cycle(combinations_of(table)), 5000)))

    trace = run(table, endless, workers=workers, budget=budget)

    assert len(trace.shares) == budget
    assert endless.given <= budget


def combinations_of(table):
    """Return configs that never cover all of the front."""
    scale = Scale(table)
    worst = np.argsort(scale.points.max(axis=(1, 2)))[:5]
    configs = list(combinations(table.parameters))
    return [configs[place] for place in worst]


def test_a_run_ends_when_nothing_more_can_be_gained(table):
    contender = Scripted(list(combinations(table.parameters)) * 10)

    trace = run(table, contender, budget=10_000)

    assert trace.shares[-1] == 1
    assert (trace.shares[:-1] < 1).all()
    assert len(trace.shares) <= 36 * 4 + 1


def test_a_loss_that_is_not_finite_ends_the_trial_and_is_not_reported(tmp_path):
    rows = rows_of()
    rows[2]["val_place_loss"] = float("nan")
    table = Table.read(write_plain(tmp_path / "t.parquet", rows))
    contender = Scripted(list(combinations(table.parameters))[:2])

    trace = run(table, contender, workers=1)

    assert [heard[:2] for heard in contender.heard[:4]] == [(0, 1), (0, 2), (0, "failed"), (1, 1)]
    assert len(trace.shares) == 3 + 4


def test_credit_is_for_the_losses_averaged_over_the_seeds(table):
    configs = list(combinations(table.parameters))[:6]

    first = run(table, Scripted(configs), workers=1, seed=0)
    second = run(table, Scripted(configs), workers=1, seed=1)

    np.testing.assert_array_equal(first.shares, second.shares)


def test_a_contender_with_nothing_for_now_is_asked_again_after_a_result(table):
    class OneAtATime(Scripted):
        is_busy = False

        def ask(self):
            if self.is_busy:
                return None
            self.is_busy = True
            return super().ask()

        def ended(self, number, state):
            self.is_busy = False
            super().ended(number, state)

    contender = OneAtATime(list(combinations(table.parameters))[:3])

    trace = run(table, contender, workers=4)

    assert trace.trials == 3
