"""Runs a study: the only caller of ``tune.Tuner``."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from search.cluster import prepare_environment, ray_for, run_task
from search.conductor import Conductor, Plan
from search.decisions import DONE, Closed, Tested
from search.errors import SearchError
from search.log import StudyLog
from search.opening import check_data, is_done, stored_study, write_study
from search.ownership import claim
from search.prepare import first_configs, num_trials, prepare
from search.prepared import Prepared, shared_settings
from search.resources import Shares, check_local, shares
from search.results import StudyResult, load
from search.scheduler import make_scheduler
from search.searcher import RecordedTrial, Suggestion, suggest
from search.signals import Flag, catch_signals
from search.study import Study
from search.usage import Usage, recorded
from trainables.store import Store

KERAS = "trainables.keras_factory:keras_run"
"""The factory of real trainings; see `trainables.run.RunFactory`."""


class Watcher(Protocol):
    """Someone who looks on while a study runs."""

    def preparing(self, what: str) -> None:
        """Hear what is being done before the first trial."""

    def started(self, study: Study, prepared: Prepared, conductor: Conductor) -> None:
        """Get to know the study; the conductor may be read at any time from now on."""

    def changed(self) -> None:
        """Hear that the conductor took in or handed out something."""


class Silent:
    """Watches nothing."""

    def preparing(self, what: str) -> None:
        """Ignore it."""

    def started(self, study: Study, prepared: Prepared, conductor: Conductor) -> None:
        """Ignore it."""

    def changed(self) -> None:
        """Ignore it."""


class Interrupted(SearchError):
    """A signal ended the run; what was measured is recorded, and the study can be resumed."""


def run(study: Study, *, watcher: Watcher | None = None, factory: str = KERAS) -> StudyResult:
    """Run a study to its end and return its result.

    A study of that name which is unfinished is resumed, a finished one is only read, and one
    whose budget has grown goes on.

    Args:
        study: What to search.
        watcher: Who looks on.
        factory: ``module:function`` of what trains (see `trainables.run.RunFactory`).

    Raises:
        InputError: If the study, its data or its model cannot work.
        StudyDiffers: If a study of that name has other settings.
        StudyLocked: If another process runs it.
        SearchError: If this process runs a study already, in another thread.
        Interrupted: On SIGINT or SIGTERM; ``KeyboardInterrupt`` if there is no study yet.
        StorageError: If the study's folder cannot be written.
    """
    known = stored_study(study)
    if known is None or not is_done(study):
        check_local(study.resources)
        prepare_environment()
        try:
            with _turn(study):
                _run(study, known, watcher or Silent(), factory)
        except KeyboardInterrupt:
            if not Store(study.folder).exists("study.json"):
                raise
            raise Interrupted(
                f"study {study.name!r} was interrupted; `twohead resume` continues it"
            ) from None
    return load(study.folder)


_one_run = threading.Lock()
_names_run: list[str] = []


@contextmanager
def _turn(study: Study) -> Iterator[None]:
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


def _run(study: Study, known: StudyResult | None, watcher: Watcher, factory: str) -> None:
    store = Store(study.folder)
    with catch_signals() as flag:
        data = check_data(study, known, watcher.preparing)
        with claim(store) as ownership:
            if known is None:
                write_study(study)
            with ray_for(study, watcher.preparing, flag) as joined:
                flag.is_final = joined.is_left_after
                share = shares(study.resources, joined.nodes)
                log = StudyLog.open_for_writing(store, ownership, budget=study.budget.to_dict())
                prepared = prepare(study, data, log, watcher.preparing)
                _Run(study, prepared, log, store, share, factory).go(watcher, flag)


class _Run:
    """One run of a study on a running Ray, by its owner."""

    def __init__(
        self,
        study: Study,
        prepared: Prepared,
        log: StudyLog,
        store: Store,
        shares: Shares,
        factory: str,
    ) -> None:
        self._study = study
        self._prepared = prepared
        self._log = log
        self._store = store
        self._shares = shares
        self._factory = factory
        self._settings = run_settings(study, prepared, shares, factory)

    def go(self, watcher: Watcher, flag: Flag) -> None:
        conductor = self._conductor()
        watcher.started(self._study, self._prepared, conductor)
        is_over = conductor.is_over
        try:
            with flag.patiently():
                self._fit(conductor, lambda: flag.look() or is_over(), watcher.changed)
            if flag.is_set or not conductor.is_finished:
                raise KeyboardInterrupt
        except KeyboardInterrupt:
            self._log.record(Closed(reason="interrupted"))
            raise
        conductor.end_interrupted()
        self._log.fold()
        self._test(watcher)
        self._log.record(Closed(reason=DONE))

    def _conductor(self) -> Conductor:
        study, prepared = self._study, self._prepared
        baselines = prepared.data.baselines
        hours = study.budget.hours
        plan = Plan(
            seed=study.seed,
            trials=num_trials(study, prepared.space),
            epochs=study.budget.epochs,
            deadline=None if hours is None else time.monotonic() + hours * 3600,
            baselines=baselines,
            first=first_configs(study, prepared.space),
        )
        scheduler = make_scheduler(
            study.scheduler, baselines=baselines, max_epochs=study.budget.epochs
        )
        return Conductor(
            plan, self._log, scheduler, self._suggest, was_recycled=self._was_recycled
        )

    def _suggest(self, number: int, recorded: Any) -> Suggestion:
        trials: list[RecordedTrial] = list(recorded)
        return suggest(
            name=self._study.sampler,
            space=self._prepared.space,
            seed=self._study.seed,
            number=number,
            recorded=trials,
            num_heads=len(self._study.heads),
        )

    def _was_recycled(self, number: int, attempt: int) -> bool:
        name = f"{self._log.generation:06d}-{number:06d}-{attempt:03d}"
        return self._store.exists(f"recycled/{name}")

    def _fit(
        self, conductor: Conductor, is_interrupted: Callable[[], bool], changed: Callable[[], None]
    ) -> None:
        from search.tuning import fit

        if conductor.is_finished:
            return
        usage = Usage(self._shares.concurrent)
        generation = self._log.generation
        with recorded(usage, self._store, generation):
            fit(
                conductor,
                name=f"{self._study.name}-{generation:06d}",
                settings=self._settings,
                shares=self._shares,
                is_interrupted=is_interrupted,
                changed=changed,
                usage=usage,
            )

    def _test(self, watcher: Watcher) -> None:
        """Measure the best point and the reference's on the test split, if there is one."""
        if not self._prepared.data.rows["test"] or self._factory != KERAS:
            return
        result = load(self._study.folder)
        points = result.points_to_test()
        if not points:
            return
        watcher.preparing("measuring the best model on the test split")
        wanted = [result.to_restore(point) for point in points]
        figures = run_task(_evaluate, self._study.folder, self._settings, wanted)
        for point, (losses, metrics) in zip(points, figures, strict=True):
            self._log.record(
                Tested(number=point.number, epoch=point.epoch, losses=losses, metrics=metrics)
            )


def run_settings(study: Study, prepared: Prepared, shares: Shares, factory: str) -> dict[str, Any]:
    """Return what all trials of a study share, as plain values."""
    scheduler = make_scheduler(
        study.scheduler, baselines=prepared.data.baselines, max_epochs=study.budget.epochs
    )
    return {
        **shared_settings(study, prepared),
        "factory": factory,
        "rungs": list(getattr(scheduler, "rungs", ())),
        "cpu": shares.cpu,
        "gpu": shares.gpu,
        "recycle_bytes": shares.recycle_bytes,
    }


def _evaluate(folder: str, settings: Mapping[str, Any], points: list[dict[str, Any]]) -> Any:
    from trainables.keras_factory import evaluate_points

    return evaluate_points(folder, settings, points, "test")
