"""Runs a study: the only caller of ``tune.Tuner``."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from search.cluster.nodes import check_reach
from search.cluster.phase import tell_folder
from search.cluster.room import Place, find_place
from search.cluster.session import prepare_environment, ray_for, run_task
from search.cluster.shares import check_local
from search.cluster.signals import Flag, catch_signals
from search.errors import Interrupted, SearchError
from search.record.decisions import DONE, Closed
from search.record.log import StudyLog
from search.record.ownership import claim
from search.record.reader import StudyReader
from search.results.load import read
from search.results.progress import Watcher
from search.results.result import StudyResult
from search.running.attempts import Plan
from search.running.checkpoints import tidy, tidy_all
from search.running.conductor import Conductor
from search.running.prepare import decoding, prepare
from search.running.probe import settled_place
from search.running.scheduler import make_scheduler
from search.running.stored import check_data, is_done, stored_study, write_study
from search.running.test_figures import Measure, evaluate, measure_in, test_chosen
from search.running.tune import own_ends, train_all
from search.running.warm_start import WarmStart, read_earlier, warm_start
from search.sampling.suggest import Suggester
from search.study.configs import first_configs, num_trials
from search.study.objective import objective_of, warn_of_redundancy
from search.study.prepared import Prepared, shared_settings
from search.study.samplers import state_note
from search.study.shares import usable_bytes
from search.study.study import Study
from trainables.spec.settings import StudySettings
from trainables.storage.store import Store

KERAS = "trainables.trial.keras_factory:keras_run"
"""The factory of real trainings; see `trainables.training.run.RunFactory`."""


class Silent(Watcher):
    """Watches nothing."""


def run(
    study: Study,
    *,
    watcher: Watcher | None = None,
    factory: str = KERAS,
    patience: float = 0.0,
    reader: StudyReader | None = None,
) -> StudyResult:
    """Run a study to its end and return its result.

    A study of that name which is unfinished is resumed, a finished one is only read, and one
    whose budget has grown goes on.

    Args:
        study: What to search.
        watcher: Who looks on.
        factory: ``module:function`` of what trains (see `trainables.training.run.RunFactory`).
        patience: Seconds to wait for an owner that shows no life to be given up.
        reader: What has read the study's folder before, if anything has.

    Warns:
        StudyWarning: If part of what is searched makes no difference.

    Raises:
        InputError: If the study, its data or its model cannot work.
        StudyDiffers: If a study of that name has other settings.
        StudyLocked: If another process runs it.
        SearchError: If this process runs a study already, in another thread.
        NoRoom: If no node had room for a trial for ``resources.wait_minutes``.
        ClusterLost: If Ray has gone away.
        UnfitNode: If a node that came later lacks the storage or its GPU.
        Interrupted: On SIGINT, SIGTERM or SIGHUP; ``KeyboardInterrupt`` if there is no study yet.
        StorageError: If the study's folder cannot be written.
    """
    reader = reader or StudyReader(Store(study.folder))
    known = stored_study(study, reader)
    if known is None or not is_done(study, reader):
        warn_of_redundancy(study)
        check_local(study.resources)
        prepare_environment()
        try:
            with one_at_a_time(study):
                _run(study, known, reader, watcher or Silent(), factory, patience)
        except KeyboardInterrupt:
            if not Store(study.folder).exists("study.json"):
                raise
            raise Interrupted(
                f"study {study.name!r} was interrupted; `twohead resume` continues it"
            ) from None
    return read(reader)


_one_run = threading.Lock()
_names_run: list[str] = []


@contextmanager
def one_at_a_time(study: Study) -> Iterator[None]:
    """Let one study run at a time: a process has one Ray, one Tune and one set of signals."""
    if not _one_run.acquire(blocking=False):
        raise SearchError(
            f"this process already runs study {''.join(_names_run)!r}; run {study.name!r} "
            "after it or in another process"
        )
    try:
        _names_run.append(study.name)
        yield
    finally:
        _names_run.clear()
        _one_run.release()


def _run(
    study: Study,
    known: StudyResult | None,
    reader: StudyReader,
    watcher: Watcher,
    factory: str,
    patience: float,
) -> None:
    store = reader.store
    with catch_signals() as flag:
        data = check_data(study, known, watcher.preparing)
        earlier = () if known is not None else read_earlier(study)
        with claim(store, patience=patience) as ownership:
            if known is None:
                write_study(study)
            tell_folder(study.folder)
            with (
                decoding(study, data) as decoded,
                ray_for(study, watcher.preparing, flag, warms=factory == KERAS) as joined,
            ):
                flag.is_final = joined.is_left_after
                is_open = study.resources.is_open
                place = None if is_open else find_place(study.resources, joined, watcher.told)
                check_reach(store, study.data, joined.watch.sight.nodes, watcher.told)
                budget = study.budget.to_dict()
                log = StudyLog.open_for_writing(store, ownership, budget=budget, reader=reader)
                prepared = prepare(study, data, log, watcher.preparing, decoded)
                place = place or settled_place(
                    study, prepared, joined, ownership, watcher.preparing, watcher.told
                )
                warm = warm_start(study, prepared, ownership, earlier)
                if warm.taken:
                    watcher.told(warm.line())
                if note := state_note(study.sampler):
                    watcher.told(note)
                _Run(study, prepared, log, store, place, factory, warm).go(watcher, flag)


class _Run:
    """One run of a study on a running Ray, by its owner."""

    def __init__(
        self,
        study: Study,
        prepared: Prepared,
        log: StudyLog,
        store: Store,
        place: Place,
        factory: str,
        warm: WarmStart,
    ) -> None:
        self._study = study
        self._prepared = prepared
        self._log = log
        self._store = store
        self._place = place
        self._factory = factory
        self._warm = warm.recorded()
        self._objective = objective_of(study)
        self._settings = run_settings(study, prepared, place, factory)

    def go(self, watcher: Watcher, flag: Flag) -> None:
        conductor = self._conductor()
        watcher.started(self._study, self._prepared, conductor)
        train_all(
            conductor,
            log=self._log,
            store=self._store,
            name=f"{self._study.name}-{self._log.generation:06d}",
            settings=self._settings,
            place=self._place,
            flag=flag,
            changed=watcher.changed,
            last=lambda process: self._test(watcher, self._in(process, flag)),
        )
        conductor.end_interrupted()
        self._log.fold()
        self._test(watcher, partial(run_task, evaluate, self._study.folder, self._settings))
        self._log.record(Closed(reason=DONE))

    def _conductor(self) -> Conductor:
        study, prepared = self._study, self._prepared
        tidy_all(self._store, self._log.generation, self._log.history().trials)
        baselines = prepared.data.baselines
        hours = study.budget.hours
        plan = Plan(
            seed=study.seed,
            trials=num_trials(study, prepared),
            epochs=study.budget.epochs,
            deadline=None if hours is None else time.monotonic() + hours * 3600,
            baselines=baselines,
            objective=self._objective,
            first=first_configs(study, prepared),
            gpu=self._place.shares.gpu,
        )
        scheduler = make_scheduler(
            study.scheduler,
            baselines=self._objective.values(baselines),
            max_epochs=study.budget.epochs,
        )
        return Conductor(
            plan,
            self._log,
            scheduler,
            self._suggester(),
            own_end=own_ends(self._store, self._log.generation),
            tidy=partial(tidy, self._store, self._log.generation),
        )

    def _suggester(self) -> Suggester:
        suggester = Suggester(
            self._study.sampler,
            self._prepared.space,
            seed=self._study.seed,
            num_objectives=len(self._objective.names),
            epochs=self._study.budget.epochs,
        )
        for trial in self._warm:
            suggester.put(trial)
        return suggester

    def _test(self, watcher: Watcher, measure: Measure) -> None:
        """Measure what the policies choose, and the reference, on the test split, if any."""
        if self._prepared.data.rows["test"] and self._factory == KERAS:
            test_chosen(self._log, measure, watcher.preparing)

    def _in(self, process: Any, flag: Flag) -> Measure:
        """Return what measures in a process that is warm."""
        watch = self._place.watch
        return partial(measure_in, process, is_interrupted=lambda: flag.is_set, watch=watch)


def run_settings(study: Study, prepared: Prepared, place: Place, factory: str) -> StudySettings:
    """Return what all trials of a study share."""
    scheduler = make_scheduler(
        study.scheduler, baselines=prepared.data.baselines, max_epochs=study.budget.epochs
    )
    measured = place.measured
    return replace(
        shared_settings(study, prepared),
        factory=factory,
        rungs=tuple(getattr(scheduler, "rungs", ())),
        cpu=place.shares.cpu,
        gpu=place.shares.gpu,
        gpu_usable_bytes=0 if measured is None else usable_bytes(measured.gpu_bytes),
        gpu_outside_bytes=0 if measured is None else measured.outside_bytes,
        recycle_bytes=place.shares.recycle_bytes,
        copy_data=place.is_spread,
    )
