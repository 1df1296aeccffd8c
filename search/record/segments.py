"""The log's objects: segments of decisions, one after the other, and packs of many segments."""

import re
from collections.abc import Iterator, Sequence

from search.record.decisions import Decision, Opened, decision_from_json, decision_to_json
from trainables.errors import InputError
from trainables.storage.sealed import DamagedRecord, records, seal, unseal
from trainables.storage.store import Store

FOLDER = "log"
PACK_SIZE = 500
"""Segments in one pack; a study of 10,000 trials then has some 60 packs and not 30,000 objects."""

_NAME = re.compile(rf"{FOLDER}/(\d{{6,}})-(\d{{6,}})(?:-(\d{{6,}}))?\.json")

Segment = tuple[Decision, ...]
"""The decisions that became true at the same moment."""

_Names = dict[int, dict[int, str]]
_LARGEST_PACK = 10_000


class Moved(DamagedRecord):
    """Something is missing that a writer may have folded away while it was looked for.

    A reader looks again; what is still missing then has been lost.
    """


def segment_path(generation: int, sequence: int) -> str:
    """Return the name of one segment; sequences count from 0 in each generation."""
    return f"{FOLDER}/{generation:06d}-{sequence:06d}.json"


def pack_path(generation: int, first: int, last: int) -> str:
    """Return the name of the pack of the segments ``first`` to ``last`` (inclusive)."""
    return f"{FOLDER}/{generation:06d}-{first:06d}-{last:06d}.json"


def encode_segment(generation: int, sequence: int, decisions: Sequence[Decision]) -> bytes:
    """Return the object of one segment."""
    return seal("segment", _body(generation, sequence, [decisions]))


def has_log(store: Store) -> bool:
    """Tell whether a folder holds segments of a study's log."""
    return any(_NAME.fullmatch(path) for path in store.list(FOLDER))


class SegmentFiles:
    """Reads the log of a study and packs it; remembers what it has read, as that never changes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[tuple[int, int], Segment] = {}
        self._packed: dict[int, int] = {}
        """Of each generation: how many segments this process has packed, to the last deletion."""
        self.lengths: dict[int, int] = {}
        """Of each generation that counts: how many of its segments do, as of the last `read`."""

    def read(self) -> Iterator[tuple[int, Segment]]:
        """Return the segments that count, oldest first, each with its generation.

        What an older generation wrote after a newer one had taken over does not count.

        Raises:
            Moved: If a segment is missing that must be there.
            DamagedRecord: If one is not what was written, or a file is none of the log's.
        """
        names = self._names()
        if not names:
            self.lengths = {}
            return iter(())
        newest = max(names)
        (opened, *_) = self._segment(names, newest, 0)
        if not isinstance(opened, Opened):
            raise DamagedRecord(f"{names[newest][0]} needs to begin with 'opened'")
        self.lengths = dict(opened.previous) | {newest: max(names[newest]) + 1}
        places = [(g, seq) for g in sorted(self.lengths) for seq in range(self.lengths[g])]
        segments = [(g, self._segment(names, g, sequence)) for g, sequence in places]
        return iter(segments)

    def check_length(self, generation: int, length: int) -> None:
        """Make sure that the last `read` found at least so many segments of a generation.

        Raises:
            Moved: If it did not.
        """
        if self.lengths.get(generation, 0) < length:
            raise Moved(
                f"{segment_path(generation, length - 1)} is missing; restore it from a copy"
            )

    def add(self, generation: int, sequence: int, segment: Segment) -> None:
        """Remember a segment that this process wrote."""
        self._known[generation, sequence] = segment
        self.lengths[generation] = sequence + 1

    def pack(self, generation: int, *, whole: bool, by: int) -> None:
        """Put single segments of a generation into packs, then delete them; safe to interrupt.

        Also safe if this process has been succeeded and does not know it yet: it deletes
        nothing of a newer generation, and what it puts is what anybody would.

        Args:
            generation: One whose segments have been read or added.
            whole: Whether to pack what is less than a full pack, too: for a generation that
                is over.
            by: The generation of this process.
        """
        length = self.lengths[generation]
        packed = self._packed.get(generation)
        if packed is not None and length - packed < (1 if whole else PACK_SIZE):
            return
        paths = self._names().get(generation, {})
        singles = {s: p for s, p in paths.items() if p == segment_path(generation, s)}
        for first in range(0, length, PACK_SIZE):
            last = min(first + PACK_SIZE, length) - 1
            if last - first + 1 < PACK_SIZE and not whole:
                break
            if any(sequence in singles for sequence in range(first, last + 1)):
                decisions = [self._known[generation, s] for s in range(first, last + 1)]
                body = _body(generation, first, decisions)
                self._store.put(pack_path(generation, first, last), seal("segment", body))
        for path in self._covered(by):
            self._store.delete(path)
        self._packed[generation] = length if whole else length - length % PACK_SIZE

    def _names(self) -> _Names:
        """Return where each (generation, sequence) is to be read; packs go before singles."""
        return _places(records(self._store, FOLDER))

    def _covered(self, newest: int) -> list[str]:
        """Return the objects up to a generation of which all is in others."""
        # One listing: in a second one there may be what the first did not have.
        listed = records(self._store, FOLDER)
        used = {path for known in _places(listed).values() for path in known.values()}
        return [path for path in listed if path not in used and _parse(path)[0] <= newest]

    def _segment(
        self, names: dict[int, dict[int, str]], generation: int, sequence: int
    ) -> Segment:
        key = (generation, sequence)
        if key not in self._known:
            path = names.get(generation, {}).get(sequence)
            if path is None:
                raise Moved(
                    f"{segment_path(generation, sequence)} is missing; restore it from a copy"
                )
            self._load(path)
        return self._known[key]

    def _load(self, path: str) -> None:
        generation, first, last = _parse(path)
        try:
            body = unseal("segment", self._store.get(path), path)
        except FileNotFoundError:
            raise Moved(f"{path} is missing; restore it from a copy") from None
        try:
            found = [tuple(map(decision_from_json, segment)) for segment in body["segments"]]
            if (body["generation"], body["first"]) != (generation, first):
                raise InputError(f"it is number {body['first']} of {body['generation']}")
        except (KeyError, TypeError, InputError) as error:
            raise DamagedRecord(f"{path} is no part of this log: {error}") from error
        if len(found) != last - first + 1 or not all(found):
            raise DamagedRecord(f"{path} needs {last - first + 1} segments, got {len(found)}")
        self._known.update({(generation, first + i): s for i, s in enumerate(found)})


def _places(paths: Sequence[str]) -> _Names:
    places: _Names = {}
    for path in paths:
        generation, first, last = _parse(path)
        known = places.setdefault(generation, {})
        for sequence in range(first, last + 1):
            if known.get(sequence, path) == path or last > first:
                known[sequence] = path
    return places


def _body(
    generation: int, first: int, segments: Sequence[Sequence[Decision]]
) -> dict[str, object]:
    return {
        "generation": generation,
        "first": first,
        "segments": [[decision_to_json(d) for d in segment] for segment in segments],
    }


def _parse(path: str) -> tuple[int, int, int]:
    match = _NAME.fullmatch(path)
    if match is None:
        raise DamagedRecord(f"{path} is no segment of this study's log; move it elsewhere")
    generation, first = int(match[1]), int(match[2])
    last = int(match[3]) if match[3] else first
    if not first <= last < first + _LARGEST_PACK:
        raise DamagedRecord(f"{path} is no segment of this study's log; move it elsewhere")
    return generation, first, last
