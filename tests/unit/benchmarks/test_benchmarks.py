"""The benchmarks run and count right: a table is read or refused, scored, played, compared."""

import itertools
import json
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from search.errors import InputError
from tests.benchmarks import simulate
from tests.benchmarks.clock import play
from tests.benchmarks.scores import Covered, Scale, exact_volume
from tests.benchmarks.table import Table, combinations, write_table
from tests.benchmarks.wall import __main__ as wall
from tests.benchmarks.wall.entries import ENTRIES, Outcome
from tests.benchmarks.wall.parts import last_result, losses_of, parts_of
from tests.benchmarks.wall.stamps import read_stamps

PARAMETERS = {"units": (8, 16, 32), "rate": (0.001, 0.1), "optimizer": ("adam", "sgd")}


def rows_of(*, epochs=4, seeds=(0, 1)):
    """Return rows of two heads with losses in (0.1, 10) that mostly fall."""
    rng = np.random.default_rng(0)
    rows = []
    for values in itertools.product(*PARAMETERS.values()):
        levels, pace = rng.uniform(0.2, 1.5, 2), rng.uniform(0.5, 2.0)
        config = dict(zip(PARAMETERS, values, strict=True))
        for seed, epoch in itertools.product(seeds, range(1, epochs + 1)):
            kind, place = (levels + np.exp(1 - pace * epoch)) * rng.uniform(0.95, 1.05, 2)
            losses = {"val_kind_loss": kind, "val_place_loss": place}
            rows.append(
                {**config, "seed": seed, "epoch": epoch, **losses, "seconds": 0.1 + levels[0]}
            )
    return rows


@pytest.fixture
def path(tmp_path):
    pq.write_table(pa.Table.from_pylist(rows_of()), tmp_path / "t.parquet")
    return tmp_path / "t.parquet"


def test_a_written_table_is_read_as_it_was(tmp_path):
    rows = rows_of()
    about = {"heads": ["place", "kind"], "baselines": {"kind": 2.5}}
    write_table(tmp_path / "t.parquet", rows[::-1], about)

    table = Table.read(tmp_path / "t.parquet")

    assert (table.heads, table.baselines["kind"]) == (("place", "kind"), 2.5)
    assert table.losses.shape == (12, 2, 4, 2)
    row = next(r for r in rows if r["units"] == 16 and r["seed"] == 1 and r["epoch"] == 3)
    losses, seconds = table.curve({name: row[name] for name in PARAMETERS}, 1)
    np.testing.assert_allclose(losses[2], [row["val_place_loss"], row["val_kind_loss"]], rtol=1e-6)
    assert seconds[2] == pytest.approx(row["seconds"], rel=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(
            lambda rows: [*rows, rows[5]], "needs each row once, got .* twice", id="twice"
        ),
        pytest.param(
            lambda rows: rows[:5] + rows[6:], "needs all 96 combinations, got 95", id="missing"
        ),
        pytest.param(
            lambda rows: [{**rows[0], "val_kind_loss": -0.5}, *rows[1:]],
            "needs losses >= 0, .* got -0.5",
            id="loss below 0",
        ),
    ],
)
def test_what_is_wrong_with_a_table_is_named(change, message, tmp_path):
    pq.write_table(pa.Table.from_pylist(change(rows_of())), tmp_path / "t.parquet")

    with pytest.raises(InputError, match=message):
        Table.read(tmp_path / "t.parquet")


# Few different values, so that points often share a coordinate or are equal.
SHARES = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0]) | st.floats(0, 1)


@settings(deadline=None, max_examples=60)
@given(arrays(np.float64, st.tuples(st.integers(1, 12), st.integers(1, 4)), elements=SHARES))
def test_any_number_of_heads_is_scored_by_the_exact_hypervolume(points):
    covered = Covered(SimpleNamespace(points=points[:, None], whole=1.0))

    for place in range(len(points)):
        share = covered.add(place, 1)
        assert share == pytest.approx(exact_volume(points[: place + 1]), abs=1e-9)


@dataclass
class Scripted:
    """Hands out configs in order, stops the first after two epochs, and notes what it hears."""

    configs: list
    heard: list = field(default_factory=list)

    def ask(self):
        number = len({heard[0] for heard in self.heard})
        return (number, self.configs[number]) if number < len(self.configs) else None

    def report(self, number, epoch, losses):
        self.heard.append((number, epoch, *losses.values()))
        return (number, epoch) == (0, 2)

    def ended(self, number, state):
        self.heard.append((number, state))


def test_a_trial_is_trained_epoch_by_epoch_with_the_curves_of_the_seed(path):
    table = Table.read(path)
    configs = list(combinations(table.parameters))[4:6]
    contender = Scripted(configs)

    trace = play(table, Scale(table), contender, workers=1, budget=5, seed=1)

    told = [
        [(number, epoch, *table.curve(config, 1)[0][epoch - 1]) for epoch in range(1, 4)]
        for number, config in enumerate(configs)
    ]
    assert contender.heard == [*told[0][:2], (0, "stopped"), *told[1]]
    seconds = np.concatenate(
        [table.curve(c, 1)[1][:n] for c, n in zip(configs, (2, 3), strict=True)]
    )
    np.testing.assert_allclose(trace.seconds, np.cumsum(seconds))


@pytest.mark.parametrize("name", ["twohead", "random", "tpe-multivariate", "nsga2", "hyperband"])
def test_a_run_is_a_function_of_its_seed(name, path, capsys):
    options = ["--seeds", "2", "--epochs", "40", "--processes", "1", "--json"]

    reports = []
    for _ in "ab":
        assert simulate.main([str(path), *options, "--contenders", name]) == 0
        reports.append(json.loads(capsys.readouterr().out))

    assert reports[0] == reports[1]
    assert 0 < reports[0]["contenders"][name]["epochs"]["share_at"]["100"]["median"] <= 1


STAMP = """
from tests.benchmarks.wall.stamps import part, stamp_result
from tests.benchmarks.wall.task import read_task
task = read_task()
with part("import"):
    pass
for number in task.configs:
    for epoch in range(1, task.epochs + 1):
        stamp_result(int(number), epoch, {"c_output": 1.0 / epoch, "r_output": 0.1})
"""
CRASH = "print('all is well'); raise ValueError('the disk is full')"


@dataclass(frozen=True)
class Script:
    """A contender that is a few lines of Python."""

    script: str
    kind: str = "peer"
    about: str = "a script"
    packages: tuple = ()
    environment: dict = field(default_factory=dict)

    def command(self, task, python):
        return [python, "-c", self.script]

    def outcome(self, task, python, started):
        stamps = read_stamps(task.stamps)
        parts = parts_of(stamps, started=started, slots=1)
        return Outcome(ended=last_result(stamps), losses=losses_of(stamps), parts=parts)


def test_contenders_are_timed_and_a_crash_is_told_and_does_not_end_the_others(
    monkeypatch, tmp_path, capsys
):
    for name in list(ENTRIES):
        monkeypatch.delitem(ENTRIES, name)
    for name, script in {"bare-epoch": STAMP, "crash": CRASH, "stamp": STAMP}.items():
        monkeypatch.setitem(ENTRIES, name, Script(script))
    monkeypatch.setattr(wall.machine, "warm_up", lambda python: None)
    monkeypatch.setattr(wall.preparing, "write_data", lambda *_, **__: tmp_path)
    command = ["--out", str(tmp_path / "out"), "--trials", "2", "--epochs", "2", "--rounds", "1"]

    status = wall.main([*command, "--contenders", "bare-epoch,crash,stamp", "--json"])

    rows = {row["contender"]: row for row in json.loads(capsys.readouterr().out)["rows"]}
    assert status == 1
    assert {name: row["runs"] for name, row in rows.items()} == {
        "bare-epoch": 1,
        "crash": 0,
        "stamp": 1,
    }
    (error,) = rows["crash"]["errors"]
    assert error.startswith("ended with status 1\n  all is well")
    assert error.endswith("ValueError: the disk is full")
    assert sum(rows["stamp"]["parts"].values()) == pytest.approx(rows["stamp"]["wall_seconds"])
