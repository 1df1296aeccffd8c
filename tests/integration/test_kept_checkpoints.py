"""What a real study leaves of its checkpoints, and what it does once they were cleaned."""

import shutil

import pytest

import search
from search.results.kept import disk_use
from search.results.points import kept_points
from search.results.progress import Watcher
from search.running import run as running
from search.running.clean import clean
from trainables.data.digits import write_digits
from trainables.storage.store import Store

pytestmark = pytest.mark.slow

HEADS = {"c_output": {"kind": "classification"}, "r_output": {"kind": "box"}}
SPACE = {
    "conv1_filters": {"choice": [4, 8]},
    "conv2_filters": 8,
    "c_output_units": {"int": [16, 32]},
    "r_output_units": 16,
    "learning_rate": {"float": [1e-3, 5e-3], "log": True},
    "batch_size": 50,
}
TRIALS = 5


class Lines(Watcher):
    """Keeps what is told."""

    def __init__(self):
        self.lines = []

    def told(self, line):
        self.lines.append(line)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return str(write_digits(tmp_path_factory.mktemp("data"), num=400, image_size=16, seed=3))


def run(data, storage, epochs):
    watcher, budget = Lines(), {"trials": TRIALS, "epochs": epochs}
    study = search.Study(
        name="small",
        data=data,
        heads=HEADS,
        storage=str(storage),
        space=SPACE,
        budget=budget,
        resources={"concurrent": 1},
    )
    return running.run(study, watcher=watcher), watcher.lines


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    return run(data, tmp_path_factory.mktemp("studies"), 4)


def files_of(result):
    return set(Store(result.folder).list("checkpoints"))


def test_before_it_begins_it_says_what_it_takes_at_most(finished):
    result, lines = finished

    [line] = [line for line in lines if line.startswith("checkpoints take at most")]
    assert f"{TRIALS} trials" in line
    assert "are free" in line
    least = disk_use(result).num_bytes
    assert 0 < least < 30 * 2**20


def test_what_is_left_is_the_weights_of_each_front_and_a_state_of_what_may_go_on(finished):
    result, _ = finished
    expected = set()
    for trial in result.trials:
        assert trial.state in {"complete", "stopped"}
        newest = trial.measurements[-1].checkpoint
        for folder in {*(one.checkpoint for one in kept_points(trial)), newest}:
            expected |= {f"{folder}/weights.npz", f"{folder}/manifest.json"}
        expected.add(f"{newest}/training.npz")

    assert files_of(result) == expected
    for point in result.points():
        assert result.model(point).count_params() > 0


def figures_of(result):
    return [
        (trial.number, trial.state, [(dict(m.losses), m.metrics) for m in trial.measurements])
        for trial in result.trials
    ]


def test_a_cleaned_study_is_chosen_from_and_goes_on_under_a_larger_budget_to_the_same_figures(
    finished, data, tmp_path
):
    result, _ = finished
    for name in ("cleaned", "left"):
        shutil.copytree(result.study.storage, tmp_path / name)
    cleaned = f"{tmp_path}/cleaned/small"
    complete = disk_use(search.load(cleaned)).complete.numbers
    assert complete

    clean(cleaned)

    assert search.load(cleaned).points() == result.points()
    assert search.load(cleaned).model() is not None
    again, lines = run(data, tmp_path / "cleaned", 5)
    on, others = run(data, tmp_path / "left", 5)
    named = ", ".join(map(str, complete))
    assert any(f" {named}: trained again from the first epoch" in line for line in lines)
    assert not any("trained again" in line for line in others)
    assert figures_of(again) == figures_of(on)
