"""One call of ``tune.Tuner``, as a pool of processes and nothing more."""

import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from ray import tune
from ray.tune.execution import class_cache
from ray.tune.execution.placement_groups import resource_dict_to_pg_factory

from search.cluster.ray_patches import replaced
from search.cluster.shares import Shares
from search.running.pool import Abandoned, PoolScheduler, PoolSearcher, PoolStopper, TunePool
from trainables.spec.settings import StudySettings
from trainables.trial.trainable import MultiHeadTrainable

MOST_AT_ONCE = 1_000_000
"""Of trials for Tune: the pool itself knows for how many there is room. Without any limit Tune
would keep one trial pending at a time, and a cluster would grow a node at a time."""


def fit(pool: TunePool, *, name: str, settings: StudySettings) -> None:
    """Let Ray Tune run what the pool hands out, until it has finished or is interrupted.

    Raises:
        ClusterLost: If Ray has gone away.
        NoRoom: If no trial found a place in the time that the study waits.
        Exception: What our own code raised inside Tune, as it was raised.
    """
    try:
        with _restrained(pool) as scratch:
            tune.Tuner(
                _trainable(name, settings, pool.room.shares),
                tune_config=_tune_config(pool),
                run_config=_run_config(pool, scratch),
            ).fit()
    except Abandoned as abandoned:
        raise abandoned.error from None
    except Exception:
        if pool.error is None:
            pool.room.watch.settle()
            raise
    if pool.error is not None:
        raise pool.error


@contextmanager
def _restrained(pool: TunePool) -> Iterator[str]:
    """Let Tune say nothing, write nothing outside of a private folder, and read nothing back."""
    folder = pool.room.joined.folder.root
    with (
        tempfile.TemporaryDirectory("", "tune-", folder, ignore_cleanup_errors=True) as scratch,
        _quiet(),
        _errors_kept_from_files(pool.lost),
        _staging_in(scratch),
        ExitStack() as stack,
    ):
        if pool.room.joined.is_ours:
            # Tune gives its actors an environment of their own, so that they would take processes
            # of their own (ray 2.60). Those that are there have the driver's already.
            stack.enter_context(replaced(class_cache, "DEFAULT_ENV_VARS", {}))
            stack.enter_context(replaced(class_cache, "ENV_VARS_TO_PROPAGATE", frozenset()))
        yield scratch


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back what Tune says of lost attempts and of results that it does not keep.

    The study's log and the live view say it, once and in our words.
    """
    logger = logging.getLogger("ray.tune")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logger.setLevel(level)


@contextmanager
def _errors_kept_from_files(
    take: Callable[[str, BaseException | None], None],
) -> Iterator[None]:
    """Give the error of each trial of Tune's that fails to ``take``; let Tune write no file of it.

    Tune would pickle it into a file in Ray's session folder, and at the end of a run unpickle
    what it finds under that name (ray 2.60, ``ResultGrid``): code of whoever may write there.
    """
    from ray.tune.experiment import Trial

    def handle(trial: Any, exc: BaseException | None = None) -> None:
        trial.run_metadata.num_failures += 1  # else Tune would try it again by itself
        trial.run_metadata.invalidate_cache()
        take(trial.trial_id, exc)

    with replaced(Trial, "handle_error", handle):
        yield


@contextmanager
def _staging_in(folder: str) -> Iterator[None]:
    """Let Tune write in this folder what it is going to copy to its storage.

    It does so in Ray's session folder, where every user of the machine may write (ray 2.60).
    """
    from ray.train._internal import storage

    with replaced(storage, "_get_ray_train_session_dir", lambda: f"{folder}/staging"):
        yield


def _trainable(name: str, settings: StudySettings, shares: Shares) -> Any:
    def request(config: Mapping[str, Any]) -> Any:
        """Return what a trial takes: as all, but for one that was given more of a GPU."""
        own = {"gpu": config["gpu"]} if "gpu" in config else {}
        return resource_dict_to_pg_factory({**shares.request, **own})

    trainable = tune.with_resources(
        tune.with_parameters(MultiHeadTrainable, settings=settings), request
    )
    trainable.__name__ = name
    return trainable


def _tune_config(pool: TunePool) -> Any:
    return tune.TuneConfig(
        search_alg=PoolSearcher(pool),
        scheduler=PoolScheduler(pool),
        num_samples=-1,
        reuse_actors=True,
        max_concurrent_trials=MOST_AT_ONCE,
        trial_name_creator=_name,
        trial_dirname_creator=_name,
    )


def _run_config(pool: TunePool, scratch: str) -> Any:
    """Return a configuration that keeps nothing and tries nothing again."""
    return tune.RunConfig(
        name="pool",
        storage_path=scratch,
        verbose=0,
        stop=PoolStopper(pool),
        failure_config=tune.FailureConfig(max_failures=0),
        checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
    )


def _name(trial: Any) -> str:
    return f"{trial.config['number']:06d}-{trial.config['attempt']:03d}"
