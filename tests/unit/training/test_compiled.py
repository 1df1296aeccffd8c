"""A trial gives the same bits whatever else its process does, and wastes nothing."""

import gc
import subprocess
import sys
from functools import partial

import numpy as np
import pytest

from tests.support.trials import (
    BOX,
    CLASSES,
    ELASTIC,
    RICH,
    alone,
    figures,
    fresh,
    make_data,
    make_spec,
    same,
    traces,
)
from trainables.errors import InputError
from trainables.storage.store import Store
from trainables.training import feeding
from trainables.training import keras_run as training
from trainables.training import network as initial
from trainables.training import program as compiled
from trainables.training.feeding import ChunkedFeed, ResidentFeed
from trainables.training.keras_run import KerasRun
from trainables.training.program import program_for
from trainables.trial.checkpoint import load, save

pytestmark = pytest.mark.slow

KINDS = [pytest.param(ELASTIC, id="elastic"), pytest.param(RICH, id="keras")]


@pytest.fixture(autouse=True)
def fresh_process():
    """Give every test a process that has kept nothing."""
    compiled._kept.clear()
    training._feeds.clear()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_chunked_data_give_the_same_bits_as_resident_data(precision, monkeypatch):
    spec = make_spec(**ELASTIC)
    data = make_data(spec.heads)
    resident = fresh(spec, data, precision=precision)
    expected = figures(resident, 2), resident.state()
    monkeypatch.setattr(feeding, "RESIDENT_BYTES", 0)
    monkeypatch.setattr(feeding.ChunkedFeed.__init__, "__kwdefaults__", {"chunk_bytes": 40 * 289})

    training._feeds.clear()
    chunked = KerasRun(spec=spec, dataset=data, seed=3, precision=precision)
    result = figures(chunked, 2), chunked.state()

    assert isinstance(resident._train, ResidentFeed)
    assert isinstance(chunked._train, ChunkedFeed)
    assert len(list(chunked._train.blocks(np.arange(50), 16))) == 2
    assert result[0] == expected[0]
    assert same(result[1], expected[1])


OTHER_RATES = {"learning_rate": 0.1, "r_output_loss_weight": 5.0}


@pytest.mark.parametrize(
    ("kind", "other"),
    [
        pytest.param(RICH, OTHER_RATES, id="keras-same_graph"),
        pytest.param(RICH, {"pool_size": 3}, id="keras-other_graph"),
        pytest.param(ELASTIC, OTHER_RATES, id="elastic-same_graph"),
        pytest.param(ELASTIC, {"batch_size": 7}, id="elastic-other_batch"),
        pytest.param(ELASTIC, {"conv1_filters": 3, "r_output_units": 12}, id="elastic-widths"),
        pytest.param(ELASTIC, {"conv1_filters": 90, "dropout": 0.6, "l2": 0.1}, id="larger"),
    ],
)
def test_a_trial_gives_the_same_bits_whatever_ran_before(kind, other):
    spec = make_spec(**kind)
    data = make_data(spec.heads)
    expected = alone(spec, 2)

    before = fresh(make_spec(**kind | other), data)
    before.run_epoch()
    after = KerasRun(spec=spec, dataset=data, seed=3)
    result = figures(after, 2), after.state()

    assert result[0] == expected[0]
    assert same(result[1], expected[1])


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        pytest.param(RICH, {}, id="keras"),
        pytest.param(ELASTIC, {}, id="elastic"),
        pytest.param(ELASTIC, {"conv2_filters": 7, "c_output_units": 3}, id="other_widths"),
    ],
)
def test_two_runs_of_one_graph_may_take_turns(kind, change):
    spec, other = make_spec(**kind), make_spec(learning_rate=0.05, batch_size=9, **kind | change)
    data = make_data(spec.heads)
    expected = [alone(s, 2)[0] for s in (spec, other)]
    compiled._kept.clear()

    runs = [KerasRun(spec=s, dataset=data, seed=3) for s in (spec, other)]
    results = [[], []]
    for _ in range(2):
        for run, result in zip(runs, results, strict=True):
            result += figures(run, 1)

    assert runs[0]._program is runs[1]._program
    assert results == expected


@pytest.mark.parametrize("kind", KINDS)
def test_an_interrupted_trial_continues_bit_by_bit(kind):
    spec = make_spec(**kind)
    data = make_data(spec.heads)
    whole = fresh(spec, data)
    figures(whole, 2)
    kept = whole.state()
    expected = figures(whole, 2)

    second = fresh(spec, data)
    second.load_state(kept, 2)
    result = figures(second, 2)

    assert (second.epoch, result) == (4, expected)
    assert same(second.state(), whole.state())


def test_a_state_read_while_another_run_is_active_is_its_own():
    spec = make_spec()
    data = make_data(spec.heads)
    first = fresh(spec, data)
    first.run_epoch()
    expected = first.state()

    second = KerasRun(spec=spec, dataset=data, seed=3)
    second.run_epoch()

    assert same(first.state(), expected)
    second.load_state(first.state(), 1)
    assert figures(second, 1) == figures(first, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_reuse_traces_and_builds_nothing(kind):
    data = make_data((CLASSES, BOX))
    first = fresh(make_spec(**kind), data)
    started = first.run_epoch().seconds

    for change in ({"learning_rate": 0.1}, {"batch_size": 11}, {"c_output_loss_weight": 0.0}):
        run = KerasRun(spec=make_spec(**kind | change), dataset=data, seed=3)
        seconds = run.run_epoch().seconds
        assert (seconds["build"], seconds["trace"]) == (0.0, 0.0)

    assert traces(run._program) == (1, 1)
    assert set(started) == {"build", "trace", "train", "validate"}
    assert min(started.values()) > 0


def test_other_widths_trace_nothing_and_are_built_once():
    data = make_data((CLASSES, BOX))
    first = fresh(make_spec(**ELASTIC), data)
    first.run_epoch()

    for change in ({"conv2_filters": 9}, {"c_output_units": 2}, {"dropout": 0.7}, {"l2": 0.5}):
        run = KerasRun(spec=make_spec(**ELASTIC | change), dataset=data, seed=3)
        seconds = run.run_epoch().seconds
        assert (seconds["build"] > 0, seconds["trace"]) == (True, 0.0)
    again = KerasRun(spec=make_spec(**ELASTIC | {"conv2_filters": 9}), dataset=data, seed=3)

    assert again.run_epoch().seconds["build"] == 0.0
    assert again._program is first._program
    assert traces(again._program) == (1, 1)


def test_start_up_is_charged_to_the_first_epoch_only():
    run = fresh(make_spec(), make_data((CLASSES, BOX)))

    first, second = run.run_epoch().seconds, run.run_epoch().seconds

    assert (first["build"] > 0, first["trace"] > 0) == (True, True)
    assert (second["build"], second["trace"]) == (0.0, 0.0)


def test_programs_are_kept_up_to_a_number_and_a_size(monkeypatch):
    specs = [make_spec(conv1_filters=n, batch_norm=True) for n in (2, 3, 4)]
    monkeypatch.setattr(compiled, "MOST_KEPT", 2)

    programs = [program_for(spec, seed=0, precision="float32") for spec in specs]
    again = program_for(specs[2], seed=0, precision="float32")
    monkeypatch.setattr(compiled, "MOST_KEPT_BYTES", programs[1].num_bytes + programs[2].num_bytes)
    program_for(specs[0], seed=0, precision="float32")

    assert again is programs[2]
    assert [program.num_bytes > 0 for program in programs] == [True] * 3
    assert 1 <= len(compiled._kept) <= 2


def test_a_program_that_no_run_holds_gives_its_memory_back():
    data = make_data((CLASSES, BOX))
    run = fresh(make_spec(**ELASTIC), data)
    program = run._program
    held = program.num_bytes

    other = KerasRun(spec=make_spec(**ELASTIC | {"pool_size": 3}), dataset=data, seed=3)
    while_alive = program.num_bytes
    del run
    last = KerasRun(spec=make_spec(**ELASTIC | {"pool_size": 1}), dataset=data, seed=3)

    assert (while_alive, program.num_bytes) == (held, program.resting_bytes)
    assert program.resting_bytes < held
    emptied = [name for name, array in program.state().items() if not array.size]
    assert len(emptied) == 2 * 3  # the dense kernel of each head with its two slots
    again = KerasRun(spec=make_spec(**ELASTIC), dataset=data, seed=3)
    expected = alone(make_spec(**ELASTIC), 1)
    assert (again._program is program, figures(again, 1)) == (True, expected[0])
    assert len({id(one._program) for one in (other, last, again)}) == 3


@pytest.mark.parametrize(
    ("change", "precision"), [({"batch_norm": True}, "float32"), (RICH, "bfloat16")]
)
def test_initial_weights_that_are_not_kept_are_made_again_bit_by_bit(
    change, precision, monkeypatch
):
    monkeypatch.setattr(initial, "KEPT_BYTES", 0)
    spec = make_spec(**change)
    run = fresh(spec, make_data(spec.heads), precision=precision)
    expected = {name: array.copy() for name, array in run.state().items()}
    run.run_epoch()

    again = KerasRun(spec=spec, dataset=make_data(spec.heads), seed=3, precision=precision)

    assert again._program is run._program
    kept = again._program._network._initial
    assert not any(name.startswith("model/") for name in kept)
    assert list(again.state()) == list(expected)
    assert same(again.state(), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_that_was_read_does_not_change_when_training_goes_on(kind):
    spec = make_spec(**kind)
    run = fresh(spec, make_data(spec.heads))
    run.run_epoch()
    state = run.state()
    before = {name: array.copy() for name, array in state.items()}

    run.run_epoch()

    assert same(state, before)
    assert not same(run.state(), before)


def test_a_program_too_large_to_be_kept_beside_others_stays_until_another_is_asked_for(
    monkeypatch,
):
    monkeypatch.setattr(compiled, "MOST_KEPT_BYTES", 1)
    make = partial(program_for, seed=0, precision="float32")

    first = make(make_spec(batch_norm=True))
    again = make(make_spec(batch_norm=True, learning_rate=0.5))
    make(make_spec(batch_norm=True, conv1_filters=2))

    assert again is first
    assert len(compiled._kept) == 1
    assert first not in compiled._kept.values()


def test_a_program_that_is_no_longer_kept_leaves_no_graph_behind():
    def count_graphs():
        compiled._kept.clear()
        gc.collect()
        return sum(type(thing).__name__ == "FuncGraph" for thing in gc.get_objects())

    make = partial(program_for, make_spec(), seed=0, precision="float32")
    make()
    before = count_graphs()

    make()

    assert count_graphs() == before


@pytest.mark.parametrize(("kind", "num"), [(RICH, 3), (ELASTIC, 2)], ids=["keras", "elastic"])
def test_precisions_and_seeds_of_keras_models_have_programs_of_their_own(kind, num):
    keys = [(0, "float32"), (1, "float32"), (0, "bfloat16")]

    programs = {program_for(make_spec(**kind), seed=s, precision=p) for s, p in keys}

    assert len(programs) == num


OTHER_STATES = [
    (lambda s: s.pop("model/0000/kernel"), "got nothing"),
    (lambda s: s.update(more=np.zeros(1)), "needs nothing as 'more'"),
    (
        lambda s: s.update({"model/0000/kernel": np.zeros(9, "f")}),
        r"needs float32\[3, 3, 1, 4\] as 'model/0000/kernel', got float32\[9\]",
    ),
    (
        lambda s: s.update({"model/0000/kernel": np.zeros((3, 3, 1, 4))}),
        r"got float64\[3, 3, 1, 4\]",
    ),
]
"""What is missing, more, of another shape and of another type."""


@pytest.mark.parametrize("kind", [{}, {"batch_norm": True}], ids=["elastic", "keras"])
def test_a_state_of_another_model_is_refused_and_changes_nothing(kind):
    spec = make_spec(**kind)
    run = fresh(spec, make_data(spec.heads))
    before = run.state()

    for change, message in OTHER_STATES:
        state = dict(before)
        change(state)
        with pytest.raises(InputError, match=message):
            run.load_state(state, 1)

        assert (run.epoch, same(run.state(), before)) == (0, True)


def test_resident_rows_are_made_into_tensors_once_per_process():
    data = make_data((CLASSES, BOX))
    first = fresh(make_spec(), data)

    second = KerasRun(spec=make_spec(conv1_filters=2), dataset=data, seed=3)
    other = KerasRun(spec=make_spec(), dataset=make_data((CLASSES, BOX), seed=9), seed=3)

    assert first._train is second._train
    assert first._train is not other._train
    assert len(training._feeds) == 2


def test_a_state_survives_a_checkpoint(tmp_path):
    run = fresh(make_spec(**RICH), make_data((CLASSES, BOX)), precision="bfloat16")
    run.run_epoch()

    save(Store(str(tmp_path)), "c", run.state(), {})

    assert same(load(Store(str(tmp_path)), "c"), run.state())


def test_a_process_is_bound_once_and_quietly():
    code = (
        "from trainables.model.backend import configure_process as bind\n"
        "bind(num_threads=1)\n"
        "bind(num_threads=1)\n"
        "from trainables.model.backend import tf\n"
        "tf.constant(1)\n"
        "try:\n"
        "    bind(num_threads=2)\n"
        "except RuntimeError as error:\n"
        "    print(error)\n"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == (
        "process needs num_threads=2 before TensorFlow's first use, "
        "got 1 in use already: take a fresh process\n"
    )
    assert done.stderr == ""
