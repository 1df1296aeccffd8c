"""The few states of a study that a caller may handle."""

from trainables.errors import InputError as InputError
from trainables.errors import SearchError as SearchError
from trainables.errors import StorageError as StorageError
from trainables.errors import StorageFull as StorageFull
from trainables.errors import UnfitNode as UnfitNode


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


class Unreachable(ClusterError):
    """Nothing answers where a cluster should be; it may do so later."""


class StudyPaused(SearchError):
    """Trials fail one like the other and none has come further; the message says why."""


class NoRoom(SearchError):
    """No node had room for a trial in the time that the study waits; it can be continued."""


class ClusterLost(SearchError):
    """The Ray that a study ran on has gone away; the study can be continued on another."""


class StudyWarning(UserWarning):
    """A study can be run and read as it is, but for what the message says.

    Part of what it searches makes no difference, or figures beside its results are damaged.
    """
