"""What is printed of a result."""

import json
import math
import shlex
from dataclasses import asdict, replace

import pytest
from msgspec.structs import replace as changed

from search.errors import NoCandidate
from search.record.decisions import Attempted, Closed, Ended, Released
from search.record.log import StudyLog
from search.record.ownership import claim
from search.results.ledger import make_ledger
from search.results.load import load
from search.results.usage import _write_run
from search.study.shares import MeasuredShares, write_shares
from search.text import change, clean, duration, number
from search.view.best import print_best, print_end, print_interrupted
from search.view.json_form import best_to_dict, study_to_dict, to_text
from search.view.study import _best_points, _trial_tables, print_list, print_show
from tests.support import finished_study
from tests.support.finished_study import (
    REFERENCE_CONFIG,
    RUN,
    SECONDS,
    SPACE,
    Script,
    measurement,
    write_study,
)
from tests.support.printed import shown, squeezed
from trainables.storage.store import Store
from trainables.trial.measurement import write

HOSTILE = "\x1b[31mred\x1b]0;title\x07\u202eback\u0085[bold]"


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return load(write_study(tmp_path_factory.mktemp("finished")).folder)


def test_best_shows_figures_on_the_test_split_where_there_are_any(tmp_path, result):
    untested = load(write_study(tmp_path / "untested", tested=()).folder)

    with_test = shown(print_best, result, result.best())
    without = shown(print_best, untested, untested.best())

    assert "c_output accuracy 0.910 0.910 0.47 0.43 +9 % 0.2042" in squeezed(with_test)
    assert "test" not in squeezed(without)


def test_best_says_what_the_model_takes_and_gives(tmp_path, result):
    pixels = {"kind": "box", "format": "xyxy", "scale": "pixel"}
    heads = {"c_output": {"kind": "classification"}, "r_output": pixels}
    declared = load(write_study(tmp_path, heads=heads).folder)

    plain = squeezed(shown(print_best, result, result.best()))
    lines = squeezed(shown(print_best, declared, declared.best()))

    first = "model takes images (rows, 32, 32, 1) of 0..255, as result.preprocess(...) makes them"
    assert first in plain
    assert "c_output: probabilities of 10 classes in this order: 0, 1, 2, 3, 4, ..." in plain
    assert plain[-1] == "r_output: [y_min, x_min, y_max, x_max] in fractions"
    assert lines[-2:] == [
        "r_output: [y_min, x_min, y_max, x_max] in fractions",
        "(result.predict: [x_min, y_min, x_max, y_max] in pixels)",
    ]


def test_best_shows_why_and_what_one_would_give_up_by_another_policy(result):
    lines = squeezed(shown(print_best, result, result.best(), width=400))

    at = lines.index("the same by ideal_point, head:r_output")
    assert lines[at - 1] == (
        "others lexicographic, head:c_output: trial 1 epoch 3 instead, "
        "c_output accuracy 0.922 (loss 0.3121, -22 %), r_output IoU 0.799 (loss 0.00402, +29 %)"
    )


def test_a_total_is_shown_beside_the_heads_it_is_made_of(tmp_path):
    space = {**SPACE, "r_output_loss_weight": 10.0}
    result = load(write_study(tmp_path, space=space, objective="total").folder)

    text = shown(print_best, result, result.best())

    assert "goal     total (1 x c_output + 10 x r_output)" in text
    # 0.3121 + 10 * 0.00402 against 0.5034 + 10 * 0.00512
    assert "total - - 0.3523 0.5546 -36 % 0.1359" in " ".join(text.split())
    assert "trial 4 epoch 3 instead" in text
    assert "goal     total" in shown(print_show, result)


def test_best_says_that_nothing_beat_the_reference(tmp_path):
    trials = (Script("complete", ((0.1, 0.001),)), Script("complete", ((0.2, 0.002),)))
    result = load(write_study(tmp_path, trials, tested=()).folder)

    text = shown(print_best, result, result.best())

    assert text.startswith("nothing beat the reference trial: best is trial 0 after 1 epoch")
    assert "change" not in text


@pytest.mark.parametrize("width", [80, 120])
def test_no_line_of_tables_is_wider_than_the_terminal(result, width):
    text = shown(print_show, result, width=width) + shown(
        print_best, result, result.best(), width=width
    )

    paths = ("weights", "folder", "data")
    lines = [line for line in text.splitlines() if not line.startswith(paths)]
    assert max(map(len, lines)) <= width
    assert "…" not in text


def test_end_of_a_run_says_what_to_type_next(result, monkeypatch):
    monkeypatch.chdir("/")
    folder = shlex.quote(result.folder.lstrip("/"))

    text = shown(print_end, result, 125.0)

    assert "6 trials (3 complete, 2 stopped, 1 failed), 13 epochs in 2 min 05 s" in text
    assert f"  twohead best {folder} --json\n" in text
    assert f"  twohead show {folder}\n" in text
    assert "import search; result = search.load(" in text
    assert "result.predict('photo.jpg', best)" in text


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        pytest.param({"conv1_filters": 8}, "this at its defaults", id="its_own"),
        pytest.param(None, "the built-in network", id="recorded_before"),
    ],
)
def test_show_says_which_model_the_reference_is_of(tmp_path, monkeypatch, reference, said):
    whole = finished_study.make_prepared
    monkeypatch.setattr(
        finished_study,
        "make_prepared",
        lambda *given: replace(whole(*given), reference=reference),
    )
    result = load(write_study(tmp_path, model="own.nets:build").folder)

    assert f"\nmodel    own.nets:build; the reference is {said}\n" in shown(print_show, result)


def test_printing_a_study_that_had_ended_names_no_time(result):
    assert "13 epochs, ended before" in shown(print_end, result)


def test_the_end_of_a_resumed_study_tells_this_run_apart_from_the_whole(tmp_path):
    folder = take_up_trial_5(tmp_path)

    text = shown(print_end, load(folder), 12.0)

    this_run = "digits: this run 1 trial (1 complete; 1 taken up again), 1 epoch in 12 s"
    whole = "the whole study: 6 trials (4 complete, 1 stopped, 1 failed; 1 taken up again), 14 ep"
    assert text.startswith(f"{this_run}\n{whole}")


def test_commands_to_copy_are_quoted_and_never_broken():
    folder = f"/data/my studies/{'long' * 40}/digits"

    text = shown(print_interrupted, folder, width=80)

    assert f"  twohead resume '{folder}'\n" in text


def test_end_of_a_run_without_any_point_says_why(tmp_path):
    trials = (Script("failed", (), "no memory"),)
    result = load(write_study(tmp_path, trials, tested=()).folder)

    with pytest.raises(NoCandidate, match=r"1 failed \(first: trial 0, no memory\)"):
        shown(print_end, result, 1.0)


def take_up_trial_5(tmp_path):
    """Let a second run take a stopped trial to its end; return the study's folder."""
    study = write_study(tmp_path, closed="")
    store = Store(study.folder)
    again = changed(measurement(5, 3, (0.7, 0.0066)), attempt=2, generation=2)
    with claim(store) as ownership:
        log = StudyLog.open_for_writing(store, ownership, budget=asdict(study.budget))
        log.record(Attempted(number=5, attempt=2))
        write(store, again)
        log.record(Ended(number=5, state="complete"))
        log.record(Closed(reason="done"))
    return study.folder


def test_show_says_which_trials_were_taken_up_again(tmp_path, result):
    folder = take_up_trial_5(tmp_path)

    text = shown(print_show, load(folder))

    assert "6 trials (4 complete, 1 stopped, 1 failed; 1 taken up again), 14 epochs" in text
    assert "\ntaken up again: trial 5 after 2 epochs\n" in text
    assert "taken up again" not in shown(print_show, result)


def test_show_says_where_trials_were_trained_and_what_was_lost_on_the_way(tmp_path, result):
    script = Script("running", ((1.9, 0.021),))
    study = write_study(tmp_path, (script,), tested=(), closed="")
    store = Store(study.folder)
    with claim(store) as ownership:
        log = StudyLog.open_for_writing(store, ownership, budget=asdict(study.budget))
        log.record(Released(number=0, attempt=1, cause="node", charged=False))
        for attempt, epoch, node in ((2, 2, "one"), (3, 3, "two")):
            log.record(Attempted(number=0, attempt=attempt))
            there = measurement(0, epoch, (1.0, 0.01))
            write(store, changed(there, attempt=attempt, generation=2, node=node))
            if attempt == 2:
                log.record(Released(number=0, attempt=2, cause="lost", charged=True))
        log.record(Ended(number=0, state="complete"))

    found = load(study.folder)

    assert found.trials[0].nodes == ("one", "two")
    lost = "trial 0 (its node died, not charged), trial 0 (its process died)"
    assert f"\nattempts lost: {lost}\n" in shown(print_show, found)
    assert any(" one two " in line for line in squeezed(shown(print_show, found, width=200)))
    assert "attempts lost" not in shown(print_show, result)
    told = study_to_dict(found)["trials"][0]
    assert told["nodes"] == ["one", "two"]
    assert told["lost"][0] == {"attempt": 1, "cause": "node", "is_charged": False, "epoch": 1}
    assert [epoch["node"] for epoch in told["epochs"]] == ["", "one", "two"]


def test_show_puts_configs_in_tables_of_their_own_where_it_is_narrow(result):
    wide, narrow = (shown(print_show, result, width=width) for width in (140, 80))

    assert sum(line.startswith("0*") for line in wide.splitlines()) == 1
    assert sum(line.startswith("0*") for line in narrow.splitlines()) == 2


def test_show_says_what_was_measured_for_the_trials(tmp_path):
    study = write_study(tmp_path, resources={"cpu": "auto"})
    before = load(study.folder)
    assert "shares" not in shown(print_show, before)
    assert study_to_dict(before)["shares"] is None
    shares = MeasuredShares(cpu=2, gpu=0, speeds={1: 90.0, 2: 131.2})

    write_shares(Store(study.folder), shares)
    result = load(study.folder)

    line = "shares   2 threads for each trial (images a second on a full node, by threads of a"
    assert line in shown(print_show, result)
    assert study_to_dict(result)["shares"] == shares.to_dict()


def test_on_a_terminal_narrower_than_a_table_nothing_is_cut(result):
    def text_at(width):
        tables = _trial_tables(result, _best_points(result), width)
        return shown(lambda console, tables: console.print(*tables, sep="\n"), tables, width=width)

    narrow = text_at(30)

    assert "…" not in narrow
    assert set(narrow.split()) == set(text_at(200).split())


def test_show_of_a_study_without_trials_says_so(tmp_path):
    result = load(write_study(tmp_path, (), tested=(), closed="").folder)

    text = shown(print_show, result)

    assert "digits, not begun: 0 trials, 0 epochs" in text


@pytest.mark.parametrize(
    ("trials", "closed", "expected"),
    [
        pytest.param((), "", "not begun", id="no_trials"),
        pytest.param(
            (Script("complete", ((1.0, 0.01),) * 3),), "interrupted", "interrupted", id="some"
        ),
        pytest.param((Script("complete", ((1.0, 0.01),) * 3),) * 6, "done", "finished", id="all"),
    ],
)
def test_state_of_a_study_is_read_from_its_trials(tmp_path, trials, closed, expected):
    result = load(write_study(tmp_path, trials, tested=(), closed=closed).folder)

    assert result.state == expected


def test_overhead_is_what_neither_work_nor_start_up_explains(result):
    ledger = make_ledger(result.trials, result.runs)

    first = sum(SECONDS[part] for part in ("build", "trace", "train", "validate", "save"))
    later = sum(SECONDS[part] for part in ("train", "validate", "save"))
    work = 6 * first + 7 * later
    started = RUN["startup_seconds"] + 6 * SECONDS["start"]
    assert ledger.overhead_seconds == pytest.approx((48.0 - started - 1.0 - work) / 6)


def test_the_typical_overhead_is_that_of_the_trial_in_the_middle(result):
    later = sum(SECONDS[part] for part in ("train", "validate", "save"))
    first = later + sum(SECONDS[part] for part in ("start", "build", "trace"))
    epochs = [trial.num_epochs for trial in result.trials[:3]]
    work = [first + (num - 1) * later for num in epochs]
    took = [[n, 1, work[n] + over] for n, over in zip((2, 0, 1), (0.5, 0.02, 0.03), strict=True)]
    run = {**RUN, "generation": 1, "trial_seconds": took}

    ledger = make_ledger(result.trials, [run])

    assert min(epochs) > 0
    assert ledger.typical_overhead_seconds == pytest.approx(0.03)
    known = {**RUN, "generation": 1}
    assert make_ledger(result.trials, [known]).typical_overhead_seconds is None


def test_work_of_a_killed_run_does_not_count_against_the_known_ones(result):
    known = make_ledger(result.trials, [{**RUN, "generation": 2}])

    assert known.work_seconds == 0.0
    assert known.parts["train"] == pytest.approx(13.0)


def test_overhead_is_unknown_without_a_run_that_ended_in_order(result):
    ledger = make_ledger(result.trials, [])

    assert ledger.overhead_seconds is None
    assert ledger.wall_seconds is None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_json_never_holds_a_number_that_json_does_not_know(result, value):
    point = replace(result.best(), metrics={"val_c_output_accuracy": value})

    text = to_text(best_to_dict(result, point))

    assert "NaN" not in text
    assert "Infinity" not in text
    assert json.loads(text)["metrics"] == {"val_c_output_accuracy": None}


def test_json_of_a_study_leaves_out_what_a_run_noted_of_each_trial(tmp_path):
    folder = write_study(tmp_path).folder
    run = {**RUN, "generation": 1, "trial_seconds": [[0, 1, 100.0]]}
    _write_run(Store(folder), 1, run)

    found = study_to_dict(load(folder))

    assert found["runs"] == [{**RUN, "generation": 1}]
    assert found["ledger"]["typical_overhead_seconds"] > 0


def test_text_of_strangers_reaches_the_terminal_only_escaped(tmp_path):
    config = {**REFERENCE_CONFIG, "optimizer": HOSTILE}
    trials = (
        Script("complete", ((1.0, 0.01),)),
        Script("complete", ((0.5, 0.005),), config=config),
        Script("failed", (), HOSTILE),
    )
    result = load(write_study(tmp_path, trials, tested=()).folder)

    text = shown(print_show, result) + shown(print_end, result, 1.0)
    text += shown(print_list, [(HOSTILE, HOSTILE)])

    assert not set(text) & set("\x1b\x07\u202e\u0085")
    assert r"\x1b[31mred\x1b]0;title\x07\u202eback\x85[bold]" in text


@pytest.mark.parametrize(
    ("loss", "reference", "expected"),
    [
        pytest.param(0.31, 0.5, "-38 %", id="better"),
        pytest.param(0.6, 0.5, "+20 %", id="worse"),
        pytest.param(0.5, 0.5001, "±0 %", id="same"),
        pytest.param(-0.1, 0.5, "-120 %", id="below_zero"),
        pytest.param(50.0, 0.5, "100 times", id="far_worse"),
        pytest.param(0.5, 0.0, "", id="reference_zero"),
        pytest.param(math.nan, 0.5, "", id="nan"),
    ],
)
def test_change_is_told_against_the_reference(loss, reference, expected):
    assert change(loss, reference) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.2, "0 s"), (59.6, "1 min 00 s"), (100, "1 min 40 s"), (7500, "2 h 05 min")],
)
def test_durations_are_told_as_a_person_says_them(seconds, expected):
    assert duration(seconds) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, "-"), (0.00123456, "0.001235"), (math.nan, "nan"), (math.inf, "inf"), (3.0, "3")],
)
def test_numbers_have_four_significant_digits(value, expected):
    assert number(value) == expected


def test_a_name_that_cannot_be_encoded_is_escaped():
    assert clean("a\udcffb").encode("utf-8") == rb"a\udcffb"
