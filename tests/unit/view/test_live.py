"""What a person sees while a study runs, and while its points are trained again."""

import io
from dataclasses import replace
from types import SimpleNamespace

import pytest
from msgspec.structs import replace as changed
from rich.console import Console

from search.record.reader import StudyReader
from search.results.chooser import Chooser
from search.results.load import load
from search.results.points import Point
from search.results.progress import StudyProgress, TimeLeft, Tracker
from search.results.retrained import leading_points, trainings_of
from search.study.objective import _weighted_total, every_head
from search.view.live import LiveWatcher, PlainWatcher, watcher_for
from search.view.panel import MOST_FRONT, _choose_rows
from tests.support.confirmed_study import write_confirmation
from tests.support.finished_study import (
    BASELINES,
    TRIALS,
    make_prepared,
    make_study,
    measurement,
    write_study,
)
from tests.support.printed import text_console
from trainables.storage.store import Store


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Replayed:
    """Takes the recorded trials one after the other, as a conductor would show them."""

    def __init__(self, trials, trainings=()):
        self._recorded = trials
        self.trainings = trainings
        self.trials = {}
        self.live = {}
        self.changes = []
        self.in_flight = ()

    def play(self, changed):
        for trial in self._recorded:
            self.begin(trial)
            changed()
            for one in trial.measurements:
                self.live.setdefault(trial.number, {})[one.epoch] = one
                self.changes.append(trial.number)
                changed()
            self.end(trial)
            changed()

    def begin(self, trial):
        self.trials[trial.number] = changed(trial, state="running", measurements=())
        self.in_flight = (*self.in_flight, trial.number)
        self.changes.append(trial.number)

    def end(self, trial):
        self.trials[trial.number] = trial
        self.live.pop(trial.number, None)
        self.in_flight = tuple(n for n in self.in_flight if n != trial.number)
        self.changes.append(trial.number)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    study = write_study(tmp_path_factory.mktemp("finished"))
    return StudyReader(Store(study.folder)).read().trials


@pytest.fixture
def study(tmp_path):
    return make_study(tmp_path / "other", budget={"trials": 24, "epochs": 3})


def tracker_of(conductor, objective=None):
    objective = objective or every_head(tuple(BASELINES))
    chooser = Chooser(objective=objective, baselines=BASELINES)
    return Tracker(conductor, chooser, num_trials=24, num_epochs=3)


def test_who_begins_to_look_late_sees_what_the_others_see(recorded):
    conductor = Replayed(recorded)
    early = tracker_of(conductor)
    looks = 0

    def look():
        nonlocal looks
        looks += 1
        late = replace(tracker_of(conductor).look(), just_ended=())
        assert replace(early.look(), just_ended=()) == late

    conductor.play(look)

    assert looks > 2 * len(recorded)


def test_a_trial_that_has_not_changed_is_not_looked_at_again(recorded, monkeypatch):
    conductor = Replayed(recorded)
    for trial in recorded[:4]:
        conductor.begin(trial)
    tracker, taken = tracker_of(conductor), []
    take_in = Tracker._take_in
    monkeypatch.setattr(
        Tracker, "_take_in", lambda self, one: (taken.append(one.number), take_in(self, one))
    )
    tracker.look()
    taken.clear()

    for loss in (1.0, 0.9):  # the second by another attempt
        conductor.live[2] = {1: measurement(2, 1, (loss, 0.01))}
        conductor.changes.append(2)
        tracker.look()
    tracker.look()

    assert taken == [2, 2]


def play_plain(study, recorded, *, seconds_per_change=0.0):
    clock, console, conductor = Clock(), text_console(), Replayed(recorded)
    with PlainWatcher(console, clock) as watcher:
        watcher.preparing("decoding the images")
        watcher.started(study, make_prepared(study), conductor)

        def changed():
            clock.now += seconds_per_change
            watcher.changed()

        conductor.play(changed)
        watcher.preparing("measuring the best model on the test split")
    return console.file.getvalue().splitlines()


def test_plain_lines_tell_each_phase_and_each_ended_trial_once(study, recorded):
    lines = play_plain(study, recorded)

    assert lines == [
        "decoding the images",
        "digits: 4000 train, 500 validation, 500 test images of 32x32x1; 24 trials x 3 epochs",
        "starting the workers",
        "trial 0 (reference) complete after 3 epochs: "
        "c_output accuracy 0.874 (loss 0.5034), r_output IoU 0.744 (loss 0.00512)",
        "trial 1 complete after 3 epochs: "
        "c_output accuracy 0.922 (loss 0.3121, -38 %), r_output IoU 0.799 (loss 0.00402, -21 %)",
        "trial 2 stopped after 1 epoch: "
        "c_output accuracy 0.525 (loss 1.9, +277 %), r_output IoU -0.050 (loss 0.021, +310 %)",
        "trial 3 failed after 1 epoch: val_c_output_loss became NaN in epoch 2",
        "trial 4 complete after 3 epochs: "
        "c_output accuracy 0.899 (loss 0.402, -20 %), r_output IoU 0.844 (loss 0.00312, -39 %)",
        "trial 5 stopped after 2 epochs: "
        "c_output accuracy 0.797 (loss 0.81, +61 %), r_output IoU 0.640 (loss 0.0072, +41 %)",
        "measuring the best model on the test split",
    ]


def test_a_trial_that_was_taken_up_again_ends_with_where_it_went_on(study, recorded):
    again = changed(recorded[5], taken_up_after=1)

    lines = play_plain(study, [*recorded[:5], again])

    assert "trial 5 stopped after 2 epochs, taken up again after 1: c_output" in "\n".join(lines)


def test_plain_summaries_come_at_most_every_ten_seconds(study, recorded):
    lines = play_plain(study, recorded, seconds_per_change=6.0)

    changes = sum(2 + len(trial.measurements) for trial in recorded)
    summaries = [line for line in lines if "trials ended" in line]
    assert 3 <= len(summaries) <= changes * 6.0 / 10
    assert "4 of 24 trials ended (2 complete, 1 stopped, 1 failed)" in "\n".join(summaries)


def test_plain_lines_hold_no_escape_of_a_hostile_reason(study, recorded):
    hostile = changed(recorded[3], reason="\x1b[2J\x1b]0;pwned\x07[red]no[/red]")

    lines = play_plain(study, [*recorded[:3], hostile])

    assert "\x1b" not in "".join(lines)
    assert lines[-2].endswith(r"\x1b[2J\x1b]0;pwned\x07[red]no[/red]")


def test_a_failed_trial_leaves_the_front_and_what_it_had_beaten_returns(recorded):
    conductor = Replayed(recorded)
    tracker = tracker_of(conductor)
    pictures = []
    conductor.play(lambda: pictures.append(tracker.look()))

    fronts = [[(p.number, p.epoch) for p in picture.front] for picture in pictures]
    assert [(3, 1)] in fronts
    assert fronts[-1] == [(1, 3), (4, 3)]


@pytest.mark.parametrize("in_flight", [1, 3], ids=["one_by_one", "side_by_side"])
def test_counts_epochs_and_best_are_those_of_the_record(recorded, in_flight):
    conductor = Replayed(recorded)
    tracker = tracker_of(conductor)
    for start in range(0, len(recorded), in_flight):
        group = recorded[start : start + in_flight]
        for trial in group:
            conductor.begin(trial)
        tracker.look()
        for trial in group:
            conductor.end(trial)
        progress = tracker.look()

    assert progress.counts == {"complete": 3, "stopped": 2, "failed": 1}
    assert (progress.num_ended, progress.num_running, progress.num_epochs) == (6, 0, 13)
    assert (progress.best.number, progress.best.epoch) == (4, 3)
    assert progress.reference.losses == {"c_output": 0.5034, "r_output": 0.00512}
    assert progress.epochs_left == pytest.approx(18 * 13 / 6)


def test_trials_that_had_ended_before_are_counted_but_no_news(recorded):
    conductor = Replayed(recorded)
    conductor.play(lambda: None)

    progress = tracker_of(conductor).look()

    assert progress.num_ended == 6
    assert progress.just_ended == ()


def picture(num_epochs, epochs_left):
    return StudyProgress(
        num_trials=2,
        counts={},
        num_running=1,
        num_epochs=num_epochs,
        epochs_left=epochs_left,
        front=(),
        best=None,
        reference=None,
        just_ended=(),
    )


def test_time_left_is_counted_from_the_first_new_epoch():
    clock = Clock()
    time = TimeLeft(clock)
    time.saw(picture(10, 20.0))
    clock.now += 30.0  # start-up
    time.saw(picture(11, 19.0))
    first = time.left
    clock.now += 4.0
    time.saw(picture(13, 17.0))
    clock.now += 1.0

    assert first is None
    assert time.elapsed == pytest.approx(35.0)
    assert time.left == pytest.approx(17 * 2.0 - 1.0)


def test_no_more_time_is_left_than_the_budgets_hours():
    clock = Clock()
    time = TimeLeft(clock)
    time.saw(picture(10, 200.0))
    time.ends_within(60.0)
    for num_epochs in (11, 13):
        clock.now += 4.0
        time.saw(picture(num_epochs, 1000.0))

    assert time.left == pytest.approx(60.0 - 8.0)
    clock.now += 100.0
    assert time.left == 0.0


@pytest.mark.parametrize(("hours", "left"), [(None, "1 min 04 s"), (0.005, "6 s")])
def test_summaries_count_the_hours_of_the_budget(tmp_path, recorded, hours, left):
    budget = {"trials": 6, "epochs": 3, "hours": hours}
    study = make_study(tmp_path / "other", budget=budget)

    lines = play_plain(study, recorded[:1], seconds_per_change=4.0)

    summaries = [line for line in lines if "trials ended" in line]
    assert f", 12 s, about {left} left" in summaries[0], summaries


def left_of(trials, num_trials=4, num_epochs=9):
    conductor = Replayed(trials)
    for trial in trials:
        conductor.trials[trial.number] = trial
    chooser = Chooser(objective=every_head(tuple(BASELINES)), baselines=BASELINES)
    tracker = Tracker(conductor, chooser, num_trials=num_trials, num_epochs=num_epochs)
    return tracker.look().epochs_left


def trial_of(recorded, number, state, epochs):
    measured = tuple(measurement(number, epoch, (1.0, 0.01)) for epoch in range(1, epochs + 1))
    return changed(recorded[0], number=number, state=state, measurements=measured)


@pytest.mark.parametrize(
    ("trials", "left"),
    [
        pytest.param([], 36.0, id="none_yet"),
        pytest.param([("running", 4)], 32.0, id="no_word_of_stops"),
        pytest.param([("stopped", 3), ("complete", 9)], 12.0, id="as_early_as_others"),
        pytest.param([("stopped", 3), ("running", 4)], 5.0 + 12.0, id="past_the_stops_to_the_end"),
        pytest.param([("stopped", 3), ("running", 1)], 2.0 + 6.0, id="may_be_stopped_as_others"),
        pytest.param([("interrupted", 2), ("complete", 9)], 7.0 + 18.0, id="interrupted_go_on"),
        pytest.param([("complete", 3), ("complete", 3)], 12.0 + 18.0, id="budget_has_grown"),
        pytest.param([("failed", 0), ("complete", 9)], 9.0, id="failed"),
    ],
)
def test_epochs_left_count_what_is_stopped_and_what_goes_on(recorded, trials, left):
    made = [trial_of(recorded, n, state, epochs) for n, (state, epochs) in enumerate(trials)]

    assert left_of(made) == pytest.approx(left)


def live_picture(study, recorded, width):
    clock, console, conductor = Clock(), text_console(width), Replayed(recorded)
    watcher = LiveWatcher(console, clock)
    watcher.preparing("decoding the images")
    watcher.started(study, make_prepared(study), conductor)
    conductor.play(watcher.changed)
    console.print(watcher.picture())
    return console.file.getvalue()


@pytest.mark.parametrize("width", [40, 64, 80, 120])
def test_the_panel_shows_the_front_next_to_the_reference_at_any_width(study, recorded, width):
    shown = live_picture(study, recorded, width)

    assert all(len(line) <= width for line in shown.splitlines())
    assert "6 of 24 trials" in shown
    assert "trial 4 @3" in shown
    assert "reference @3" in shown
    assert ("-20 %" in shown) == (width >= 80)
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    heads = "c_output r_output" if width > 40 else "c_output"
    labels = "accuracy loss IoU loss" if width > 40 else "accuracy loss"
    assert any(heads in line for line in lines)
    assert f"│ front so far {labels}" in "\n".join(lines)
    assert "0.899 0.402" in "\n".join(lines)
    assert "…" not in "\n".join(lines[lines.index(next(x for x in lines if heads in x)) :][:6])


def test_the_panel_says_what_is_done_before_the_first_trial(study):
    console = text_console()
    watcher = LiveWatcher(console, Clock())
    watcher.preparing("checking the data")
    watcher.preparing("decoding [red]the images\x1b[0m")

    console.print(watcher.picture())

    shown = console.file.getvalue()
    assert "✓ checking the data" in shown
    assert r"decoding [red]the images\x1b[0m" in shown


@pytest.mark.parametrize("is_terminal", [True, False])
def test_what_a_person_is_told_stays_when_the_study_is_over(is_terminal):
    out = io.StringIO()
    console = Console(file=out, width=60, force_terminal=is_terminal, _environ={"TERM": "xterm"})
    line = "warm start: 118 of 120 trials of studies/old [red](2 lie outside the space)\x1b[0m"

    with LiveWatcher(console, Clock()) if is_terminal else PlainWatcher(console) as watcher:
        watcher.preparing("checking the data")
        watcher.told(line)

    assert line.replace("\x1b", "\\x1b") in out.getvalue()


def test_of_a_long_front_both_ends_and_the_best_are_shown():
    first = Point(
        number=0,
        epoch=1,
        config={},
        losses={},
        metrics={},
        state="running",
        is_reference=False,
        checkpoint="",
        checkpoint_sha256="",
    )
    front = [replace(first, number=number) for number in range(50)]

    rows = _choose_rows(front, front[17])

    assert len(rows) == MOST_FRONT
    assert {rows[0].number, rows[-1].number} == {0, 49}
    assert front[17] in rows


@pytest.mark.parametrize(
    ("is_terminal", "term", "expected"),
    [
        pytest.param(True, "xterm-256color", LiveWatcher, id="terminal"),
        pytest.param(True, "dumb", PlainWatcher, id="dumb_terminal"),
        pytest.param(False, "xterm-256color", PlainWatcher, id="pipe"),
    ],
)
def test_the_panel_is_drawn_only_where_a_cursor_moves(monkeypatch, is_terminal, term, expected):
    monkeypatch.setenv("TERM", term)
    monkeypatch.setenv("FORCE_COLOR", "1")
    file = io.StringIO()
    monkeypatch.setattr(file, "isatty", lambda: is_terminal, raising=False)

    assert isinstance(watcher_for(Console(file=file)), expected)


def test_looking_at_a_changed_study_does_not_walk_its_ended_trials(recorded):
    conductor = Replayed(recorded)
    tracker = tracker_of(conductor)
    conductor.play(tracker.look)
    conductor.trials = SimpleNamespace(__getitem__=None)  # not to be touched: all have ended

    assert tracker.look().num_ended == len(TRIALS)


def test_the_best_so_far_is_by_the_studys_objective(recorded):
    conductor = Replayed(recorded)
    tracker = tracker_of(conductor, _weighted_total({"c_output": 1.0, "r_output": 10.0}))

    conductor.play(tracker.look)
    progress = tracker.look()

    assert (progress.best.number, progress.best.epoch) == (1, 3)
    assert progress.front == (progress.best,)
    assert set(progress.best.losses) == {"c_output", "r_output"}


NAN = "val_c_output_loss became NaN in epoch 2"
AGAIN = {(4, 1): (0.40, 0.0030), (0, 1): (0.5, 0.005), (4, 2): NAN, (0, 2): (0.52, 0.0052)}
TRAINED = [
    "trial 4 with seed 1 after 3 epochs: "
    "c_output accuracy 0.900 (loss 0.4), r_output IoU 0.850 (loss 0.003)",
    "the reference trial with seed 1 after 3 epochs: "
    "c_output accuracy 0.875 (loss 0.5), r_output IoU 0.750 (loss 0.005)",
    f"trial 4 with seed 2 failed: {NAN}",
    "the reference trial with seed 2 after 3 epochs: "
    "c_output accuracy 0.870 (loss 0.52), r_output IoU 0.740 (loss 0.0052)",
]


@pytest.fixture(scope="module")
def retrained(tmp_path_factory):
    """Return the trainings of a confirmation, and the trials of their record."""
    result = load(write_study(tmp_path_factory.mktemp("finished")).folder)
    points = leading_points(result, top=1, policy="geometric_mean", options={})
    write_confirmation(result, points, AGAIN)
    trials = StudyReader(result.store.confirmation).read().trials
    return trainings_of(points, (1, 2)), trials


def replay_trainings(watcher, study, retrained, *, before=0, changed=lambda: None):
    """Show a watcher how trainings end one after the other; the first ``before`` are there."""
    trainings, trials = retrained
    conductor = Replayed(trials[before:], trainings)
    for trial in trials[:before]:
        conductor.end(trial)
    with watcher:
        watcher.preparing("checking the data")
        watcher.started(study, make_prepared(study), conductor)
        conductor.play(lambda: (watcher.changed(), changed()))
        watcher.preparing("measuring on the test split")


def test_plain_lines_tell_each_training_that_ends(study, retrained):
    console = text_console(200)

    replay_trainings(PlainWatcher(console, Clock()), study, retrained)

    assert console.file.getvalue().splitlines() == [
        "checking the data",
        "4 trainings with fresh seeds",
        "starting the workers",
        *TRAINED,
        "measuring on the test split",
    ]


def test_trainings_that_were_there_before_are_counted_and_not_told_again(study, retrained):
    console = text_console(200)

    replay_trainings(PlainWatcher(console, Clock()), study, retrained, before=3)

    text = console.file.getvalue()
    assert "4 trainings with fresh seeds, 3 of them before" in text
    assert [line for line in text.splitlines() if "with seed" in line] == TRAINED[3:]


def test_the_panel_shows_how_many_trainings_are_left_and_above_it_each_that_ends(study, retrained):
    clock, out = Clock(), io.StringIO()
    console = Console(file=out, width=110, force_terminal=True, _environ={"TERM": "xterm"})
    watcher, pictures = LiveWatcher(console, clock), []

    def changed():
        clock.now += 2
        shown = text_console(110)
        shown.print(watcher.picture())
        pictures.append(" ".join(shown.file.getvalue().split()))

    replay_trainings(watcher, study, retrained, changed=changed)

    after_two = next(picture for picture in pictures if "2 of 4 trainings" in picture)
    assert "0 running · 2 complete · 6 epochs" in after_two
    assert "Ctrl-C interrupts, the same command goes on" in after_two
    assert "4 of 4 trainings about 0 s left" in pictures[-1]
    told = " ".join(out.getvalue().split())
    assert all(told.count(line) == 1 for line in TRAINED)


def test_epochs_that_a_failed_training_will_never_have_are_not_waited_for(retrained):
    trainings, trials = retrained
    conductor = Replayed(trials)
    chooser = Chooser(objective=every_head(tuple(BASELINES)), baselines=BASELINES)
    lengths = [training.epoch for training in trainings]
    tracker = Tracker(conductor, chooser, num_trials=4, num_epochs=3, lengths=lengths)

    left = [tracker.look().epochs_left]
    for trial in trials:
        conductor.end(trial)
        left.append(tracker.look().epochs_left)

    assert left == [12, 9, 6, 3, 0]
