"""What a person sees while points are trained again."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from search.record.log import StudyLog
from search.results.load import load
from search.results.retrained import leading_points, record_of, trainings_of
from search.view.live import ConfirmWatcher
from tests.confirmed_study import write_confirmation
from tests.finished_study import write_study

NAN = "val_c_output_loss became NaN in epoch 2"
AGAIN = {(4, 1): (0.40, 0.0030), (0, 1): (0.5, 0.005), (4, 2): NAN, (0, 2): (0.52, 0.0052)}


@pytest.fixture(name="recorded", scope="module")
def trained(tmp_path_factory):
    """Return the trainings, and the trials of their record."""
    result = load(write_study(tmp_path_factory.mktemp("finished")).folder)
    points = leading_points(result, top=1, policy="geometric_mean", options={})
    write_confirmation(result, points, AGAIN)
    return trainings_of(points, (1, 2)), StudyLog.read(record_of(result.folder)).trials


class Terminal(io.StringIO):
    def isatty(self):
        return True


def replayed(recorded, file, *, before=0):
    """Return what is said while the trainings end one after the other; ``before`` are there."""
    trainings, trials = recorded
    clock = SimpleNamespace(now=100.0)
    console = Console(file=file, width=200, force_terminal=file.isatty())
    conductor = SimpleNamespace(trials={}, live={}, in_flight=())
    conductor.trials.update({trial.number: trial for trial in trials[:before]})
    with ConfirmWatcher(console, clock=lambda: clock.now) as watcher:
        watcher.preparing("checking the data")
        watcher.started(trainings, conductor)
        watcher.changed()
        for trial in trials[before:]:
            clock.now += 10
            conductor.trials[trial.number] = trial
            watcher.changed()
        watcher.preparing("measuring on the test split")
    return file.getvalue()


def test_a_line_is_printed_for_each_training_that_ends(recorded):
    assert replayed(recorded, io.StringIO()).splitlines() == [
        "checking the data",
        "4 trainings with fresh seeds",
        "starting the workers",
        "trial 4 with seed 1 after 3 epochs: "
        "c_output accuracy 0.900 (loss 0.4), r_output IoU 0.850 (loss 0.003)",
        "the reference trial with seed 1 after 3 epochs: "
        "c_output accuracy 0.875 (loss 0.5), r_output IoU 0.750 (loss 0.005)",
        f"trial 4 with seed 2 failed: {NAN}",
        "the reference trial with seed 2 after 3 epochs: "
        "c_output accuracy 0.870 (loss 0.52), r_output IoU 0.740 (loss 0.0052)",
        "measuring on the test split",
    ]


def test_what_was_there_before_is_counted_and_not_told_again(recorded):
    text = replayed(recorded, io.StringIO(), before=3)

    assert "4 trainings with fresh seeds, 3 of them before" in text
    assert text.count("with seed") == 1


def test_a_terminal_shows_how_much_is_left(recorded):
    trainings, trials = recorded
    console = Console(file=Terminal(), width=200, force_terminal=True)
    clock = SimpleNamespace(now=100.0)
    watcher = ConfirmWatcher(console, clock=lambda: clock.now)
    conductor = SimpleNamespace(trials={}, live={0: {1: {}}}, in_flight=(0,))
    watcher.started(trainings, conductor)
    watcher.changed()

    clock.now += 8
    conductor.trials[0] = trials[0]
    watcher.changed()

    assert watcher.standing() == "1 of 4 trainings ended, 3 of 12 epochs, about 36 s left"


def test_epochs_that_a_failed_training_will_never_have_are_not_waited_for(recorded):
    trainings, trials = recorded
    conductor = SimpleNamespace(trials={}, live={}, in_flight=())
    watcher = ConfirmWatcher(Console(file=io.StringIO()), clock=lambda: 100.0)
    watcher.started(trainings, conductor)

    conductor.trials.update({trial.number: trial for trial in trials})
    watcher.changed()

    assert watcher.standing() == "4 of 4 trainings ended, 9 of 9 epochs"


def test_a_terminal_is_told_the_same_lines(recorded):
    text = replayed(recorded, Terminal())

    assert f"trial 4 with seed 2 failed: {NAN}" in text
    assert text.count("with seed") == 4
