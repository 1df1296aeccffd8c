"""Hyperparameter search for Keras models with several heads, spread by Ray, suggested by Optuna.

Example:
    >>> import search
    >>> study = search.Study(name="digits", data="digits.parquet", heads={
    ...     "c_output": {"kind": "classification"}, "r_output": {"kind": "box"}})
    >>> result = search.run(study)  # doctest: +SKIP
    >>> result.best().config  # doctest: +SKIP
"""

from typing import Any

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


def run(study: Study, **options: Any) -> StudyResult:
    """Run a study to its end, resume or extend it; see `search.runner.run`.

    Importing this package loads neither TensorFlow nor Ray; this call does.
    """
    from search.runner import run as run_study

    return run_study(study, **options)
