"""Who may write to a study: one process at a time, each in a generation of its own."""

import os
import secrets
import threading
import weakref
from contextlib import suppress
from types import TracebackType
from typing import final

from search.claiming import Claimant, Claimed
from search.errors import StorageError, StudyLocked
from search.lease import (
    TOKEN_LETTERS,
    Pace,
    Standing,
    encode_sign,
    look,
    new_sign,
    newest_claim,
    newest_generation,
    read_claimant,
    sign_path,
)
from search.lock import StudyLock, look_at_lock
from trainables.store import Store

__all__ = ["Ownership", "Pace", "claim", "hold", "holder", "newest_generation"]

RELEASE_SECONDS = 5.0
"""So long a release waits for the storage; then the lease runs out instead."""

_held: "weakref.WeakSet[Ownership]" = weakref.WeakSet()
_tokens: set[str] = set()
"""Under which this process holds a study, or is about to."""


@final
class Ownership:
    """The right to write to a study, until `release`, the end of a ``with``, or of the process.

    Made by `claim`. While it is held, and anything refers to it, a thread gives signs of life;
    without them another process may take over after a lease.
    """

    def __init__(self, store: Store, claimed: Claimed, lock: StudyLock, pace: Pace) -> None:
        self._store = store
        self._generation = claimed.generation
        self._sign = claimed.sign
        self._lock = lock
        self._pace = pace
        self._is_held = True
        self._is_lost = False
        self._renewed = (claimed.began, claimed.sign.at)
        self.logged = 0
        """Segments that the owner has logged; its signs of life say so."""
        self._over = threading.Event()
        self._thread = threading.Thread(
            target=_beat_on,
            args=(weakref.ref(self), self._over, pace.beat_seconds),
            name="twohead-lease",
            daemon=True,
        )
        _held.add(self)
        weakref.finalize(self, _tokens.discard, claimed.sign.token[:TOKEN_LETTERS])
        self._thread.start()

    @property
    def generation(self) -> int:
        """Counts the owners of this study from 1; part of the name of all that they write."""
        return self._generation

    @property
    def is_lost(self) -> bool:
        """Whether a newer owner has been seen, as far as is known without looking."""
        return self._is_lost

    def check(self) -> None:
        """Make sure that nobody has taken over, by looking.

        Raises:
            StudyLocked: If a newer owner is there, or this one has been released.
            StorageError: If the storage cannot be asked.
        """
        if not self._is_held:
            raise StudyLocked(f"study {self._store.uri!r} was released by this process")
        newest = newest_claim(self._store)
        if newest > self._generation:
            self._is_lost = True
            raise StudyLocked(
                f"study {self._store.uri!r} was taken over by {read_claimant(self._store, newest)}"
                f" (this one is generation {self._generation}): it had shown no sign of life "
                "for too long; nothing acknowledged is lost"
            )

    def ensure(self) -> None:
        """Make sure that nobody can have taken over; looks only if the last sign is not recent.

        For what is not written down, such as letting a trial go on: that is no one else's to
        decide before the lease has run out.

        Raises:
            StudyLocked: If a newer owner is there, or this one has been released.
            StorageError: If the storage had to be asked and cannot be.
        """
        if self._is_lost or not self._is_held or self._idle() > self._pace.lease_seconds / 2:
            self.check()

    def release(self) -> None:
        """Let others claim the study at once; a second call does nothing.

        A storage that does not answer is waited for a few seconds only.
        """
        if not self._is_held:
            return
        self._is_held = False
        self._over.set()
        self._thread.join(RELEASE_SECONDS)
        _tokens.discard(self._sign.token[:TOKEN_LETTERS])
        self._lock.give_back()

    def _idle(self) -> float:
        """Return the seconds since the last sign, by whichever clock says more.

        A clock that counts from the machine's start may miss a pause of a virtual machine.
        """
        uptime, wall = self._renewed
        return max(self._pace.uptime() - uptime, self._pace.wall() - wall)

    def _renew(self, *, is_last: bool = False) -> None:
        """Give a sign of life, unless somebody has taken over or removed the study."""
        newest = newest_claim(self._store)
        self._is_lost = newest > self._generation
        if newest != self._generation:
            return
        uptime, wall = self._pace.uptime(), self._pace.wall()
        self._sign = self._sign.renewed(wall, is_released=is_last, logged=self.logged)
        path = sign_path(self._generation, self._sign.token)
        self._store.put(path, encode_sign(self._sign))
        self._renewed = (uptime, wall)

    def _forget(self) -> None:
        """In a forked child: give the lock's copy back, and know nothing of the study."""
        if self._is_held:
            self._is_held = False
            self._lock.give_back()

    def __enter__(self) -> "Ownership":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


def claim(store: Store, *, patience: float = 0.0, pace: Pace | None = None) -> Ownership:
    """Become the only writer of a study, or say who is.

    The holder gives signs of life (``search.lease``). One whose last sign is recent is left
    alone. One that said to have ended, and one of this machine that has, are succeeded at once;
    one that is silent, such as a stopped process or a lost machine, once its lease has run out.
    An older owner is told at its next decision; what it writes after that is never read.
    A local folder also has a lock, for versions that know no lease.

    Args:
        store: The study's folder; it is created if missing.
        patience: Seconds to wait for a lease to run out; a holder that shows life meanwhile
            ends the waiting.
        pace: How often to show life, and clocks.

    Returns:
        The ownership, with a new generation that is durable before this returns.

    Raises:
        StudyLocked: If another process (or this one) holds the study.
        StorageError: If the storage refuses.
    """
    pace = pace or Pace()
    base = secrets.token_hex(TOKEN_LETTERS // 2)
    sign = new_sign(f"{base}00", pace)
    lock = StudyLock(store, sign, pace)
    _tokens.add(base)
    try:
        claimant = Claimant(
            store,
            sign,
            pace,
            patience=patience,
            locked=lock.take,
            here=_tokens,
        )
        return Ownership(store, claimant.claim(), lock, pace)
    except BaseException:
        _tokens.discard(base)
        lock.give_back()
        raise


def hold(store: Store, *, patience: float = 0.0, pace: Pace | None = None) -> Ownership:
    """Keep others from running a study meanwhile; takes and raises what `claim` does.

    The same as a claim: it uses up a generation, in which nothing is written.
    """
    return claim(store, patience=patience, pace=pace)


def holder(
    store: Store, *, pace: Pace | None = None, standing: Standing | None = None
) -> str | None:
    """Say who runs a study now, for people; None if nobody does, or has shown life lately.

    Args:
        store: The study's folder.
        pace: By which clocks that is judged.
        standing: What `look` has just found there, if it has.

    Raises:
        StorageError: If the storage refuses.
    """
    now = (pace or Pace()).wall()
    note = look_at_lock(store)
    standing = standing or look(store, newest_claim(store))
    for found in standing.signs:
        if found.generation >= standing.claimed and found.is_held(now, _tokens):
            return found.describe(now)
    if note is None or (note.sign and note.sign.token[:TOKEN_LETTERS] in standing.tokens):
        return None
    return note.describe(now) if note.sign is None or note.is_fresh(now) else None


def _beat_on(
    reference: "weakref.ref[Ownership]", over: threading.Event, beat_seconds: float
) -> None:
    """Give signs of life until the ownership is over, lost, or nobody's any more."""
    while not over.wait(beat_seconds):
        ownership = reference()
        if ownership is None or ownership.is_lost:
            return
        with suppress(StorageError):  # the next try may do; `ensure` sees that this one did not
            ownership._renew()
        del ownership
    ownership = reference()
    if ownership is not None and not ownership.is_lost:
        with suppress(StorageError):
            ownership._renew(is_last=True)


def _forget_in_child() -> None:
    """Close what a forked child shares: else the lock would outlive its holder with the child."""
    for ownership in list(_held):
        ownership._forget()
    _tokens.clear()


os.register_at_fork(after_in_child=_forget_in_child)
