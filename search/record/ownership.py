"""Who may write to a study: one process at a time, each in a generation of its own."""

import os
import random
import secrets
import threading
import weakref
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from typing import NoReturn, final

from search.errors import StorageError, StudyLocked
from search.record.heartbeat import (
    TOKEN_LETTERS,
    Found,
    Pace,
    Sign,
    Standing,
    claim_path,
    encode_sign,
    look,
    new_sign,
    newest_claim,
    read_claimant,
    sign_path,
)
from search.text import duration
from trainables.storage.sealed_json import seal
from trainables.storage.store import Store

RELEASE_SECONDS = 5.0
"""So long a release waits for the storage; then the lease runs out instead."""
TRIES = 12
"""How often claims of several processes at the same moment are tried again."""
LOOKS_PER_BEAT = 4
"""While a holder is watched."""
PAUSE_SECONDS = 0.2
"""After a claim that met another one, on average and at first; it grows."""

_held: "weakref.WeakSet[Ownership]" = weakref.WeakSet()
_tokens: set[str] = set()
"""Under which this process holds a study, or is about to."""


def claim(store: Store, *, patience: float = 0.0, pace: Pace | None = None) -> "Ownership":
    """Become the only writer of a study, or say who is.

    The holder gives signs of life (``search.record.heartbeat``). One whose last sign is recent is
    left alone. One that said to have ended, and one of this machine that has, are succeeded at
    once; one that is silent, such as a stopped process or a lost machine, once its lease has run
    out. An older owner is told at its next decision; what it writes after that is never read.

    The study's folder is created if missing. ``patience`` are the seconds to wait for a lease to
    run out; a holder that shows life meanwhile ends the waiting. `StudyLocked` if another process,
    or this one, holds the study.
    """
    pace = pace or Pace()
    base = secrets.token_hex(TOKEN_LETTERS // 2)
    _tokens.add(base)
    try:
        sign = new_sign(f"{base}00", pace)
        claimed = Claimant(store, sign, pace, patience=patience).claim()
        return Ownership(store, claimed, pace)
    except BaseException:
        _tokens.discard(base)
        raise


def holder(
    store: Store, *, pace: Pace | None = None, standing: Standing | None = None
) -> str | None:
    """Say who runs a study now, for people; None if nobody does, or has shown life lately.

    ``standing`` is what `look` has just found there, if it has.
    """
    now = (pace or Pace()).wall()
    standing = standing or look(store, newest_claim(store))
    for found in standing.signs:
        is_newest = found.generation >= standing.claimed
        if is_newest and found.is_fresh(now) and found.may_live(_tokens):
            return found.describe(now)
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """A generation that nobody else has, and the sign under which it is held."""

    generation: int
    sign: Sign
    began: float
    """When the sign was written, by ``Pace.uptime``, or a little earlier."""


@final
class Ownership(AbstractContextManager["Ownership"]):
    """The right to write to a study, until `release`, the end of a ``with``, or of the process.

    Made by `claim`. While it is held, and anything refers to it, a thread gives signs of life;
    without them another process may take over after a lease.
    """

    def __init__(self, store: Store, claimed: Claimed, pace: Pace) -> None:
        self._store = store
        self.generation = claimed.generation
        """Counts the owners of this study from 1; part of the name of all that they write."""
        self.is_lost = False
        """Whether a newer owner has been seen, as far as is known without looking."""
        self.logged = 0
        """Segments that the owner has logged; its signs of life say so."""
        self._sign = claimed.sign
        self._pace = pace
        self._is_held = True
        self._renewed = (claimed.began, claimed.sign.at)
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

    def check(self) -> None:
        """Raise `StudyLocked` if a newer owner is there, or this one has been released."""
        if not self._is_held:
            raise StudyLocked(f"study {self._store.uri!r} was released by this process")
        newest = newest_claim(self._store)
        if newest > self.generation:
            self.is_lost = True
            raise StudyLocked(
                f"study {self._store.uri!r} was taken over by {read_claimant(self._store, newest)}"
                f" (this one is generation {self.generation}): it had shown no sign of life "
                "for too long; nothing acknowledged is lost"
            )

    def ensure(self) -> None:
        """Make sure that nobody can have taken over; looks only if the last sign is not recent.

        For what is not written down, such as letting a trial go on: that is no one else's to
        decide before the lease has run out.
        """
        uptime, wall = self._renewed
        # A clock that counts from the machine's start may miss a pause of a virtual machine.
        idle = max(self._pace.uptime() - uptime, self._pace.wall() - wall)
        if self.is_lost or not self._is_held or idle > self._pace.lease_seconds / 2:
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

    def _renew(self, *, is_last: bool = False) -> None:
        """Give a sign of life, unless somebody has taken over or removed the study."""
        newest = newest_claim(self._store)
        self.is_lost = newest > self.generation
        if newest != self.generation:
            return
        uptime, wall = self._pace.uptime(), self._pace.wall()
        self._sign = self._sign.renewed(wall, is_released=is_last, logged=self.logged)
        path = sign_path(self.generation, self._sign.token)
        self._store.put(path, encode_sign(self._sign))
        self._renewed = (uptime, wall)

    def __exit__(self, *details: object) -> None:
        self.release()


@final
class Claimant:
    """One process that wants to run a study.

    The protocol needs no more of a storage than objects that appear whole and listings that
    show what was written before: no lock, no conditional write. A claimant looks who holds the
    study; writes its own sign under a name of its own; looks again; and goes on only if nothing
    has changed but for its own sign. Of two that did so, the one that wrote second has seen the
    sign of the other. Who goes back deletes its own sign and begins anew under another name,
    so that nothing is ever overwritten, also by who wakes up late.
    """

    def __init__(self, store: Store, sign: Sign, pace: Pace, *, patience: float = 0.0) -> None:
        self._store = store
        self._sign = sign
        self._pace = pace
        self._until = pace.uptime() + patience
        self._seen: dict[str, tuple[bytes, float, float]] = {}

    def claim(self) -> Claimed:
        """Return a generation of one's own; `StudyLocked` if somebody else may hold the study."""
        for turn in range(TRIES):
            claimed = self._try(self._wait_until_free(), turn)
            if claimed is not None:
                return claimed
            self._pace.sleep(PAUSE_SECONDS * (1 + turn) * 2 * random.random())
        raise StudyLocked(
            f"study {self._store.uri!r} is being claimed by other processes at the same moment; "
            "try again"
        )

    def _try(self, before: Standing, turn: int) -> Claimed | None:
        """Claim the next generation; None if anybody else was there meanwhile."""
        generation = before.newest + 1
        began = self._pace.uptime()
        token = f"{self._sign.token[:TOKEN_LETTERS]}{turn:02x}"
        sign = replace(self._sign, token=token, at=self._pace.wall())
        mine = sign_path(generation, token)
        is_mine = False
        try:
            self._store.put(mine, encode_sign(sign))
            if self._is_unchanged(before, mine):
                note = {"pid": sign.who.pid, "host": sign.who.host, "since": sign.since}
                is_mine = self._store.put_new(claim_path(generation), seal("owner", note))
        finally:
            if not is_mine:
                with suppress(StorageError):  # left there, it keeps others off for a lease
                    self._store.delete(mine)
        return Claimed(generation=generation, sign=sign, began=began) if is_mine else None

    def _is_unchanged(self, before: Standing, mine: str) -> bool:
        """Tell whether nobody has come, or shown life, but for one's own sign."""
        after = look(self._store)
        others = tuple(found for found in after.signs if found.path != mine)
        return (after.claimed, others) == (before.claimed, before.signs)

    def _wait_until_free(self) -> Standing:
        """Return how things stand once nobody who holds the study can be alive."""
        beats = [self._pace.beat_seconds]
        while True:  # ends, as a lease runs out
            standing = look(self._store)
            holders = [found for found in standing.signs if found.may_live(_tokens)]
            if all(self._is_quiet(found, standing) for found in holders):
                return standing
            beats += [found.sign.beat_seconds for found in holders if found.sign]
            self._pace.sleep(min(beats) / LOOKS_PER_BEAT)

    def _is_quiet(self, found: Found, standing: Standing) -> bool:
        """Tell whether a holder has been watched for long enough and did not move.

        `StudyLocked` if it has, or if it may well be alive and there is no patience.
        """
        now = self._pace.uptime()
        wall = self._pace.wall()
        data, since, needed = self._seen.setdefault(
            found.path, (found.data, now, found.seconds_to_watch(wall))
        )
        is_claiming = found.generation > standing.claimed
        if data != found.data and not is_claiming:
            self._refuse(found)
        is_out_of_patience = found.is_fresh(wall) and now >= self._until
        # Who is about to claim may yet go back: a moment tells.
        if is_out_of_patience and (not is_claiming or now - since > self._pace.beat_seconds):
            self._refuse(found)
        return now - since >= needed

    def _refuse(self, found: Found) -> NoReturn:
        wall = self._pace.wall()
        advice = "wait for it or stop it"
        if found.is_fresh(wall) and found.sign:
            left = found.seconds_to_watch(wall)
            advice += f"; if it is dead, the study can be had in {duration(left)}"
        raise StudyLocked(
            f"study {self._store.uri!r} is being run by {found.describe(wall)}; {advice}"
        )


def _beat_on(
    reference: "weakref.ref[Ownership]", over: threading.Event, beat_seconds: float
) -> None:
    """Give signs of life until the ownership is over, lost, or nobody's any more."""
    is_last = False
    while not is_last:
        is_last = over.wait(beat_seconds)
        ownership = reference()
        if ownership is None or ownership.is_lost:
            return
        with suppress(StorageError):  # the next try may do; `ensure` sees that this one did not
            ownership._renew(is_last=is_last)
        del ownership


def _forget_in_child() -> None:
    """In a forked child, which shows no life: know nothing of what its parent holds."""
    for ownership in list(_held):
        ownership._is_held = False
    _tokens.clear()


os.register_at_fork(after_in_child=_forget_in_child)
