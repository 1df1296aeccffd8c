"""Who may write to a study: one process at a time, each in a generation of its own."""

import json
import os
import re
import socket
import time
import weakref
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, final

from search.errors import StudyLocked
from trainables.local import storage_errors
from trainables.local_files import LocalFiles
from trainables.record import DamagedRecord, seal
from trainables.store import Store

LOCK = "owner.lock"
CLAIMS = "owner"
LOCK_TRIES = 5
LOCK_PAUSE_SECONDS = 0.05

_CLAIM = re.compile(rf"{CLAIMS}/(\d{{6,}})\.json")
_SEGMENT = re.compile(r"log/(\d{6,})-[-\d]+\.json")
_held: "weakref.WeakSet[Ownership]" = weakref.WeakSet()


@final
class Ownership:
    """The right to write to a study, until `release`, the end of a ``with``, or of the process.

    Made by `claim`.
    """

    def __init__(self, store: Store, generation: int, handle: int | None) -> None:
        self._store = store
        self._generation = generation
        self._handle = handle
        self._is_held = True
        if handle is not None:
            _held.add(self)

    @property
    def generation(self) -> int:
        """Counts the owners of this study from 1; part of the name of all that they write."""
        return self._generation

    def check(self) -> None:
        """Make sure that nobody has taken over.

        Raises:
            StudyLocked: If a newer owner is there, or this one has been released.
        """
        if not self._is_held:
            raise StudyLocked(f"study {self._store.uri!r} was released by this process")
        if self._store.exists(_claim_path(self._generation + 1)):
            raise StudyLocked(
                f"study {self._store.uri!r} was taken over by another process "
                f"(this one is generation {self._generation})"
            )

    def release(self) -> None:
        """Let others claim the study; a second call does nothing."""
        if self._is_held and self._handle is not None:
            _files(self._store).unlock(self._handle)
        self._is_held = False

    def __enter__(self) -> "Ownership":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


def claim(store: Store) -> Ownership:
    """Become the only writer of a study, or say at once who is.

    On a local path (also NFS) the claim is a ``flock`` on ``owner.lock``: it ends with the
    process however that dies, children do not keep it, and nobody else can hold it meanwhile.
    A remote storage has no lock: there the newest claim wins, an older owner is told at its next
    decision, and what it writes after that is never read; two claims within one round trip can
    still get the same generation, of which the second loses at its first decision.

    Args:
        store: The study's folder; it is created if missing.

    Returns:
        The ownership, with a new generation that is durable before this returns.

    Raises:
        StudyLocked: If another process (or this one) holds the study.
        StorageError: If the storage refuses.
    """
    note = _note()
    handle = _lock(store, note) if store.is_local else None
    try:
        generation = newest_generation(store) + 1
        while not store.put_new(_claim_path(generation), seal("owner", note)):
            generation += 1
    except BaseException:
        if handle is not None:
            _files(store).unlock(handle)
        raise
    return Ownership(store, generation, handle)


def hold(store: Store) -> Ownership:
    """Keep others from running a local study meanwhile, without writing to it.

    A remote storage has no lock: there this does nothing.

    Raises:
        StudyLocked: If another process (or this one) holds the study.
        StorageError: If the storage refuses.
    """
    handle = _lock(store, _note()) if store.is_local else None
    return Ownership(store, 0, handle)


def newest_generation(store: Store) -> int:
    """Return the newest generation that was ever claimed; 0 before the first.

    Raises:
        DamagedRecord: If there is a claim with a name that is none.
    """
    generations = [0]
    for path in store.list(CLAIMS):
        match = _CLAIM.fullmatch(path)
        if match is None and not path.rpartition("/")[2].startswith("."):
            raise DamagedRecord(f"{path} is no claim of this study; move it elsewhere")
        generations.extend([int(match[1])] if match else [])
    # Copies of a study may lack the claims; what the log names has been claimed all the same.
    generations.extend(int(m[1]) for m in map(_SEGMENT.fullmatch, store.list("log")) if m)
    return max(generations)


def holder(store: Store) -> str | None:
    """Say who runs a local study now, for people; None if nobody does.

    A remote study gives None always: nothing there tells whether its newest owner still lives.
    """
    if store.root is None or not store.exists(LOCK):
        return None
    with storage_errors(f"look at {store.uri}/{LOCK}"):
        is_locked = _files(store).is_locked(str(store.root / LOCK))
    return _describe(store) if is_locked else None


def _lock(store: Store, note: dict[str, Any]) -> int:
    store.make()
    for _ in range(LOCK_TRIES):
        with storage_errors(f"lock {store.uri}/{LOCK}"):
            handle = _files(store).lock(f"{store.root}/{LOCK}", json.dumps(note).encode())
        if handle is not None:
            return handle
        time.sleep(LOCK_PAUSE_SECONDS)  # `holder` of another process takes it for a moment
    raise StudyLocked(
        f"study {store.uri!r} is being run by {_describe(store)}; wait for it or stop it"
    )


def _describe(store: Store) -> str:
    """Name the holder of the lock, as well as its note can be read."""
    try:
        note = json.loads(store.get(LOCK))
        return f"process {note['pid']} on {note['host']} since {note['since']}"
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return "another process"


def _note() -> dict[str, Any]:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return {"pid": os.getpid(), "host": socket.gethostname(), "since": since}


def _claim_path(generation: int) -> str:
    return f"{CLAIMS}/{generation:06d}.json"


def _files(store: Store) -> LocalFiles:
    files = store.files
    assert files is not None, "only a local store has a lock"
    return files


def _forget_in_child() -> None:
    """Close what a forked child shares: else the lock would outlive its holder with the child."""
    for ownership in list(_held):
        ownership.release()


os.register_at_fork(after_in_child=_forget_in_child)
