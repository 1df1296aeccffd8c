"""The few states of a study that a caller may handle."""

from trainables.errors import InputError, SearchError, StorageError, StorageFull

__all__ = [
    "ClusterError",
    "InputError",
    "Interrupted",
    "NoCandidate",
    "SearchError",
    "StorageError",
    "StorageFull",
    "StudyDiffers",
    "StudyLocked",
    "StudyWarning",
    "TokenRefused",
]


class StudyLocked(SearchError):
    """Another process runs this study; the message says which and since when."""


class StudyDiffers(InputError):
    """A study of this name exists with other settings; the message names the keys."""


class NoCandidate(SearchError):
    """No trial of the study gave a point that could be chosen; the message counts why."""


class Interrupted(SearchError):
    """A signal ended the run; what was measured is recorded, and the run can be continued."""


class ClusterError(SearchError):
    """A cluster cannot be reached, or did not do what it was asked; the message says the cure."""


class TokenRefused(ClusterError):
    """A cluster asks for a token, and refused ours or the lack of one."""


class StudyWarning(UserWarning):
    """A study can run as it is, but part of what it searches makes no difference."""
