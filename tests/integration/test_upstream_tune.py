"""Behaviour of Ray Tune that the search defends against.

A test that fails here after an upgrade is news, not a defect: look at what the defence costs.
"""

import pickle
from pathlib import Path
from types import SimpleNamespace

import pytest

pytestmark = pytest.mark.slow


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
