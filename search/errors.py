"""The few states of a study that a caller may handle."""

from trainables.errors import InputError, SearchError, StorageError, StorageFull, UnfitNode

__all__ = [
    "ClusterLost",
    "InputError",
    "Interrupted",
    "NoCandidate",
    "NoRoom",
    "SearchError",
    "StorageError",
    "StorageFull",
    "StudyDiffers",
    "StudyLocked",
    "StudyWarning",
    "UnfitNode",
]


class StudyLocked(SearchError):
    """Another process runs this study; the message says which and since when."""


class StudyDiffers(InputError):
    """A study of this name exists with other settings; the message names the keys."""


class NoCandidate(SearchError):
    """No trial of the study gave a point that could be chosen; the message counts why."""


class Interrupted(SearchError):
    """A signal ended the run; what was measured is recorded, and the run can be continued."""


class NoRoom(SearchError):
    """No node had room for a trial in the time that the study waits; it can be continued."""


class ClusterLost(SearchError):
    """The Ray that a study ran on has gone away; the study can be continued on another."""


class StudyWarning(UserWarning):
    """A study can run as it is, but part of what it searches makes no difference."""
