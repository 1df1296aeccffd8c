"""Behaviour of Ray Tune that the search defends against.

A test that fails here after an upgrade is news, not a defect: look at what the defence costs.
"""

import math
import pickle
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
]

SPACE = {"x": optuna.distributions.FloatDistribution(0.0, 1.0)}
POINT = {"x": 0.25}
TWO = (["c", "r"], ["min", "min"])


def optuna_search(metric="c", mode="min", **options):
    from ray.tune.search.optuna import OptunaSearch

    return OptunaSearch(SPACE, metric=metric, mode=mode, seed=1, **options)


def told(losses, metric="c", mode="min"):
    """Return the Optuna trial of a Tune trial that ended with these losses."""
    search = optuna_search(metric, mode)
    search.suggest("a")
    search.on_trial_result("a", {**losses, "training_iteration": 1})
    search.on_trial_complete("a", losses)
    return search._ot_study.trials[0]


def test_optuna_search_tells_a_stopped_trial_as_complete_with_its_early_value():
    trial = told({"c": 0.5})  # all that it hears of a trial that ASHA stopped

    assert (trial.state.name, trial.value) == ("COMPLETE", 0.5)


@pytest.mark.parametrize(
    ("losses", "state"),
    [
        pytest.param({"c": math.nan, "r": 1.0}, "RUNNING", id="nan"),
        pytest.param({"c": math.inf, "r": 1.0}, "COMPLETE", id="infinite"),
    ],
)
def test_optuna_search_leaves_a_nan_trial_running_and_completes_an_infinite_one(losses, state):
    assert told(losses, *TWO).state.name == state


def test_optuna_search_gives_no_intermediate_values_of_several_metrics():
    assert told({"c": 0.5, "r": 0.5}, *TWO).intermediate_values == {}


def test_optuna_search_never_prunes():
    assert isinstance(optuna_search()._ot_study.pruner, optuna.pruners.NopPruner)


def test_optuna_search_takes_no_evaluated_points_of_two_objectives():
    with pytest.raises(TypeError, match="must be real number, not list"):
        optuna_search(*TWO).add_evaluated_point(POINT, [1.0, 2.0])
    with pytest.raises(TypeError, match="must be real number, not list"):
        optuna_search(*TWO, points_to_evaluate=[POINT], evaluated_rewards=[[1.0, 2.0]])


def stored_search(folder, **options):
    storage = optuna.storages.RDBStorage(f"sqlite:///{folder}/optuna.db")
    return optuna_search(storage=storage, study_name="study", **options)


def test_a_reopened_optuna_search_repeats_points_and_draws_and_keeps_zombies(tmp_path):
    first = stored_search(tmp_path, points_to_evaluate=[POINT])
    before = [first.suggest(str(number)) for number in range(3)]
    first.on_trial_complete("0", {"c": 1.0})

    second = stored_search(tmp_path, points_to_evaluate=[POINT])
    after = [second.suggest(str(number)) for number in range(3)]

    assert before[0] == POINT
    assert after == before
    states = [trial.state.name for trial in second._ot_study.trials]
    assert states == ["COMPLETE", *["RUNNING"] * 5]


def test_a_database_ahead_of_tunes_snapshot_ends_the_restored_run(tmp_path):
    from optuna.exceptions import UpdateFinishedTrialError

    search = stored_search(tmp_path)
    search.suggest("a")
    search.save(f"{tmp_path}/snapshot")
    search.on_trial_complete("a", {"c": 1.0})
    restored = stored_search(tmp_path)
    restored.restore(f"{tmp_path}/snapshot")

    with pytest.raises(UpdateFinishedTrialError, match="has already finished"):
        restored.on_trial_result("a", {"c": 1.0, "training_iteration": 1})


def test_optuna_search_drops_a_step_on_a_log_scale_and_the_upper_bound_of_ints():
    from ray import tune
    from ray.tune.search.optuna import OptunaSearch

    found = OptunaSearch.convert_search_space(
        {
            "rate": tune.qloguniform(1e-3, 1.0, 1e-3),
            "exclusive": tune.randint(1, 4),
            "inclusive": tune.qrandint(2, 8, 2),
            "nested": {"x": tune.uniform(0.0, 1.0)},
        }
    )

    assert found["rate"].step is None
    assert (found["exclusive"].high, found["inclusive"].high) == (3, 8)
    assert "nested/x" in found


def test_asha_lets_a_nan_go_on_and_stops_an_infinite_loss():
    from ray.tune.schedulers.async_hyperband import _Bracket

    bracket = _Bracket(min_t=1, max_t=9, reduction_factor=2, s=0)
    for number in range(4):
        bracket.on_result(SimpleNamespace(trial_id=str(number)), 1, -float(number))

    assert bracket.on_result(SimpleNamespace(trial_id="nan"), 1, math.nan) == "CONTINUE"
    assert bracket.on_result(SimpleNamespace(trial_id="inf"), 1, -math.inf) == "STOP"


@pytest.mark.parametrize("name", ["AsyncHyperBandScheduler", "MedianStoppingRule"])
def test_a_scheduler_takes_one_metric(name):
    from ray.tune import schedulers

    scheduler = getattr(schedulers, name)(metric=["c", "r"], mode="min")
    trial = SimpleNamespace(trial_id="a", status="RUNNING")
    scheduler.on_trial_add(None, trial)

    with pytest.raises(TypeError, match="unhashable type: 'list'"):
        scheduler.on_trial_result(
            None, trial, {"c": 1.0, "r": 1.0, "training_iteration": 1, "time_total_s": 1.0}
        )


def searcher_of(*answers):
    from ray.tune.search import Searcher

    class Scripted(Searcher):
        def __init__(self):
            super().__init__(metric="c", mode="min")
            self.left = list(answers)

        def suggest(self, trial_id):
            return self.left.pop(0)

        def on_trial_complete(self, trial_id, result=None, error=False):
            pass

    return Scripted()


def test_a_custom_searcher_keeps_one_trial_pending_unless_told_otherwise():
    from ray.tune.execution.tune_controller import _get_max_pending_trials
    from ray.tune.search import ConcurrencyLimiter, SearchGenerator

    limited = ConcurrencyLimiter(searcher_of(), max_concurrent=7)

    assert _get_max_pending_trials(SearchGenerator(searcher_of())) == 1
    assert _get_max_pending_trials(SearchGenerator(limited)) == 7


def test_our_searcher_never_leaves_the_number_of_pending_trials_to_tune():
    from ray.tune.execution.tune_controller import _get_max_pending_trials
    from ray.tune.search import ConcurrencyLimiter, SearchGenerator

    from search.running.tune import MOST_AT_ONCE, _tune_config

    told = _tune_config(None).max_concurrent_trials
    limited = ConcurrencyLimiter(searcher_of(), max_concurrent=told)  # as Tune wraps it

    assert _get_max_pending_trials(SearchGenerator(searcher_of())) == 1
    assert _get_max_pending_trials(SearchGenerator(limited)) == told == MOST_AT_ONCE


def test_none_means_not_now_and_finished_means_never():
    from ray.tune.search import Searcher, SearchGenerator

    searcher = searcher_of(None, Searcher.FINISHED, {"x": 1})
    generator = SearchGenerator(searcher)
    generator._experiment, generator._total_samples = SimpleNamespace(spec={}), 10

    assert generator.next_trial() is None
    assert not generator.is_finished()
    assert generator.next_trial() is None
    assert generator.is_finished()
    assert generator.next_trial() is None
    assert searcher.left == [{"x": 1}]


def test_the_best_result_of_a_sole_trial_is_that_trial_even_if_it_failed():
    from ray.tune import ResultGrid

    failed = SimpleNamespace(status="ERROR", last_result={"c": math.nan})
    grid = ResultGrid.__new__(ResultGrid)
    grid._experiment_analysis = SimpleNamespace(trials=[failed])
    grid._trial_to_result = lambda trial: trial

    assert grid.get_best_result("c", "min") is failed


def test_the_best_trial_is_of_the_last_epoch_or_of_the_best_epoch_of_each_metric():
    from ray.tune import ExperimentAnalysis

    analysis = ExperimentAnalysis.__new__(ExperimentAnalysis)
    early, late = (
        SimpleNamespace(metric_analysis={"c": {"last": last, "min": best}})
        for last, best in [(9.0, 1.0), (5.0, 4.0)]
    )
    analysis.trials = [early, late]

    assert analysis.get_best_trial("c", "min") is late
    assert analysis.get_best_trial("c", "min", scope="all") is early


def test_tunes_snapshots_of_a_searcher_are_pickles(tmp_path):
    search = optuna_search()
    search.suggest("a")

    search.save(f"{tmp_path}/searcher")

    with open(f"{tmp_path}/searcher", "rb") as file:
        assert "_ot_study" in pickle.load(file)


def test_tune_gives_the_error_itself_to_the_trial_before_it_asks_anybody_what_to_do():
    from ray.tune.execution.tune_controller import TuneController
    from ray.tune.experiment import Trial

    error, heard = RuntimeError("lost"), []
    trial = SimpleNamespace(trial_id="a", status=Trial.RUNNING, should_recover=lambda: False)
    trial.handle_error = lambda exc: heard.append(("trial", exc))
    controller = SimpleNamespace(
        _iteration=0,
        _trials=[trial],
        _schedule_trial_stop=lambda trial, exception: heard.append(("stop", exception)),
        _scheduler_alg=SimpleNamespace(on_trial_error=lambda *given: heard.append("scheduler")),
        _search_alg=SimpleNamespace(on_trial_complete=lambda *given, error: heard.append(error)),
        _callbacks=SimpleNamespace(on_trial_error=lambda **given: heard.append("callbacks")),
    )

    TuneController._process_trial_failure(controller, trial, error)

    assert heard == [("trial", error), "scheduler", True, ("stop", error), "callbacks"]


class Planted:
    """Leaves a mark where it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def stored_trial(folder):
    """Return as much of a trial of Tune's as keeps its error."""
    from ray.train._internal.storage import StorageContext
    from ray.tune.experiment import Trial
    from ray.tune.trainable.metadata import _TrainingRunMetadata

    trial = Trial.__new__(Trial)
    trial.temporary_state = SimpleNamespace(restoring_from=None)
    trial.run_metadata = _TrainingRunMetadata()
    trial.trial_id, trial.status = "a", Trial.ERROR
    trial.storage = StorageContext(str(folder), "pool", trial_dir_name="000000-001")
    return trial


def plant(trial, mark):
    for folder in (Path(trial.local_path), Path(trial.storage.trial_fs_path)):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "error.pkl").write_bytes(pickle.dumps(Planted(mark)))


@pytest.mark.parametrize("is_kept", [False, True], ids=["tunes", "ours"])
def test_tune_unpickles_what_lies_under_the_name_of_an_error_it_has_written(tmp_path, is_kept):
    from contextlib import nullcontext

    from ray.exceptions import RayTaskError
    from ray.tune import ResultGrid

    from search.running.tune import _errors_kept_from_files, _staging_in

    mark, error = tmp_path / "mark", RayTaskError("train", "Traceback", ValueError("x"))
    keeping = _errors_kept_from_files(lambda *given: None) if is_kept else nullcontext()
    with _staging_in(str(tmp_path / "scratch")), keeping:
        trial = stored_trial(tmp_path / "storage")
        Path(trial.local_path).mkdir(parents=True)
        trial.handle_error(error)
        plant(trial, mark)
        ResultGrid._populate_exception(trial)

    assert mark.exists() is not is_kept
    assert trial.num_failures == 1


def test_tune_writes_before_it_copies_where_the_name_of_the_session_folder_leads(tmp_path):
    from search.running.tune import _staging_in

    with _staging_in(str(tmp_path / "scratch")):
        trial = stored_trial(tmp_path / "storage")
        for path in (trial.local_path, trial.storage.experiment_driver_staging_path):
            assert Path(path).is_relative_to(tmp_path / "scratch")


def test_a_trainable_makes_its_folder_where_we_make_none():
    from ray.tune import Trainable

    from trainables.trial.trainable import MultiHeadTrainable

    assert "_setup_logdir" in vars(Trainable)
    assert "_setup_logdir" in vars(MultiHeadTrainable)
