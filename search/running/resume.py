"""What is already there of a study: nothing, the same, a smaller budget, or something else."""

import os
from dataclasses import asdict

from search.errors import InputError, StudyDiffers
from search.record.decisions import DONE
from search.record.log import StudyLog
from search.record.reader import StudyReader
from search.record.segments import has_log
from search.results.load import load, read
from search.results.progress import Watcher
from search.results.result import StudyResult
from search.sampling.suggest import check_sampler
from search.study.configs import check_space, data_request
from search.study.moved_data import is_known_place
from search.study.objective import objective_of
from search.study.prepared import Prepared
from search.study.study import Study
from search.text import count
from trainables.data.check import check_dataset, fingerprint_of
from trainables.data.decode import decoded_report
from trainables.data.parquet import Source
from trainables.data.request import DataInfo, DataReport
from trainables.storage.sealed_json import DamagedRecord
from trainables.storage.store import Store
from trainables.storage.study_folder import StudyFolder


def stored_study(study: Study, reader: StudyReader | None = None) -> StudyResult | None:
    """Return what the storage has of a study of this name, None if it has no trial of it.

    Raises:
        StudyDiffers: If its settings are others; only the budget may have grown.
        DamagedRecord: If trials are recorded there and it is lost what study they belong to.
    """
    reader = reader or StudyReader(StudyFolder(study.folder))
    if not reader.store.has("study"):
        _refuse_a_log_alone(reader)
        return None
    stored = read(reader)
    if not stored.trials:
        return None
    differences = study.differences(stored.study)
    if differences:
        listed = "; ".join(
            f"{key}: {there!r} there, {here!r} now" for key, here, there in differences
        )
        raise StudyDiffers(
            f"study {study.name!r} in {reader.store.uri} was made with other settings ({listed}); "
            "give this one another name, or change nothing but a larger budget"
        )
    return stored.under(study)


def is_done(study: Study, reader: StudyReader | None = None) -> bool:
    """Tell whether a run of this study ended in order, and a further one has nothing to do.

    A study whose trials have all ended is not done before its figures on the test split are
    there; one whose hours were over is, unless its budget has changed since.
    """
    history = (reader or StudyReader(StudyFolder(study.folder))).read()
    if not history.is_closed or history.close_reason != DONE:
        return False
    had, has = dict(history.budget), asdict(study.budget)
    is_same = (had["trials"], had["epochs"]) == (has["trials"], has["epochs"])
    was_cut = any(trial.state == "interrupted" for trial in history.trials)
    is_whole = len(history.trials) >= study.budget.trials and not was_cut
    return is_same and (is_whole or had["hours"] == has["hours"])


def check_data(
    study: Study, known: StudyResult | None, watcher: Watcher
) -> tuple[Study, DataInfo]:
    """Check the storage, the data, and what the study asks of them; write nothing.

    Returns:
        The study with its data where they lie now, and what they are.
    """
    _check_storage(study.folder)
    watcher.preparing("checking the data")
    if known is None:
        found, info = study, _look_at_data(study).info
    else:
        found, info = known.find_data(study), known.prepared.data
        if found.data != known.recorded["data"]:
            watcher.told(f"the data set is at {found.data}, it was at {known.recorded['data']}")
    _check_before_ray(found, info)
    return found, info


def _look_at_data(study: Study) -> DataReport:
    """Return what a check told of the study's data before, or tells now of all but pixels."""
    request = data_request(study)
    source = Source(request.uri)
    report = decoded_report(fingerprint_of(request, source), Store(study.storage).uri)
    if report is None:
        return check_dataset(request, is_fast=True, source=source)
    if study.strict and report.warnings:
        raise InputError.of(list(report.warnings), where=f"data {study.data!r}")
    return report


def check_named_data(study: Study, known: StudyResult) -> None:
    """Refuse other data than those that a study began with, where its record names no such place.

    Of a finished study nobody needs the data: where it names none, they may be gone.
    """
    if not is_known_place(study, known.recorded):
        known.find_data(study)


def _check_before_ray(study: Study, data: DataInfo) -> None:
    """Refuse what can be told of a study and its data without starting anything."""
    check_sampler(study.sampler, study.whole_space, len(objective_of(study).names))
    check_space(study, Prepared(data=data, space=study.whole_space, precision=study.precision))


def _check_storage(folder: str) -> None:
    """Refuse a local folder that can never be made or written."""
    root = Store(folder).root
    if root is None:
        return
    there = next(path for path in (root, *root.parents) if path.exists())
    if not there.is_dir():
        raise InputError(f"storage needs a folder for the study {folder!r}, got the file {there}")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"storage needs a folder that can be written, got {there}")


def write_study(study: Study) -> None:
    """Write the study down; one that never got as far as a trial gives way to it.

    So what was refused after it had been written down, such as an image that cannot be
    decoded, can be put right under the same name. Only by the study's owner.
    """
    folder = StudyFolder(study.folder)
    if folder.has("study") and not load(study.folder).trials:
        folder.remove("warm", "shares", "prepared", "study")
    StudyLog.create(folder, study.to_dict())


def _refuse_a_log_alone(reader: StudyReader) -> None:
    """Refuse trials of which nobody knows how they were made: they are no part of a new study."""
    # Asked first as nothing can be listed below a file, which `_check_storage` tells in its words.
    folder = reader.store
    if not folder.exists(folder.LOG) or not has_log(folder):
        return
    if trials := reader.replay().trials:
        raise DamagedRecord(
            f"{folder.uri}/study.json is missing beside {count(len(trials), 'trial')}; "
            "restore it from a copy, or give the study another name"
        )
