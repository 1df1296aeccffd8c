"""Every order in which the steps of several claimants can come: never two owners."""

import random
from collections.abc import Iterator
from typing import Any

import pytest

from search.errors import StudyLocked
from search.record.heartbeat import Pace, Sign, Whereabouts
from search.record.ownership import Claimant
from tests.support.clocks import FakeClock
from trainables.storage.store import Store

Objects = dict[str, bytes]
Call = tuple[str, str, bytes]
HELD_BY_NOBODY: Objects = {"owner/000001.json": b"a copy's"}


class NextCall(Exception):
    """The claimant wants something of the storage that it has not been told yet."""


class WentBack(Exception):
    """The claimant has paused often enough."""


class Told(Store):
    """A remote storage that answers the first calls as it did before, and stops at the next."""

    def __init__(self, answers: tuple[Any, ...]) -> None:
        self._answers = iter(answers)
        self.uri = "memory://study"
        self._next: NextCall | None = None

    def _ask(self, verb: str, path: str, data: bytes = b"") -> Any:
        for answer in self._answers:
            if isinstance(answer, Exception):
                raise answer
            return answer
        self._next = self._next or NextCall(verb, path, data)  # what cleans up asks for more
        raise self._next

    def put(self, path: str, data: bytes) -> None:
        self._ask("put", path, data)

    def put_new(self, path: str, data: bytes) -> bool:  # as `trainables.storage.remote` does it
        if self._ask("exists", path):
            return False
        self.put(path, data)
        return bool(self.get(path) == data)

    def get(self, path: str) -> bytes:
        found: bytes = self._ask("get", path)
        return found

    def list(self, prefix: str = "") -> list[str]:
        return [] if prefix == "log" else list(self._ask("list", prefix))

    def delete(self, path: str) -> None:
        self._ask("delete", path)


def carry_out(call: Call, objects: Objects) -> Any:
    """Return the answer of a storage that shows at once what was written."""
    verb, path, data = call
    if verb == "put":
        objects[path] = data
    elif verb == "delete":
        objects.pop(path, None)
    elif verb == "exists":
        return path in objects
    elif verb == "get":
        return objects.get(path, FileNotFoundError(path))
    else:
        return tuple(sorted(name for name in objects if name.startswith(f"{path}/")))
    return None


def sign_of(place: int, at: float) -> Sign:
    who = Whereabouts(
        pid=place, host=f"h{place}", machine=f"m{place}", namespace="n", began="1", job=""
    )
    return Sign(
        token=f"{place:016x}00", who=who, since="now", at=at, beat_seconds=5, lease_seconds=30
    )


def go_on(place: int, answers: tuple[Any, ...], *, is_hasty: bool, pauses: int) -> Any:
    """Return a claimant's next call, or its generation, or None if it gave up.

    A hasty one believes that all others have been silent for an hour.
    """
    clock = FakeClock()

    def pause(seconds: float) -> None:
        clock.sleep(100.0 if is_hasty else seconds)
        if len(clock.slept) > pauses + is_hasty:
            raise WentBack

    at = 3600.0 if is_hasty else 0.0
    pace = Pace(wall=lambda: at, uptime=clock.uptime, sleep=pause)
    claimant = Claimant(Told(answers), sign_of(place, at), pace)
    try:
        return claimant.claim().generation
    except NextCall as call:
        return call.args
    except (WentBack, StudyLocked):
        return None


def outcomes(count: int, *, hasty: int = 0, pauses: int = 0) -> Iterator[tuple[Any, ...]]:
    """Yield what can have become of all claimants, over every order of their steps.

    Stops of a claimant at any place are among them: as orders in which it goes on at the end.
    """
    begin = (tuple(HELD_BY_NOBODY.items()), ((),) * count)
    seen = {begin}
    todo = [begin]
    while todo:
        stored, told = todo.pop()
        nexts = [
            go_on(n, answers, is_hasty=n < hasty, pauses=pauses) for n, answers in enumerate(told)
        ]
        calls = [(n, call) for n, call in enumerate(nexts) if isinstance(call, tuple)]
        yield tuple(None if isinstance(one, tuple) else one for one in nexts)
        for place, call in calls:
            objects = dict(stored)
            answers = (*told[place], carry_out(call, objects))
            after = (
                tuple(sorted(objects.items())),
                (*told[:place], answers, *told[place + 1 :]),
            )
            if after not in seen:
                seen.add(after)
                todo.append(after)


def num_owners(won: tuple[Any, ...]) -> int:
    return sum(generation is not None for generation in won)


def has_shared(won: tuple[Any, ...]) -> bool:
    generations = [generation for generation in won if generation is not None]
    return len(set(generations)) < len(generations)


@pytest.mark.parametrize(
    ("count", "pauses"),
    [
        pytest.param(2, 0, id="two"),
        pytest.param(2, 1, id="two_that_try_again"),
        pytest.param(3, 0, id="three", marks=pytest.mark.slow),
    ],
)
def test_of_claimants_at_the_same_moment_at_most_one_wins_in_any_order(
    count: int, pauses: int
) -> None:
    assert max(map(num_owners, outcomes(count, pauses=pauses))) == 1


@pytest.mark.parametrize(
    "pauses", [0, pytest.param(1, id="that_try_again", marks=pytest.mark.slow)]
)
def test_who_succeeds_a_silent_claimant_never_shares_its_generation(pauses: int) -> None:
    ends = list(outcomes(2, hasty=1, pauses=pauses))

    assert not any(map(has_shared, ends))
    assert max(map(num_owners, ends)) == 2  # one of them finds out at its first decision


@pytest.mark.parametrize("hasty", [0, 1])
def test_a_claim_without_a_second_look_is_found_out(
    hasty: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Claimant, "_is_unchanged", lambda self, before, mine: True)

    assert any(has_shared(won) for won in outcomes(2, hasty=hasty))


@pytest.mark.parametrize("count", [2, 4])
def test_of_claimants_at_the_same_moment_one_wins(count: int) -> None:
    for seed in range(20):
        draw = random.Random(seed)
        objects = dict(HELD_BY_NOBODY)
        told: list[tuple[Any, ...]] = [()] * count
        nexts: dict[int, Any] = dict.fromkeys(range(count))
        while open_ones := [n for n, one in nexts.items() if isinstance(one, tuple | None)]:
            place = draw.choice(open_ones)
            if nexts[place] is not None:
                told[place] += (carry_out(nexts[place], objects),)
            nexts[place] = go_on(place, told[place], is_hasty=False, pauses=10**6) or False

        assert sorted(nexts.values())[-2:] == [False, 2]
        assert "owner/000002.json" in objects
        assert len([name for name in objects if name.startswith("lease/")]) == 1
