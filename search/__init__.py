"""Hyperparameter search for Keras models with several heads, spread by Ray, suggested by Optuna.

Example:
    >>> import search
    >>> study = search.Study(name="digits", data="digits.parquet", heads={
    ...     "c_output": {"kind": "classification"}, "r_output": {"kind": "box"}})
    >>> result = search.run(study)  # doctest: +SKIP
    >>> result.best().config  # doctest: +SKIP
"""

from search.errors import InputError, NoCandidate, SearchError, StudyLocked
from search.points import Point, TrialRecord
from search.results import StudyResult, load
from search.space import SearchSpace
from search.study import Study

__all__ = [
    "InputError",
    "NoCandidate",
    "Point",
    "SearchError",
    "SearchSpace",
    "Study",
    "StudyLocked",
    "StudyResult",
    "TrialRecord",
    "load",
    "run",
]


def run(study: Study, *, progress: bool = True) -> StudyResult:
    """Run a study to its end and return its result; resume it, or extend it, if it is there.

    A finished study is only read. One whose budget has grown goes on; any other difference
    from what was recorded under its name is refused. Importing this package loads neither
    TensorFlow nor Ray; this call loads Ray.

    Args:
        study: What to search.
        progress: Whether to show a live view on a terminal, or lines elsewhere.

    Raises:
        InputError: If the study, its data or its model cannot work.
        StudyLocked: If another process runs it.
        SearchError: If it was interrupted, or its storage failed.
    """
    from search.runner import run as run_study

    if not progress:
        return run_study(study)
    from rich.console import Console

    from search.live import watcher_for

    with watcher_for(Console()) as watcher:
        return run_study(study, watcher=watcher)
