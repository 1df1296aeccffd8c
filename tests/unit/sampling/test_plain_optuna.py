"""The samplers of this project in plain Optuna."""

import itertools
import math
import re
import warnings
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna._hypervolume import compute_hypervolume

from search.sampling.ehvi import EHVISampler
from search.sampling.exhaustive import ShuffledGridSampler, SobolSampler

OURS = [EHVISampler, SobolSampler, ShuffledGridSampler]
BOTH = ["minimize", "maximize"]


@pytest.fixture(autouse=True)
def quiet():
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(verbosity)


def drawn(trial):
    """Return a parameter of each kind, as numbers."""
    return (
        trial.suggest_float("x", -1.0, 1.0),
        math.log10(trial.suggest_float("rate", 1e-5, 1e-1, log=True)),
        trial.suggest_float("share", 0.0, 0.5, step=0.1),
        float(trial.suggest_int("units", 8, 512, log=True)),
        float(trial.suggest_int("blocks", 1, 5)),
        float("abc".index(trial.suggest_categorical("name", ["a", "b", "c"]))),
    )


def studied(sampler, objective, directions, num_trials=12):
    study = optuna.create_study(directions=directions, sampler=sampler)
    study.optimize(objective, n_trials=num_trials)
    return study


def params(study):
    return [trial.params for trial in study.trials]


def test_the_example_of_the_readme_runs():
    readme = (Path(__file__).resolve().parents[3] / "README.md").read_text()
    (code,) = (one for one in re.findall(r"```python\n(.*?)```", readme, re.S) if "EHVI" in one)
    names = {}

    exec(code, names)

    assert min(value for trial in names["study"].best_trials for value in trial.values) < 0.2


@pytest.mark.parametrize("sampler", OURS)
@pytest.mark.parametrize(
    "directions",
    [["maximize"], ["minimize"] * 2, BOTH, ["maximize", "minimize", "minimize"]],
    ids=" ".join,
)
def test_the_same_seed_draws_the_same_for_any_number_of_objectives(sampler, directions):
    def objective(trial):
        numbers = drawn(trial)
        return tuple(10.0**k * (sum(numbers) - 200) for k in range(len(directions)))

    first, again, other = (
        params(studied(sampler(seed=seed), objective, directions)) for seed in (3, 3, 4)
    )

    assert first == again != other
    assert len({tuple(one.values()) for one in first}) == len(first)


def test_to_maximise_is_to_minimise_the_negative():
    def objective(sign):
        return lambda trial: (sum(drawn(trial)), sign * trial.params["x"] ** 2)

    down = studied(EHVISampler(seed=0), objective(1), ["minimize"] * 2)
    up = studied(EHVISampler(seed=0), objective(-1), BOTH)

    assert params(down) == params(up)


def test_neither_a_unit_nor_an_outlier_changes_what_is_drawn():
    def objective(turn):
        return lambda trial: (turn(sum(drawn(trial))), turn(-trial.params["x"]))

    plain, turned = (
        studied(EHVISampler(seed=0), objective(turn), ["minimize"] * 2)
        for turn in (lambda value: value, lambda value: math.exp(value / 100) - 1e6)
    )

    assert params(plain) == params(turned)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_where_values_are_not_finite_less_is_drawn(bad):
    def objective(trial):
        x = trial.suggest_float("x", 0.0, 1.0)
        value = bad if x > 0.6 else -x
        return value, value

    study = studied(EHVISampler(seed=0), objective, ["minimize"] * 2, 40)

    late = [trial.params["x"] > 0.65 for trial in study.trials[20:]]
    assert sum(late) <= 6  # a tenth explores


@pytest.mark.parametrize("options", [{"n_startup_trials": 0}, {"explore": 1.1}], ids=str)
def test_an_argument_that_cannot_be_is_refused(options):
    with pytest.raises(ValueError, match="needs n_startup_trials >= 1 and explore from 0 to 1"):
        EHVISampler(**options)


def test_what_only_some_trials_have_is_drawn_by_itself():
    def objective(trial):
        if trial.suggest_categorical("deep", [True, False]):
            return trial.suggest_float("low", 0.0, 1.0), 1.0
        return trial.suggest_float("high", 1.0, 2.0), 0.0

    study = studied(EHVISampler(seed=0), objective, ["minimize"] * 2, 15)

    assert {len(one) for one in params(study)} == {2}


def test_a_finite_space_is_gone_through_without_a_repeat():
    def objective(trial):
        a, b = trial.suggest_int("a", 1, 4), trial.suggest_categorical("b", ["x", "y"])
        return a + len(b), -a

    for sampler in (EHVISampler, ShuffledGridSampler):
        study = studied(sampler(seed=0), objective, ["minimize"] * 2, 8)

        assert len({tuple(one.values()) for one in params(study)}) == 8


def test_studies_that_run_in_parallel_draw_what_differs():
    study = optuna.create_study(directions=["minimize"] * 2, sampler=EHVISampler(seed=0))

    study.optimize(lambda trial: drawn(trial)[:2], n_trials=16, n_jobs=2)

    assert len({tuple(one.values()) for one in params(study)}) == 16


def zdt1(trial):
    first, *rest = (trial.suggest_float(f"x{i}", 0.0, 1.0) for i in range(6))
    slope = 1 + 9 * sum(rest) / 5
    return first, slope * (1 - math.sqrt(first / slope))


def kursawe(trial):
    x = [trial.suggest_float(f"x{i}", -5.0, 5.0) for i in range(3)]
    pairs = itertools.pairwise(x)
    first = sum(-10 * math.exp(-0.2 * math.hypot(one, other)) for one, other in pairs)
    return first, sum(abs(one) ** 0.8 + 5 * math.sin(one**3) for one in x)


def accuracy_and_size(trial):
    """A small network's: of every kind of parameter one, the first to be maximised."""
    _, rate, dropout, units, blocks, kind = drawn(trial)
    wrong = 0.1 * (rate + 3) ** 2 + 0.1 * kind + 0.3 * abs(dropout - 0.2)
    wrong += 0.05 * abs(blocks - 3) - 0.01 * math.log2(units / 8)
    return 1 - wrong, units * blocks / 1000 + 0.02 * (rate + 2) ** 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("objective", "directions", "reference"),
    [
        pytest.param(zdt1, ["minimize"] * 2, (1.1, 8.0), id="zdt1"),
        pytest.param(kursawe, ["minimize"] * 2, (-5.0, 20.0), id="kursawe"),
        pytest.param(accuracy_and_size, ["maximize", "minimize"], (0.0, 2.5), id="network"),
    ],
)
def test_it_finds_a_better_front_than_optunas_tpe(objective, directions, reference):
    signs = np.array([1.0 if one == "minimize" else -1.0 for one in directions])

    def volume(sampler):
        study = studied(sampler, objective, directions, 60)
        points = np.array([trial.values for trial in study.trials]) * signs
        inside = points[(points < signs * reference).all(axis=1)]
        return compute_hypervolume(inside, signs * reference)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        ours = [volume(EHVISampler(seed=seed)) for seed in range(5)]
        tpes = [
            volume(optuna.samplers.TPESampler(seed=seed, multivariate=multivariate))
            for seed in range(5)
            for multivariate in (True, False)
        ]

    assert np.mean(ours) > np.mean(tpes)
    assert np.median(ours) > np.median(tpes)
