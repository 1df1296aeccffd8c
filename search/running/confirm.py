"""Trains a study's leading points again, each with several fresh seeds."""

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NoReturn

from search.cluster.nodes import check_reach
from search.cluster.room import Place, find_place
from search.cluster.session import Joined, prepare_environment, ray_for, run_task
from search.cluster.shares import check_local
from search.cluster.signals import Flag, catch_signals
from search.errors import Interrupted, StudyDiffers, StudyLocked
from search.record.decisions import DONE, Closed, Tested
from search.record.log import StudyLog
from search.record.ownership import claim, holder
from search.results.confirmation import Confirmation
from search.results.load import load
from search.results.policies import DEFAULT_POLICY
from search.results.progress import Watcher
from search.results.result import StudyResult
from search.results.retrained import (
    Training,
    check_extent,
    fresh_seeds,
    is_done,
    leading_points,
    read_confirmation,
    record_of,
    recorded_trainings,
    to_train,
    trainings_of,
)
from search.running.attempts import Plan
from search.running.checkpoints import tidy, tidy_all
from search.running.conductor import Conductor
from search.running.prepare import check_storage, decoding
from search.running.probe import settled_place
from search.running.run import KERAS, Silent, one_at_a_time, run_settings
from search.running.scheduler import Fifo
from search.running.test_figures import evaluate
from search.running.tune import own_ends, train_all
from search.study.configs import data_request
from search.study.digits import with_moved_data
from search.study.prepared import Prepared
from search.study.study import Study
from trainables.data.check import check_dataset
from trainables.spec.plain_values import plain
from trainables.storage.store import Store


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
            # The study, too, whose run would sweep away what is being written below.
            with claim(Store(result.folder)), claim(store) as ownership:
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
        settings = run_settings(study, prepared, place, factory)
        self._settings = replace(settings, study=store.uri, rungs=())

    def go(self, watcher: Watcher, flag: Flag) -> None:
        study = self._study
        conductor = self._conductor()
        conductor.trainings = self._trainings
        watcher.started(self._study, self._prepared, conductor)
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
            None,
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


def confirm(
    folder: str | os.PathLike[str] | StudyResult | Study,
    *,
    seeds: int = 2,
    top: int = 3,
    policy: str = DEFAULT_POLICY,
    watcher: "Watcher | None" = None,
    factory: str | None = None,
    **options: Any,
) -> Confirmation:
    """Train a study's leading points again with fresh seeds, and compare.

    What was trained for an earlier call is taken as it is, also if that was interrupted.

    Args:
        folder: See `search.load`.
        seeds: How many.
        top: How many points, one of each trial; the reference's comes on top.
        policy: Which points lead; see `StudyResult.best`.
        watcher: Who looks on.
        factory: ``module:function`` of what trains; None for Keras.
        **options: Of the policy: ``head``, ``exponents`` and so on.

    Raises:
        InputError: If a number, the policy or an option cannot be, or there is no study.
        NoCandidate: If no trial of the study has a point.
        StudyLocked: If a process runs or confirms the study.
        StudyDiffers: If its data set has changed since.
        StorageError: If a record is damaged or cannot be written.
        Interrupted: On SIGINT, SIGTERM or SIGHUP.
    """
    seeds, top = plain(seeds), plain(top)
    check_extent(seeds, top)
    options = {name: plain(value) for name, value in options.items() if value is not None}
    policy = "head" if "head" in options else plain(policy)
    result = load(folder)
    if result.is_running:
        _refuse_running(result)
    points = leading_points(result, top=top, policy=policy, options=options)
    chosen = fresh_seeds(result.study.seed, seeds)
    wanted = trainings_of(points, chosen)
    if not is_done(record_of(result.folder), wanted):
        from search.running.run import KERAS

        train(result, wanted, watcher=watcher, factory=factory or KERAS)
    return read_confirmation(result, points, seeds=chosen, policy=policy, options=options)


def _refuse_running(result: StudyResult) -> NoReturn:
    who = holder(Store(result.folder)) or "another process"
    raise StudyLocked(
        f"study {result.study.name!r} is being run by {who}; confirm it when that has ended"
    )
