"""A storage with a finished and an interrupted study, their data and a node's copies of them.

Made without TensorFlow: by the real record, conductor and attempts, with stub trainings.
"""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from search.record.decisions import DONE, Closed, Tested
from search.record.heartbeat import Pace
from search.record.log import StudyLog
from search.record.ownership import claim
from search.results.load import load
from search.results.usage import Usage, recorded
from search.running.conductor import Conductor, Finished
from search.running.plan import Plan
from search.running.scheduler import Fifo
from search.sampling.trials import Suggestion
from search.study.configs import data_request
from search.study.objective import every_head
from search.study.prepared import Prepared
from search.study.study import Study
from tests.support import stub_run
from tests.support.conducted_study import Asked
from tests.support.confirmed_study import write_confirmation
from tests.support.stub_study import rate_of, rows_of, stub_study
from trainables.data.check import check_dataset
from trainables.data.dataset import open_dataset
from trainables.data.decode import decode_dataset
from trainables.spec.settings import StudySettings
from trainables.storage.store import Store
from trainables.trial.attempt import Attempt, Envelope

FINISHED, INTERRUPTED = "finished", "interrupted"
STORAGE, CACHE = "storage", "cache"
TRIALS, EPOCHS = 4, 3


def make_tree(work: Path) -> None:
    """Write the studies, the decoded data and the copies into a folder that is not there yet.

    The data set itself lies beside it: it is not the project's to keep.
    """
    for name in (FINISHED, INTERRUPTED):
        study = _study(work, name)
        _begin(study)
        _run(study, trials=2)
        _run(
            study, trials=TRIALS if name == FINISHED else 3, last=EPOCHS if name == FINISHED else 2
        )
    note_fingerprint(work)
    result = load(f"{work}/{STORAGE}/{FINISHED}")
    again = {(point.number, 7): (0.4, 0.3) for point in result.points() if point.epoch == EPOCHS}
    write_confirmation(result, [p for p in result.points() if p.epoch == EPOCHS], again)
    copy_of(work)


def resume(work: Path, name: str) -> list[tuple[Any, ...]]:
    """Run a study to its end in this process, as `twohead resume` does; return what it found."""
    study = load(f"{work}/{STORAGE}/{name}").study
    _begin(study)
    _run(study, trials=TRIALS)
    return rows_of(load(study.folder).trials)


def copy_of(work: Path) -> Any:
    """Return the decoded data as a node has them that shares the storage with others."""
    return open_dataset(f"{work}/{STORAGE}", fingerprint_of(work), work / CACHE, copy=True)


def fingerprint_of(work: Path) -> str:
    """Return the name of the decoded data, noted beside the tree when that was made."""
    return (work.parent / "source" / "fingerprint").read_text()


def note_fingerprint(work: Path) -> None:
    prepared = load(f"{work}/{STORAGE}/{FINISHED}").prepared
    (work.parent / "source" / "fingerprint").write_text(prepared.data.fingerprint)


def hurried() -> Pace:
    """Return a pace by which a lease runs out at once: sleeping passes no time but its own."""
    clock = [0.0]
    return Pace(
        uptime=lambda: clock[0],
        sleep=lambda seconds: clock.__setitem__(0, clock[0] + max(seconds, 1.0)),
    )


def _study(work: Path, name: str) -> Study:
    (work / STORAGE).mkdir(parents=True, exist_ok=True)
    source = work.parent / "source"
    source.mkdir(exist_ok=True)
    budget = {"trials": TRIALS, "epochs": EPOCHS}
    study = stub_study(source, name=name, budget=budget)
    return replace(study, storage=str(work / STORAGE))


def _begin(study: Study) -> None:
    data = check_dataset(data_request(study)).info
    decode_dataset(data_request(study), data.fingerprint, study.storage)
    store = Store(study.folder)
    with claim(store, patience=60.0, pace=hurried()) as ownership:
        StudyLog.create(store, study.to_dict())
        log = StudyLog.open_for_writing(store, ownership, budget=asdict(study.budget))
        if log.history().prepared is None:
            prepared = Prepared(data=data, space=study.whole_space, precision="float32")
            log.put_prepared(prepared.to_dict())


def _run(study: Study, *, trials: int, last: int = EPOCHS) -> None:
    """Train up to so many trials; of the last one only so many epochs, if it ends early."""
    store = Store(study.folder)
    with claim(store, patience=60.0, pace=hurried()) as ownership:
        log = StudyLog.open_for_writing(store, ownership, budget=asdict(study.budget))
        baselines = load(study.folder).baselines
        plan = Plan(
            seed=0,
            trials=trials,
            epochs=EPOCHS,
            baselines=baselines,
            objective=every_head(tuple(baselines)),
            sampler=Asked(_suggest),
        )
        conductor = Conductor(plan, log, Fifo())
        conductor.tidy_all()
        with recorded(Usage(1), store, log.generation):
            is_cut = _train(conductor, study, trials, last)
        conductor.tidy_up()
        if trials == TRIALS:
            losses = {"c_output": 0.5, "r_output": 0.25}
            log.record(Tested(number=0, epoch=EPOCHS, losses=losses, metrics={}))
        log.record(Closed(reason="interrupted" if is_cut or trials < TRIALS else DONE))


def _train(conductor: Conductor, study: Study, trials: int, last: int) -> bool:
    while isinstance(envelope := conductor.ask(), Envelope):
        settings = StudySettings(
            study=Store(study.folder).uri,
            storage=str(Path(study.data).parent),
            factory=stub_run.FACTORY,
        )
        actor = Attempt(envelope, settings)
        epochs = last if envelope.number == trials - 1 else EPOCHS
        for _ in range(epochs):
            step = actor.step()
            if conductor.measured(envelope.number, envelope.attempt, step):
                break
        else:
            return True
    assert isinstance(envelope, Finished)
    return False


def _suggest(number: int, recorded: Any) -> Suggestion:
    config = {
        "conv1_filters": 8,
        "learning_rate": rate_of(number),
        "batch_size": 4,
        "pool_size": 2,
    }
    return Suggestion(config=config, system_attrs={})
