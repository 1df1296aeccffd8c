"""Trains a study's leading points again, each with several fresh seeds."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NoReturn, Protocol

from search.cluster import Joined, prepare_environment, ray_for, run_task
from search.conductor import Conductor
from search.confirming.plan import Training, recorded_trainings, to_train
from search.confirming.record import record_of
from search.decisions import DONE, Closed, Tested
from search.decoding import decoding
from search.defaults import with_moved_data
from search.errors import Interrupted, StudyDiffers
from search.fitting import own_ends, train_all
from search.held_out import evaluate
from search.log import StudyLog
from search.ownership import claim, hold
from search.place import Place, find_place
from search.plan import Plan
from search.prepare import check_storage, data_request
from search.prepared import Prepared
from search.progress import Running
from search.reach import check_reach
from search.resources import check_local
from search.results import StudyResult
from search.runner import KERAS, one_at_a_time, run_settings
from search.scheduler import Fifo
from search.settling import settled_place
from search.signals import Flag, catch_signals
from search.study import Study
from search.tidying import tidy, tidy_all
from trainables.data import check_dataset
from trainables.store import Store


class Watcher(Protocol):
    """Someone who looks on while points are trained again."""

    def preparing(self, what: str) -> None:
        """Hear what is being done before the first training and after the last."""

    def started(self, trainings: Sequence[Training], conductor: Running) -> None:
        """Get to know the trainings, by number; the conductor may be read from now on."""

    def changed(self) -> None:
        """Hear that something was handed out or came in."""


class Silent:
    """Watches nothing."""

    def preparing(self, what: str) -> None:
        """Ignore it."""

    def started(self, trainings: Sequence[Training], conductor: Running) -> None:
        """Ignore it."""

    def changed(self) -> None:
        """Ignore it."""


def train(
    result: StudyResult,
    wanted: Sequence[Training],
    *,
    watcher: Watcher | None = None,
    factory: str = KERAS,
) -> None:
    """Train what is wanted and was not trained before.

    Args:
        result: The study.
        wanted: Points of it, with seeds.
        watcher: Who looks on.
        factory: ``module:function`` of what trains.

    Raises:
        InputError: If the data or the model cannot work any more.
        StudyLocked: If another process runs or confirms the study.
        StudyDiffers: If its data set has changed since.
        StorageError: If the record is damaged or cannot be written.
        NoRoom: If no node had room for a training for ``resources.wait_minutes``.
        ClusterLost: If Ray has gone away.
        Interrupted: On SIGINT, SIGTERM or SIGHUP.
    """
    watcher = watcher or Silent()
    study = with_moved_data(result.study)
    check_local(study.resources)
    prepare_environment()
    store = record_of(result.folder)
    try:
        with one_at_a_time(study), catch_signals() as flag:
            _check_data(study, result.prepared, watcher)
            # Held, not claimed: a run of the study would sweep away what is being written below.
            with hold(Store(result.folder)), claim(store) as ownership:
                StudyLog.create(store, {"confirms": result.prepared.data.fingerprint})
                with (
                    decoding(study, result.prepared.data) as decoded,
                    ray_for(study, watcher.preparing, flag, warms=factory == KERAS) as joined,
                ):
                    flag.is_final = joined.is_left_after
                    history = StudyLog.read(store)
                    begun = recorded_trainings(history.budget, history.trials)
                    trainings = to_train(begun, wanted)
                    budget = {"trainings": [training.to_list() for training in trainings]}
                    log = StudyLog.open_for_writing(store, ownership, budget=budget)
                    nodes = joined.watch.sight.nodes
                    place = _place(study, result.prepared, joined, watcher)
                    check_reach(store, study.data, nodes, watcher.preparing)
                    run = _Run(study, result.prepared, trainings, log, store, place, factory)
                    watcher.preparing("decoding the images")
                    decoded()
                    run.go(watcher, flag)
    except KeyboardInterrupt:
        raise Interrupted(
            f"the confirmation of {study.name!r} was interrupted; the same `twohead confirm` "
            "continues it"
        ) from None


def _place(study: Study, prepared: Prepared, joined: Joined, watcher: Watcher) -> Place:
    """Return where to train: with the shares of the study's trials."""
    say = watcher.preparing
    if not study.resources.is_open:
        return find_place(study.resources, joined, say)
    return settled_place(study, prepared, joined, None, say, say)


def _check_data(study: Study, prepared: Prepared, watcher: Watcher) -> None:
    check_storage(study.folder)
    watcher.preparing("checking the data")
    if check_dataset(data_request(study)).fingerprint != prepared.data.fingerprint:
        raise StudyDiffers(
            f"study {study.name!r} can be confirmed only on the data set it was run on, but what "
            f"lies at {study.data} has changed since"
        )


class _Run:
    """One run of trainings on a running Ray, by the owner of their record."""

    def __init__(
        self,
        study: Study,
        prepared: Prepared,
        trainings: Sequence[Training],
        log: StudyLog,
        store: Store,
        place: Place,
        factory: str,
    ) -> None:
        self._study = study
        self._prepared = prepared
        self._trainings = trainings
        self._log = log
        self._store = store
        self._place = place
        self._is_tested = bool(prepared.data.rows["test"]) and factory == KERAS
        self._settings: Mapping[str, Any] = {
            **run_settings(study, prepared, place, factory),
            "study": store.uri,
            "rungs": [],
        }

    def go(self, watcher: Watcher, flag: Flag) -> None:
        study = self._study
        conductor = self._conductor()
        watcher.started(self._trainings, conductor)
        train_all(
            conductor,
            log=self._log,
            store=self._store,
            name=f"{study.name}-confirm-{self._log.generation:06d}",
            settings=self._settings,
            place=self._place,
            flag=flag,
            changed=watcher.changed,
        )
        self._log.fold()
        if self._is_tested:
            self._test(watcher)
        self._log.record(Closed(reason=DONE))

    def _conductor(self) -> Conductor:
        trainings = self._trainings
        plan = Plan(
            seed=self._study.seed,
            trials=len(trainings),
            epochs=max(training.epoch for training in trainings),
            baselines=self._prepared.data.baselines,
            first=tuple((one.config, _origin(one)) for one in trainings),
            gpu=self._place.shares.gpu,
            own={number: (one.seed, one.epoch) for number, one in enumerate(trainings)},
        )
        tidy_all(self._store, self._log.generation, self._log.history().trials)
        return Conductor(
            plan,
            self._log,
            Fifo(),
            _suggest_nothing,
            own_end=own_ends(self._store, self._log.generation),
            tidy=partial(tidy, self._store, self._log.generation),
        )

    def _test(self, watcher: Watcher) -> None:
        """Measure every training that has no figures on the test split yet."""
        ended = [
            (training, trial)
            for training, trial in zip(self._trainings, self._log.history().trials, strict=True)
            if trial.state == "complete" and not trial.tested
        ]
        if not ended:
            return
        watcher.preparing("measuring on the test split")
        wanted = [
            {
                "config": dict(trial.config),
                "is_reference": trial.is_reference,
                "seed": training.seed,
                "checkpoint": trial.measurements[-1].checkpoint,
                "sha256": trial.measurements[-1].checkpoint_sha256,
            }
            for training, trial in ended
        ]
        figures = run_task(evaluate, self._store.uri, self._settings, wanted)
        for (training, trial), (losses, metrics) in zip(ended, figures, strict=True):
            self._log.record(
                Tested(number=trial.number, epoch=training.epoch, losses=losses, metrics=metrics)
            )


def _origin(training: Training) -> Any:
    return "reference" if training.is_reference else "start_with"


def _suggest_nothing(number: int, recorded: Any) -> NoReturn:
    raise AssertionError(f"training {number} has no config")
