"""Runs a study to its end: a run starts here, and so does what trains its best points again."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from search.cluster.capacity import TrialRoom, find_room
from search.cluster.nodes import check_reach
from search.cluster.session import Joined, ray_for, run_task
from search.cluster.shares import check_local
from search.cluster.signals import Flag, catch_signals
from search.cluster.watchdog import tell_folder
from search.errors import ClusterLost, Interrupted, NoRoom, SearchError, StudyPaused
from search.record.decisions import DONE, Closed, Retried, Tested
from search.record.log import StudyLog
from search.record.ownership import claim
from search.record.reader import StudyReader
from search.results.load import read
from search.results.progress import Watcher
from search.results.result import StudyResult
from search.results.usage import recorded
from search.running.conductor import Conductor
from search.running.disk_limit import tell_disk
from search.running.plan import Plan, study_plan
from search.running.prepare import decoding, prepare
from search.running.probe import settled_room
from search.running.resume import check_data, check_named_data, is_done, stored_study, write_study
from search.running.scheduler import make_scheduler
from search.running.warm_start import read_earlier, warm_start
from search.study.objective import warn_of_redundancy
from search.study.prepared import Prepared, shared_settings
from search.study.samplers import state_note
from search.study.shares import usable_bytes
from search.study.study import Study
from trainables.data.request import DataInfo, DataReport
from trainables.spec.settings import StudySettings
from trainables.storage.study_folder import StudyFolder

KERAS = "trainables.trial.keras_factory:keras_run"
"""The factory of real trainings; see `trainables.training.run.RunFactory`."""
PAUSE_SECONDS = 0.5
"""Between two looks at whether the figures on the test split are still worth waiting for."""

TestFigures = list[tuple[dict[str, float], dict[str, float]]]
"""Losses and metrics of each point."""
Measure = Callable[[list[dict[str, Any]]], TestFigures | None]
"""From what it takes to restore each point to their figures; None if it cannot tell now."""


class Silent(Watcher):
    """Watches nothing."""


def run(
    study: Study,
    *,
    watcher: Watcher | None = None,
    factory: str = KERAS,
    patience: float = 0.0,
    reader: StudyReader | None = None,
    retry_failed: bool = False,
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
        retry_failed: Whether to train its failed trials again, from what they had.

    Warns:
        StudyWarning: If part of what is searched makes no difference.

    Raises:
        InputError: If the study, its data or its model cannot work.
        StudyDiffers: If a study of that name has other settings.
        StudyLocked: If another process runs it.
        SearchError: If this process runs a study already, in another thread.
        NoRoom: If no node had room for a trial for ``resources.wait_minutes``.
        ClusterLost: If Ray has gone away.
        StudyPaused: If its first trials failed alike and none came further.
        UnfitNode: If a node that came later lacks the storage or its GPU.
        Interrupted: On SIGINT, SIGTERM or SIGHUP; ``KeyboardInterrupt`` if there is no study yet.
        StorageError: If the study's folder cannot be written.
    """
    reader = reader or StudyReader(StudyFolder(study.folder))
    known = stored_study(study, reader)
    retry_failed &= known is not None and any(one.state == "failed" for one in known.trials)
    if known is not None and not retry_failed and is_done(study, reader):
        check_named_data(study, known)
    else:
        warn_of_redundancy(study)
        try:
            with driving(study, watcher or Silent(), factory) as driver:
                _run(driver, known, reader, patience, retry_failed)
        except KeyboardInterrupt:
            if not reader.store.has("study"):
                raise
            raise Interrupted(
                f"study {study.name!r} was interrupted; `twohead resume` continues it"
            ) from None
    return read(reader)


def _run(
    driver: "Driver",
    known: StudyResult | None,
    reader: StudyReader,
    patience: float,
    retry_failed: bool,
) -> None:
    watcher, store = driver.watcher, reader.store
    study, data = check_data(driver.study, known, watcher)
    driver = replace(driver, study=study)
    earlier = () if known is not None else read_earlier(study)
    with claim(store, patience=patience) as ownership:
        if known is None:
            write_study(study)
        tell_folder(study.folder)
        with driver.on_ray(data) as (joined, decoded):
            is_open = study.resources.is_open
            room = None if is_open else find_room(study.resources, joined, watcher.told)
            check_reach(store, study.data, joined.watch.sight.nodes, watcher.told)
            budget = asdict(study.budget)
            log = StudyLog.open_for_writing(store, ownership, budget=budget, reader=reader)
            if retry_failed:
                _put_back(log)
            prepared, largest = prepare(study, data, log, watcher, decoded)
            room = room or settled_room(study, prepared, joined, watcher, ownership)
            warm = warm_start(store, study, prepared, ownership, earlier)
            if warm.taken:
                watcher.told(warm.line())
            if note := state_note(study.sampler):
                watcher.told(note)
            plan = study_plan(study, prepared, room.shares.gpu, warm.recorded())
            if driver.factory == KERAS:
                tell_disk(store, plan, log.history().trials, largest, watcher.told)
            Run(driver=driver, plan=plan, prepared=prepared, log=log, room=room).go()


def _put_back(log: StudyLog) -> None:
    """Let the failed trials of a study be trained again, from the start: no state is kept."""
    failed = [trial.number for trial in log.history().trials if trial.state == "failed"]
    log.record(*(Retried(number=number) for number in failed))


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """Who runs trainings of a study in this process: alone, and with its signals caught."""

    study: Study
    factory: str
    watcher: Watcher
    flag: Flag
    """Says whether a signal has come."""

    @contextmanager
    def on_ray(self, data: DataInfo) -> Iterator[tuple[Joined, Callable[[], DataReport]]]:
        """Yield the Ray to run on, and what waits until the images are decoded."""
        study, notify, warms = self.study, self.watcher.preparing, self.factory == KERAS
        with (
            decoding(study, data) as decoded,
            ray_for(study, notify, self.flag, warms=warms) as joined,
        ):
            self.flag.is_final = joined.is_left_after
            yield joined, decoded


_one_run = threading.Lock()
_names_run: list[str] = []


@contextmanager
def driving(study: Study, watcher: Watcher, factory: str) -> Iterator[Driver]:
    """Let this process run trainings of a study, and of no other meanwhile."""
    check_local(study.resources)
    with _one_at_a_time(study), catch_signals() as flag:
        yield Driver(study=study, watcher=watcher, factory=factory, flag=flag)


@contextmanager
def _one_at_a_time(study: Study) -> Iterator[None]:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a plan on a joined Ray, by the owner of its record."""

    driver: Driver
    plan: Plan
    prepared: Prepared
    log: StudyLog
    room: TrialRoom

    def go(self) -> None:
        """Train all that the plan has, measure what it says on the test split, and close."""
        plan, log, watcher = self.plan, self.log, self.driver.watcher
        scheduler = make_scheduler(
            plan.scheduler,
            baselines=plan.objective.values(plan.baselines),
            max_epochs=plan.epochs,
        )
        settings = self._settings(scheduler.rungs)
        conductor = Conductor(plan, log, scheduler)
        if anew := conductor.tidy_all():
            watcher.told(_anew_words(anew))
        watcher.started(self.driver.study, self.prepared, conductor)
        self._train(conductor, settings)
        conductor.end_interrupted()
        log.fold()
        self._test(partial(run_task, _evaluate, log.reader.store.uri, settings))
        log.record(Closed(reason=DONE))

    def _settings(self, rungs: tuple[int, ...]) -> StudySettings:
        """Return what all trials share."""
        room, measured = self.room, self.room.measured
        return replace(
            shared_settings(self.driver.study, self.prepared),
            study=self.log.reader.store.uri,
            factory=self.driver.factory,
            rungs=rungs,
            cpu=room.shares.cpu,
            gpu=room.shares.gpu,
            gpu_usable_bytes=0 if measured is None else usable_bytes(measured.gpu_bytes),
            gpu_outside_bytes=0 if measured is None else measured.outside_bytes,
            recycle_bytes=room.shares.recycle_bytes,
            copy_data=room.is_spread,
        )

    def _train(self, conductor: Conductor, settings: StudySettings) -> None:
        """Train what the conductor hands out; close the record if that ends before its time."""
        flag, log = self.driver.flag, self.log
        try:
            with flag.patiently():
                if not conductor.is_finished:
                    self._fit(conductor, settings)
            conductor.tidy_up()
            if conductor.is_paused and not flag.is_set:
                raise StudyPaused(f"study {self.driver.study.name!r} {conductor.pause_words()}")
            if flag.is_set or not conductor.is_finished:
                raise KeyboardInterrupt
        except (KeyboardInterrupt, ClusterLost, NoRoom, StudyPaused):
            log.record(Closed(reason="interrupted"))
            raise

    def _fit(self, conductor: Conductor, settings: StudySettings) -> None:
        from search.running.pool import TunePool
        from search.running.tune import fit

        flag, log = self.driver.flag, self.log
        pool = TunePool(
            conductor,
            self.room,
            is_interrupted=lambda: flag.look() or self._is_to_end(conductor),
            changed=self.driver.watcher.changed,
            last=lambda process: self._test(partial(self._measured_in, process)),
        )
        # Tune keeps what it trains by name, for all runs on a Ray.
        name = f"{self.plan.name}-{log.generation:06d}"
        with recorded(pool.usage, log.reader.store, log.generation):
            fit(pool, name=name, settings=settings)

    def _is_to_end(self, conductor: Conductor) -> bool:
        """Tell whether nothing more is to be trained, whatever is in flight."""
        return conductor.is_over() or conductor.is_paused or self.log.ownership.is_lost

    def _test(self, measure: Measure) -> None:
        """Measure what is left to be measured on the test split, if there is one."""
        if not self.prepared.data.rows["test"] or self.driver.factory != KERAS:
            return
        if points := self.plan.to_test(self.log):
            what = "" if self.plan.trainings else "the chosen models "
            self.driver.watcher.preparing(f"measuring {what}on the test split")
            figures = measure([one.point.to_restore(one.seed) for one in points]) or []
            for one, (losses, metrics) in zip(points, figures, strict=bool(figures)):
                number, epoch = one.point.number, one.point.epoch
                self.log.record(Tested(number=number, epoch=epoch, losses=losses, metrics=metrics))

    def _measured_in(self, process: Any, points: list[dict[str, Any]]) -> TestFigures | None:
        """Return what a process that has just trained a trial measures on the test split.

        Starting another for that takes longer than all it has to do. What goes wrong there is
        left to the other: a process may have grown, or gone.
        """
        import ray

        answer = process.evaluate.remote(points)
        while not ray.wait([answer], timeout=PAUSE_SECONDS)[0]:
            self.room.watch.check()
            if self.driver.flag.is_set:
                return None
        try:
            figures: TestFigures = ray.get(answer)
        except ray.exceptions.RayError:
            return None
        return figures


def _anew_words(numbers: Sequence[int]) -> str:
    """Say which trials go on and have nothing left to go on from."""
    which = "trial" if len(numbers) == 1 else "trials"
    named = ", ".join(map(str, numbers))
    return (
        f"{which} {named}: trained again from the first epoch, as what training goes on from was "
        "deleted (`twohead clean`); the figures are the same"
    )


def _evaluate(folder: str, settings: StudySettings, points: list[dict[str, Any]]) -> Any:
    """Return losses and metrics of recorded points on the test split; a task of Ray."""
    from trainables.trial.keras_factory import evaluate_points

    return evaluate_points(folder, settings, points, "test")
