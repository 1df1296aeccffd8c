"""How a process becomes the only writer of a study: never two in one generation."""

import random
from collections.abc import Callable, Container
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import NoReturn

from search.errors import StorageError, StudyLocked
from search.lease import (
    TOKEN_LETTERS,
    Found,
    Pace,
    Sign,
    Standing,
    claim_path,
    encode_sign,
    look,
    sign_path,
)
from search.wording import duration
from trainables.record import seal
from trainables.store import Store

TRIES = 12
"""How often claims of several processes at the same moment are tried again."""
LOOKS_PER_BEAT = 4
"""While a holder is watched."""
PAUSE_SECONDS = 0.2
"""After a claim that met another one, on average and at first; it grows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """A generation that nobody else has, and the sign under which it is held."""

    generation: int
    sign: Sign
    began: float
    """When the sign was written, by ``Pace.uptime``, or a little earlier."""


class Claimant:
    """One process that wants to run a study.

    The protocol needs no more of a storage than objects that appear whole and listings that
    show what was written before: no lock, no conditional write. A claimant looks who holds the
    study; writes its own sign under a name of its own; looks again; and goes on only if nothing
    has changed but for its own sign. Of two that did so, the one that wrote second has seen the
    sign of the other. Who goes back deletes its own sign and begins anew under another name,
    so that nothing is ever overwritten, also by who wakes up late.

    Args:
        store: The study's folder.
        sign: The first sign of this process; each try adds its count to the token.
        pace: Clocks.
        patience: Seconds to wait for a lease to run out instead of refusing.
        locked: Returns the note of another process that holds the study's lock, if one does;
            None if this process holds it or there are no locks.
        here: The tokens under which this very process holds a study, or is about to.
    """

    def __init__(
        self,
        store: Store,
        sign: Sign,
        pace: Pace,
        *,
        patience: float = 0.0,
        locked: Callable[[], Found | None] = lambda: None,
        here: Container[str] = frozenset(),
    ) -> None:
        self._store = store
        self._sign = sign
        self._pace = pace
        self._until = pace.uptime() + patience
        self._locked = locked
        self._here = here
        self._seen: dict[str, tuple[bytes, float, float]] = {}

    def claim(self) -> Claimed:
        """Return a generation of one's own.

        Raises:
            StudyLocked: If somebody else holds the study, or may do so.
            StorageError: If the storage refuses.
        """
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
        for _ in range(10**9):
            standing = look(self._store)
            holders = [found for found in standing.signs if found.may_live(self._here)]
            holders += self._lock_of_none_of(standing)
            if all(self._is_quiet(found, standing) for found in holders):
                return standing
            beats += [found.sign.beat_seconds for found in holders if found.sign]
            self._pace.sleep(min(beats) / LOOKS_PER_BEAT)
        raise AssertionError("a lease runs out")

    def _lock_of_none_of(self, standing: Standing) -> list[Found]:
        """Return the note in the lock, if another process holds it that has given no sign yet.

        The lock of one that has given signs means nothing: a stopped process keeps it.
        """
        note = self._locked()
        if note is None or (note.sign and note.sign.token[:TOKEN_LETTERS] in standing.tokens):
            return []
        return [note]

    def _is_quiet(self, found: Found, standing: Standing) -> bool:
        """Tell whether a holder has been watched for long enough and did not move.

        Raises:
            StudyLocked: If it has, or if it may well be alive and there is no patience.
        """
        now = self._pace.uptime()
        wall = self._pace.wall()
        data, since, needed = self._seen.setdefault(
            found.path, (found.data, now, found.seconds_to_watch(wall))
        )
        is_claiming = found.generation > standing.claimed
        if data != found.data and not is_claiming:
            self._refuse(found)
        if found.generation == 0 and found.sign is None:
            self._refuse(found)  # the lock of an older version, which gives no signs
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
