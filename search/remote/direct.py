"""Results read from a cluster's storage without asking the cluster, where that can be reached."""

import os
from collections.abc import Mapping
from typing import Any, final

from search.errors import InputError, SearchError
from search.loading import load
from search.points import Point
from trainables.retrying import within
from trainables.uri_keys import check_no_key

READ_SECONDS = 20.0
"""So long a study may take to be read before the cluster is asked: it is nearer to its storage."""


@final
class Direct:
    """Reads studies from where this machine stands; gives up a storage that does not answer."""

    def __init__(self) -> None:
        self._is_given_up = False

    def best(self, folder: str, policy: Mapping[str, Any]) -> Point | None:
        """Return the best point of a study; None if it cannot be read from here.

        Raises:
            NoCandidate: If no trial has a point.
            InputError: If the policy cannot be.
        """
        if self._is_given_up:
            return None
        try:
            result = within(READ_SECONDS, lambda: load(folder))
        except TimeoutError:
            self._is_given_up = True
            return None
        except SearchError:
            return None
        return result.best(**policy)


def checked_storage(storage: str | None) -> str:
    """Return a storage as it is named to others, empty for none.

    Raises:
        InputError: If it is no place, or has a secret in it.
    """
    if storage is None:
        return ""
    if not isinstance(storage, str):
        raise InputError(f"storage needs a URI or a path as text, got {storage!r}")
    check_no_key("storage", storage)
    return storage if "://" in storage else os.path.abspath(os.path.expanduser(storage))
