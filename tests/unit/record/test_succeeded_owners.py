"""What an owner does that does not know yet that it has been succeeded: harmless, all of it."""

from collections.abc import Callable, Iterable, Iterator

import pytest
from msgspec.structs import replace

import search.record.epochs
from search.errors import SearchError, StudyLocked
from search.record.compaction import Piece, delete_packed
from search.record.ownership import Ownership
from tests.support.clocks import an_hour_later
from tests.support.faulty_files import MemoryFiles, empty_disk
from tests.support.scripted_study import Player, measured
from tests.unit.record.test_crash_points import check_acknowledged, check_finished
from trainables.storage.store import Store
from trainables.trial.measurement import write

pytestmark = pytest.mark.usefixtures("small_packs")


class Stalled(Player):
    """Stands still before one of its calls, while another owner brings the study to its end.

    Only calls that it makes as the owner count.
    """

    def __init__(self, stop: int) -> None:
        super().__init__(MemoryFiles(empty_disk()))
        self.steps = 0
        self.stop = stop
        self.has_been_succeeded = False
        self.files.watch = lambda operation: self.step()
        self.files.before_scan = self.step

    def step(self) -> None:
        if not self.is_owner:
            return
        if self.steps == self.stop:
            self.has_been_succeeded = True
            self.in_time = len(self.acknowledged.measurements)
            self.steps += 1
            Player(MemoryFiles(self.files.disk), an_hour_later()).finish()
        self.steps += 1

    def second_owner(self) -> None:
        if not self.has_been_succeeded:
            super().second_owner()

    def measure(self, number: int, attempt: int, epochs: range, generation: int) -> None:
        if not self.has_been_succeeded:
            super().measure(number, attempt, epochs, generation)
            epochs = range(0)
        if self.has_been_succeeded:  # nobody is told of what is measured too late
            del self.acknowledged.measurements[self.in_time :]
        for epoch in epochs:
            write(self.store(), replace(measured(number, attempt, epoch, generation), loss=99.0))


def play_to_the_end(stop: int) -> Stalled:
    """Let an owner stall, and wake up and go on until it is told; check what is there then."""
    player = Stalled(stop)
    try:
        player.play()
    except StudyLocked:
        assert player.has_been_succeeded
    if player.has_been_succeeded:
        left = MemoryFiles(player.files.disk)
        check_finished(left)
        check_acknowledged(left, player.acknowledged, is_over=True)
    return player


def failures(stops: range) -> Iterator[str]:
    for stop in stops:
        try:
            play_to_the_end(stop)
        except (AssertionError, SearchError, KeyError) as error:
            yield f"at step {stop}: {error!r}"


def num_steps() -> int:
    return play_to_the_end(-1).steps


@pytest.mark.slow
def test_an_owner_that_stalls_anywhere_and_wakes_up_late_does_no_harm() -> None:
    steps = num_steps()

    assert list(failures(range(steps))) == []
    assert steps >= 400


def unmarked(name: str, generation: int) -> str:
    return f"trials/{name}.json"


def deleting_all(store: Store, pieces: Iterable[Piece], by: int, pack: str = "") -> list[str]:
    return delete_packed(store, pieces, 10**6, pack)


SABOTAGE = [
    pytest.param(
        search.record.epochs, "_folded_path", unmarked, id="folds_carry_their_generation"
    ),
    pytest.param(search.record.epochs, "delete_packed", deleting_all, id="newer_ones_stay"),
    pytest.param(Ownership, "check", lambda self: None, id="check_after_writing"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("owner", "name", "instead"), SABOTAGE)
def test_a_missing_precaution_does_harm(
    owner: object, name: str, instead: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = num_steps()
    monkeypatch.setattr(owner, name, instead)

    assert any(failures(range(steps)))
