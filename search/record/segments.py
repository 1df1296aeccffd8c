"""The log's objects: segments of decisions, one after the other, and packs of many segments."""

import re
from collections.abc import Iterable, Sequence

from search.record.compaction import Moved, Piece, delete_packed, open_piece
from search.record.decisions import Decision, Opened, decision_from_json, decision_to_json
from trainables.errors import InputError
from trainables.storage.sealed_json import DamagedRecord, records, seal
from trainables.storage.store import Store
from trainables.storage.study_folder import StudyFolder

FOLDER = StudyFolder.LOG
PACK_SIZE = 500
"""Segments in one pack; a study of 10,000 trials then has some 60 packs and not 30,000 objects."""

_NAME = re.compile(rf"{FOLDER}/(\d{{6,}})-(\d{{6,}})(?:-(\d{{6,}}))?\.json")

Segment = tuple[Decision, ...]
"""The decisions that became true at the same moment."""

_Places = dict[int, dict[int, Piece]]
"""By generation and sequence: where it is to be read."""
_LARGEST_PACK = 10_000


def segment_path(generation: int, first: int, last: int | None = None) -> str:
    """Return the name of one segment, or of the pack of those from first to last (inclusive).

    Segments count from 0 in each generation.
    """
    pack = "" if last is None else f"-{last:06d}"
    return f"{FOLDER}/{generation:06d}-{first:06d}{pack}.json"


def encode_segments(generation: int, first: int, segments: Sequence[Sequence[Decision]]) -> bytes:
    """Return the object of one segment, or of the pack of several."""
    decisions = [[decision_to_json(one) for one in segment] for segment in segments]
    return seal("segment", {"generation": generation, "first": first, "segments": decisions})


def has_log(store: Store) -> bool:
    """Tell whether a folder holds segments of a study's log."""
    return any(_NAME.fullmatch(path) for path in store.list(FOLDER))


class SegmentFiles:
    """Reads the log of a study and packs it; remembers what it has read, as that never changes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[tuple[int, int], Segment] = {}
        self._packed: dict[int, int] = {}
        """Of each generation: how many segments this process has packed."""
        self.lengths: dict[int, int] = {}
        """Of each generation that counts: how many of its segments do, as of the last `read`."""

    def read(self) -> list[tuple[int, Segment]]:
        """Return the segments that count, oldest first, each with its generation.

        What an older generation wrote after a newer one had taken over does not count. `Moved` if
        a segment is missing that must be there.
        """
        places = _places(self._pieces())
        if not places:
            self.lengths = {}
            return []
        newest = max(places)
        (opened, *_) = self._segment(places, newest, 0)
        if not isinstance(opened, Opened):
            raise DamagedRecord(f"{places[newest][0].path} needs to begin with 'opened'")
        self.lengths = dict(opened.previous) | {newest: max(places[newest]) + 1}
        counted = [(g, seq) for g in sorted(self.lengths) for seq in range(self.lengths[g])]
        return [(g, self._segment(places, g, sequence)) for g, sequence in counted]

    def add(self, generation: int, sequence: int, segment: Segment) -> None:
        """Remember a segment that this process wrote."""
        self._known[generation, sequence] = segment
        self.lengths[generation] = sequence + 1

    def pack(self, generation: int, *, whole: bool, by: int) -> None:
        """Put single segments of a generation into packs, then delete them; safe to interrupt.

        Also safe if this process, of the generation ``by``, has been succeeded and does not know
        it yet: it deletes nothing but what it has put into a pack, which is what anybody would put
        there. ``whole`` packs what is less than a full pack, too, of a generation that is over.
        """
        length = self.lengths[generation]
        done = self._packed.get(generation)
        if done is not None and length - done < (1 if whole else PACK_SIZE):
            return
        pieces = [one for one in self._pieces() if one.generation == generation]
        end = length if whole else length - length % PACK_SIZE
        for first in range(0, end, PACK_SIZE):
            last = min(first + PACK_SIZE, end) - 1
            path = segment_path(generation, first, last)
            inside = [one for one in pieces if first <= one.first and one.last <= last]
            if any(one.path != path for one in inside):
                segments = [self._known[generation, seq] for seq in range(first, last + 1)]
                self._store.put(path, encode_segments(generation, first, segments))
                delete_packed(self._store, inside, by, path)
        self._packed[generation] = end

    def _pieces(self) -> list[Piece]:
        return [_parse(path) for path in records(self._store, FOLDER)]

    def _segment(self, places: _Places, generation: int, sequence: int) -> Segment:
        key = (generation, sequence)
        if key not in self._known:
            piece = places.get(generation, {}).get(sequence)
            if piece is None:
                raise Moved.of(segment_path(generation, sequence))
            self._load(piece)
        return self._known[key]

    def _load(self, piece: Piece) -> None:
        path, generation, first, last = piece
        body = open_piece(self._store, "segment", path)
        try:
            found = [tuple(map(decision_from_json, segment)) for segment in body["segments"]]
            if (body["generation"], body["first"]) != (generation, first):
                raise InputError(f"it is number {body['first']} of {body['generation']}")
        except (KeyError, TypeError, InputError) as error:
            raise DamagedRecord(f"{path} is no part of this log: {error}") from error
        if len(found) != last - first + 1 or not all(found):
            raise DamagedRecord(f"{path} needs {last - first + 1} segments, got {len(found)}")
        self._known.update({(generation, first + i): s for i, s in enumerate(found)})


def _places(pieces: Iterable[Piece]) -> _Places:
    """Return where each segment is to be read; packs go before single ones."""
    places: _Places = {}
    for piece in sorted(pieces, key=lambda one: one.last - one.first):
        known = places.setdefault(piece.generation, {})
        known.update(dict.fromkeys(range(piece.first, piece.last + 1), piece))
    return places


def _parse(path: str) -> Piece:
    match = _NAME.fullmatch(path)
    if match is not None:
        generation, first = int(match[1]), int(match[2])
        last = int(match[3]) if match[3] else first
        if first <= last < first + _LARGEST_PACK:
            return Piece(path, generation, first, last)
    raise DamagedRecord(f"{path} is no segment of this study's log; move it elsewhere")
