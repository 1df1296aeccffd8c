"""One call of ``tune.Tuner``, as an actor pool and nothing more."""

import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from ray import tune
from ray.tune.execution.placement_groups import resource_dict_to_pg_factory

from search.cluster.room import Place
from search.cluster.shares import Shares
from search.cluster.signals import Flag
from search.cluster.starting import actors_of_no_environment, replaced
from search.errors import ClusterLost, NoRoom
from search.record.decisions import Cause, Closed
from search.record.log import StudyLog
from search.results.usage import Usage, recorded
from search.running.attempts import Lost, errors_kept_from_files
from search.running.conductor import Conductor
from search.running.pool import Abandoned, Guard, LiveTrials, NumberSearcher, ResultStopper, Slots
from trainables.spec.settings import StudySettings
from trainables.storage.store import Store
from trainables.trial.trainable import MultiHeadTrainable

MOST_AT_ONCE = 1_000_000
"""Of trials for Tune: the searcher itself knows for how many there is room. Without any limit
Tune would keep one trial pending at a time, and a cluster would grow a node at a time."""


def fit(
    conductor: Conductor,
    *,
    name: str,
    settings: StudySettings,
    place: Place,
    is_interrupted: Callable[[], bool],
    changed: Callable[[], None],
    usage: Usage,
    last: Callable[[Any], None],
) -> None:
    """Let Ray Tune run what the conductor hands out, until it has finished or is interrupted.

    Args:
        conductor: Hands out and decides.
        name: Of this run alone: Tune keeps what it trains by name, for all runs on a Ray.
        settings: What all trials share.
        place: What each takes, how many there is room for, and who watches over that.
        is_interrupted: Asked often; what it raises leaves Tune as it is, at once.
        changed: Called when the conductor took in or handed out something.
        usage: Takes note of how the slots were used.
        last: Called with the process of the last trial, which is still warm.

    Raises:
        ClusterLost: If Ray has gone away.
        NoRoom: If no trial found a place in the time that the study waits.
        Exception: What our own code raised inside Tune, as it was raised.
    """
    guard = Guard()
    causes: dict[str, Lost] = {}
    live = LiveTrials(causes, guard)
    slots = Slots(conductor, place)
    searcher = NumberSearcher(conductor, slots, live, causes, guard, changed, place)
    stopper = ResultStopper(
        conductor, slots, is_interrupted, guard, changed, usage, live, place, last
    )
    try:
        with _restrained(live, place) as scratch:
            tune.Tuner(
                _trainable(name, settings, place.shares),
                tune_config=_tune_config(searcher, live),
                run_config=_run_config(stopper, scratch),
            ).fit()
    except Abandoned as abandoned:
        raise abandoned.error from None
    except Exception:
        if guard.error is None:
            place.watch.settle()
            raise
    if guard.error is not None:
        raise guard.error


@contextmanager
def _restrained(live: LiveTrials, place: Place) -> Iterator[str]:
    """Let Tune say nothing, write nothing outside of a private folder, and read nothing back.

    Yields:
        That folder, for what Tune calls its storage.
    """
    with (
        tempfile.TemporaryDirectory(
            prefix="tune-", dir=place.folder, ignore_cleanup_errors=True
        ) as scratch,
        ExitStack() as stack,
    ):
        stack.enter_context(_Quiet())
        stack.enter_context(errors_kept_from_files(live.lost))
        stack.enter_context(staging_in(scratch))
        if place.is_ours:
            stack.enter_context(actors_of_no_environment())
        yield scratch


@contextmanager
def staging_in(folder: str) -> Iterator[None]:
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


def _tune_config(searcher: NumberSearcher, live: LiveTrials) -> Any:
    return tune.TuneConfig(
        search_alg=searcher,
        scheduler=live,
        num_samples=-1,
        reuse_actors=True,
        max_concurrent_trials=MOST_AT_ONCE,
        trial_name_creator=_name,
        trial_dirname_creator=_name,
    )


def _run_config(stopper: ResultStopper, scratch: str) -> Any:
    """Return a configuration that keeps nothing and tries nothing again."""
    return tune.RunConfig(
        name="pool",
        storage_path=scratch,
        verbose=0,
        stop=stopper,
        failure_config=tune.FailureConfig(max_failures=0),
        checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
    )


def _name(trial: Any) -> str:
    return f"{trial.config['number']:06d}-{trial.config['attempt']:03d}"


class _Quiet:
    """Holds back what Tune says of lost attempts and of results that it does not keep.

    The study's log and the live view say it, once and in our words.
    """

    def __enter__(self) -> None:
        self._logger = logging.getLogger("ray.tune")
        self._level = self._logger.level
        self._logger.setLevel(logging.CRITICAL)
        self._catcher = warnings.catch_warnings()
        self._catcher.__enter__()
        warnings.simplefilter("ignore")

    def __exit__(self, *details: Any) -> None:
        self._catcher.__exit__(*details)
        self._logger.setLevel(self._level)


OWN_ENDS: Mapping[str, Cause] = {"recycled": "recycled", "left": "preempted"}
"""Folders where actors say that they ended themselves, and what the log calls it."""


def train_all(
    conductor: Conductor,
    *,
    log: StudyLog,
    store: Store,
    name: str,
    settings: StudySettings,
    place: Place,
    flag: Flag,
    changed: Callable[[], None],
    last: Callable[[Any], None] = lambda process: None,
) -> None:
    """Train what the conductor hands out, until it has finished.

    Args:
        conductor: Hands out and decides.
        log: Its record, which is closed if a signal comes.
        store: The folder of that record.
        name: Of this run alone, on the whole Ray.
        settings: What all trials share; see `run_settings`.
        place: Where they run.
        flag: Says whether a signal has come.
        changed: Called when something was handed out or came in.
        last: Called with the process of the last trial, a `MultiHeadTrainable` that is still warm.

    Raises:
        KeyboardInterrupt: If a signal ended it.
        StudyLocked: If another process has taken over.
        ClusterLost: If Ray has gone away.
        NoRoom: If no trial found a place in the time that the study waits.
    """
    try:
        with flag.patiently():
            if not conductor.is_finished:
                usage = Usage(place.shares.concurrent)
                with recorded(usage, store, log.generation):
                    fit(
                        conductor,
                        name=name,
                        settings=settings,
                        place=place,
                        is_interrupted=lambda: flag.look() or conductor.is_over() or log.is_lost,
                        changed=changed,
                        usage=usage,
                        last=last,
                    )
        conductor.tidy_up()
        if flag.is_set or not conductor.is_finished:
            raise KeyboardInterrupt
    except (KeyboardInterrupt, ClusterLost, NoRoom):
        log.record(Closed(reason="interrupted"))
        raise


def own_ends(store: Store, generation: int) -> Callable[[int, int], Cause | None]:
    """Return what tells why the actor of (number, attempt) ended itself; None if it did not.

    Args:
        store: The study's folder, where actors say so (``trainables.trial.trainable``).
        generation: The owner that started the attempts.
    """

    def why(number: int, attempt: int) -> Cause | None:
        name = f"{generation:06d}-{number:06d}-{attempt:03d}"
        found = (cause for folder, cause in OWN_ENDS.items() if store.exists(f"{folder}/{name}"))
        return next(found, None)

    return why
