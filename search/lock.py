"""The lock of a local study, which ends with the process that has it."""

import json
from typing import final

from search.lease import Found, Pace, Sign, read_note
from trainables.local import storage_errors
from trainables.local_files import LocalFiles
from trainables.store import Store

LOCK = "owner.lock"
LOCK_TRIES = 5
LOCK_PAUSE_SECONDS = 0.05


@final
class StudyLock:
    """The lock of a local study: enough between processes of versions without a lease.

    It ends with the process however that dies, and children do not keep it. A stopped process
    keeps it, too, so it is not what decides (`search.claiming`).
    """

    def __init__(self, store: Store, sign: Sign, pace: Pace) -> None:
        self._store = store
        self._sleep = pace.sleep
        self._note = json.dumps(sign.to_dict()).encode()
        self._tries = LOCK_TRIES
        self._handle: int | None = None

    def take(self) -> Found | None:
        """Take the lock if that can be; return the note of another process that has it."""
        if not self._store.is_local or self._handle is not None:
            return None
        self._store.make()
        for _ in range(self._tries):
            with storage_errors(f"lock {self._store.uri}/{LOCK}"):
                self._handle = _files(self._store).lock(f"{self._store.root}/{LOCK}", self._note)
            if self._handle is not None:
                return None
            self._sleep(LOCK_PAUSE_SECONDS)  # who only looks takes it for a moment
        self._tries = 1
        return _note(self._store)

    def give_back(self) -> None:
        """Let others have it; a second call does nothing."""
        handle, self._handle = self._handle, None
        if handle is not None:
            _files(self._store).unlock(handle)


def look_at_lock(store: Store) -> Found | None:
    """Return the note of who has the lock of a study; None if nobody has."""
    if store.root is None or not store.exists(LOCK):
        return None
    with storage_errors(f"look at {store.uri}/{LOCK}"):
        is_locked = _files(store).is_locked(str(store.root / LOCK))
    return _note(store) if is_locked else None


def _note(store: Store) -> Found:
    try:
        data = store.get(LOCK)
    except FileNotFoundError:
        data = b""
    return read_note(data, LOCK)


def _files(store: Store) -> LocalFiles:
    files = store.files
    assert files is not None, "only a local store has a lock"
    return files
